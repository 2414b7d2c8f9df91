//! The verifier's work on each program, kept as a budget: growth shows up here before a kernel's limit does.

use aya::{EbpfLoader, programs::Program};
use lb_tests::runner::{Action, Balancer, World};
use lb_userspace::objects;

use crate::world::{data, v4, world};

/// Verified instructions when this table was last accepted.
const ACCEPTED: [(&str, &[u8], u32); 4] = [
    ("lb", objects::LB_XDP, 210_642),
    ("translate", objects::LB_XDP, 63_452),
    ("decap", objects::LB_DECAP, 3_113),
    ("decap_tc", objects::LB_DECAP, 2_377),
];
/// Growth in percent that needs no acceptance.
const SLACK_PERCENT: u32 = 10;

fn verified_instructions(object: &[u8], name: &str) -> u32 {
    let mut ebpf = EbpfLoader::new().load(object).unwrap();
    let program = ebpf.program_mut(name).unwrap();
    match program {
        Program::Xdp(program) => program.load().unwrap(),
        Program::SchedClassifier(program) => program.load().unwrap(),
        _ => panic!("{name} is no program of a packet"),
    }
    program.info().unwrap().verified_instruction_count().unwrap()
}

#[test]
fn programs_stay_within_their_instruction_budget() {
    for (name, object, accepted) in ACCEPTED {
        let verified = verified_instructions(object, name);
        println!("{name}: {verified} verified instructions, {accepted} accepted");
        let limit = accepted + accepted * SLACK_PERCENT / 100;
        assert!(
            verified <= limit,
            "{name}: the verifier now walks {verified} instructions, {limit} is the limit. If the growth is worth it, \
             set its number in ACCEPTED of {} to {verified}",
            file!()
        );
    }
}

/// Dead code at level 0 is live at the others, and must pass the verifier as well.
#[test]
fn the_balancer_loads_and_balances_at_every_log_level() {
    for log_level in [1, 2, 3] {
        let mut balancer = Balancer::load(&World { log_level, ..world() }).unwrap();
        let frame = v4(data(), 1).frame().bytes();
        assert_eq!(balancer.run(&frame).unwrap().action, Action::Transmit);
        let frame = v4(data(), 14).frame().bytes();
        assert_eq!(balancer.run(&frame).unwrap().action, Action::Drop);
    }
}
