//! The bench measures what it says: its packets come out as its cases describe, and it notices when they do not.

use lb_common::slot::Slot;
use lb_tests::{
    bench::datapath::{
        self, Effort, Options,
        case::{Algorithm, Case, Mode, State},
        setup::Setup,
        subject::Subject,
        wrapper::Wrapper,
    },
    runner::Slots,
    unique,
};
use lb_userspace::objects;

const FLOWS: u32 = 1 << 10;
const PACKETS: u32 = 5_000;

fn load(case: Case, wrapper: &mut Wrapper) -> Subject {
    let subject = Subject::load(objects::LB_XDP, Setup::new(case).unwrap(), wrapper);
    subject.unwrap_or_else(|error| panic!("{}: {error:#}", case.label()))
}

fn pin() {
    lb_tests::cpu::pin_to_last().unwrap();
}

/// The error of a sample, once what is expected was changed.
fn error_after(case: Case, change: impl FnOnce(&mut Subject)) -> String {
    pin();
    let mut wrapper = Wrapper::load().unwrap();
    let mut subject = load(case, &mut wrapper);
    subject.run(&mut wrapper, 0, PACKETS).unwrap();
    change(&mut subject);
    subject.run(&mut wrapper, 0, PACKETS).err().expect("the sample passes").to_string()
}

#[test]
fn every_kind_of_case_comes_out_as_described() {
    pin();
    let mut wrapper = Wrapper::load().unwrap();
    let (l2, ipip) = (Case::new(Mode::L2, 4).flows(FLOWS), Case::new(Mode::Ipip, 6).flows(FLOWS));
    let states = [State::Steady, State::MovingFew, State::Tracked, State::New, State::NewMoving];
    let algorithms = [Algorithm::SourceHash, Algorithm::RoundRobin, Algorithm::LeastConnections];
    let mut cases = states.map(|state| l2.state(state)).to_vec();
    cases.extend([State::Steady, State::NewMoving].map(|state| ipip.state(state)));
    cases.extend([
        l2.algorithm(Algorithm::RoundRobin).state(State::New),
        ipip.algorithm(Algorithm::SourceHash),
    ]);
    cases.extend(algorithms.map(|algorithm| l2.algorithm(algorithm)));
    cases.extend([Case::new(Mode::L2, 6).flows(FLOWS), Case::new(Mode::Ipip, 4).flows(FLOWS)]);
    cases.extend([4, 6].map(|family| Case::new(Mode::Gue, family).flows(FLOWS)));
    cases.extend([l2.services(300, 1), l2.services(300, 300), l2.backends(10_000)]);
    for family in [4, 6] {
        let pass = Case::new(Mode::Pass, family).flows(FLOWS);
        cases.extend([State::OtherPort, State::OtherAddress].map(|state| pass.state(state)));
    }
    for case in cases {
        let mut subject = load(case, &mut wrapper);
        let check = |result: anyhow::Result<()>| {
            result.unwrap_or_else(|error| panic!("{}: {error:#}", case.label()));
        };
        check(subject.check(&mut wrapper));
        check(subject.run(&mut wrapper, 0, PACKETS).map(drop));
        check(subject.check_recorded(PACKETS));
    }
}

#[test]
fn a_wrong_verdict_is_noticed() {
    let error = error_after(Case::new(Mode::L2, 4).flows(FLOWS), |subject| {
        subject.setup.case.mode = Mode::Pass;
    });
    assert!(error.contains("has the verdict 3, expected 2"), "{error}");
}

#[test]
fn a_wrong_byte_is_noticed() {
    let case = Case::new(Mode::Ipip, 6).flows(FLOWS);
    let error = error_after(case, |subject| {
        let last = subject.setup.frame.len() - 15;
        subject.setup.ip = subject.setup.ip.clone().patch(last, &[1]);
    });
    assert!(error.contains("left as"), "{error}");
}

#[test]
fn a_wrong_backend_is_noticed() {
    let error = error_after(Case::new(Mode::L2, 6).flows(FLOWS), |subject| {
        let Slots::Cycle(slots) = &mut subject.setup.world.services[0].slots else { panic!("no slots") };
        for (slot, _) in slots {
            *slot = Slot::steady(1 + slot.backend() % 100);
        }
    });
    assert!(error.contains("left as"), "{error}");
}

/// A flow that is not found in a moving slot goes to the former owner, at the same price or another.
#[test]
fn flows_that_are_not_found_are_noticed() {
    let error = error_after(Case::new(Mode::L2, 4).flows(FLOWS).state(State::Tracked), |subject| {
        subject.forget().unwrap();
    });
    assert!(error.contains("is recorded on backend"), "{error}");
}

#[test]
fn flows_that_are_not_recorded_are_noticed() {
    let error = error_after(Case::new(Mode::L2, 4).flows(FLOWS), |subject| {
        subject.setup.case.state = State::Tracked;
    });
    assert!(error.contains("is not recorded"), "{error}");
}

#[test]
fn new_connections_are_counted() {
    pin();
    let mut wrapper = Wrapper::load().unwrap();
    let mut subject = load(Case::new(Mode::L2, 4).state(State::NewMoving), &mut wrapper);
    subject.run(&mut wrapper, 0, PACKETS).unwrap();
    let error = subject.check_recorded(PACKETS + 1).unwrap_err().to_string();
    assert!(error.contains(&format!("{PACKETS} of {} new flows", PACKETS + 1)), "{error}");
}

#[test]
fn a_filtered_case_is_measured_against_another_object() {
    let effort = Effort { quick: true, samples: 2, packets: 1 << 12 };
    let path = std::env::temp_dir().join(unique::name());
    let options =
        |filter: &str| Options { effort, filter: Some(filter.to_owned()), against: Some(path.clone()) };
    std::fs::write(&path, objects::LB_XDP).unwrap();
    let same = datapath::datapath(&options("pass/6/"), |_| {});
    let nothing = datapath::datapath(&options("no such case"), |_| {});
    std::fs::write(&path, objects::LB_DECAP).unwrap();
    let other = datapath::datapath(&options("pass/6/"), |_| {});
    std::fs::remove_file(&path).unwrap();

    let report = same.unwrap();
    let labels: Vec<_> = report.cases.iter().map(|row| &*row.label).collect();
    assert_eq!(labels, ["pass/6/1M/other-port", "pass/6/1M/other-address"]);
    assert!(report.cases.iter().all(|row| row.added_ns.is_finite() && row.against.is_some()));
    assert!(nothing.unwrap_err().to_string().contains("no case"));
    let error = other.unwrap_err().to_string();
    assert!(error.contains("its maps are others") && error.contains("FLOWS: here type 1"), "{error}");
}
