//! Sequences that once broke a connection, each by its name.

use crate::{
    check::{lab, run},
    ops::{Change, Op},
    services::{Algorithm, SERVICES, Shape},
};

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Maglev,
    Algorithm::SourceHash { whole: true },
    Algorithm::RoundRobin,
    Algorithm::LeastConnections,
];

/// Runs steps for each service, whatever its kind, family and algorithm.
fn check(new_flows_per_second: u32, steps: impl Fn(usize) -> Vec<Op>) {
    lb_tests::cpu::pin_to(0).expect("a CPU");
    let lab = lab(new_flows_per_second);
    for algorithm in ALGORITHMS {
        for (service, v6) in (0..SERVICES).flat_map(|service| [(service, false), (service, true)]) {
            let shapes = [Shape { algorithm, v6 }; SERVICES];
            if let Err(broken) = run(&lab, shapes, &steps(service)) {
                panic!("{:?}, service {service}: {broken}", shapes[service]);
            }
        }
    }
}

/// It was given to one whose slots were about to leave it, without a record: later on nothing named its backend.
#[test]
fn a_new_connection_where_all_backends_are_drained() {
    for quiet in [50, 295] {
        check(u32::MAX, |service| {
            vec![
                Op::Change { service, set: 0b11, change: Change::Drain },
                Op::Wait { seconds: quiet },
                Op::Open { service, count: 5 },
                Op::Wait { seconds: 15 },
                Op::Send { nth: 0, of: 1 },
            ]
        });
    }
}

/// It was given to a stand-in for the dead backend, which the next table did not name.
#[test]
fn a_new_connection_over_the_cap_during_a_failover() {
    check(20, |service| {
        vec![
            Op::Down { address: 0 },
            Op::Flood { service, opening: true, count: 100 },
            Op::Open { service, count: 11 },
            Op::Publish,
            Op::Send { nth: 0, of: 1 },
        ]
    });
}
