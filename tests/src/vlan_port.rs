//! Hosts behind an access port of a VLAN, on kernels without VLAN devices: programs of traffic control put tags in the frames
//! that a host sends, and take them off those it gets, all of which must have the right one.

use std::os::fd::OwnedFd;

use anyhow::Result;
use aya_obj::generated::{bpf_attach_type, bpf_insn, bpf_prog_type};

use crate::{
    bytecode::{self, Hook, instruction},
    link::{self, End, Offload},
};

const MOV64_IMM: u8 = 0xb7;
const MOV64: u8 = 0xbf;
const LOAD_WORD: u8 = 0x61;
const AND32_IMM: u8 = 0x54;
const JUMP_IF_OTHER: u8 = 0x55;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Helpers of these numbers.
const VLAN_PUSH: i32 = 18;
const VLAN_POP: i32 = 19;
/// Fields of `struct __sk_buff`.
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;
/// Verdicts.
const NEXT: i32 = -1;
const DROP: i32 = 2;

const fn hook(at: bpf_attach_type) -> Hook {
    Hook { kind: bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, at, flags: 0 }
}

/// Tags every frame that a host sends, from the innermost tag to the outermost; the device is made to leave them in the frame.
pub fn tag_sent(end: End<'_>, ids: &[u16]) -> Result<OwnedFd> {
    link::set_offload(end.0, end.1, Offload::TxVlan, false)?;
    let mut program = vec![instruction(MOV64, 6, 1, 0, 0)];
    for id in ids {
        program.extend([
            instruction(MOV64, 1, 6, 0, 0),
            instruction(MOV64_IMM, 2, 0, 0, 0x8100_u16.to_be().into()),
            instruction(MOV64_IMM, 3, 0, 0, (*id).into()),
            instruction(CALL, 0, 0, 0, VLAN_PUSH),
        ]);
    }
    program.extend(end_with(NEXT));
    bytecode::attach(end, hook(bpf_attach_type::BPF_TCX_EGRESS), &program)
}

/// Lets a host get the frames of a VLAN alone, without their tag; without an id, those that have no tag.
pub fn receive_only(end: End<'_>, id: Option<u16>) -> Result<OwnedFd> {
    let mut program = vec![instruction(MOV64, 6, 1, 0, 0)];
    let (field, mask, wanted) = match id {
        Some(id) => (VLAN_TCI, 0xfff, id.into()),
        None => (VLAN_PRESENT, 1, 0),
    };
    program.extend([
        instruction(LOAD_WORD, 2, 6, field, 0),
        instruction(AND32_IMM, 2, 0, 0, mask),
        instruction(JUMP_IF_OTHER, 2, 0, 4, wanted),
        instruction(MOV64, 1, 6, 0, 0),
        // Does nothing where there is no tag.
        instruction(CALL, 0, 0, 0, VLAN_POP),
    ]);
    program.extend(end_with(NEXT));
    program.extend(end_with(DROP));
    bytecode::attach(end, hook(bpf_attach_type::BPF_TCX_INGRESS), &program)
}

fn end_with(verdict: i32) -> [bpf_insn; 2] {
    [instruction(MOV64_IMM, 0, 0, 0, verdict), instruction(EXIT, 0, 0, 0, 0)]
}
