//! The verifier's work on each program, kept as a budget: growth shows up here before a kernel's limit does.

use aya::{EbpfLoader, programs::Xdp};
use lb_userspace::objects;

/// Verified instructions when this table was last accepted.
const ACCEPTED: [(&str, &[u8], u32); 2] =
    [("lb", objects::LB_XDP, 161_748), ("decap", objects::LB_DECAP, 2_221)];
/// Growth in percent that needs no acceptance.
const SLACK_PERCENT: u32 = 10;

fn verified_instructions(object: &[u8], name: &str) -> u32 {
    let mut ebpf = EbpfLoader::new().load(object).unwrap();
    let program: &mut Xdp = ebpf.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap();
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
