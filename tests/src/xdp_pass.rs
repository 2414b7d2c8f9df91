//! The smallest XDP program: passes everything. A veth accepts XDP_TX from its peer only while it has a program itself.

use std::os::fd::OwnedFd;

use anyhow::Result;
use aya_obj::generated::{XDP_FLAGS_DRV_MODE, bpf_attach_type, bpf_prog_type};

use crate::{
    bytecode::{self, Hook, instruction},
    link::End,
};

/// Attaches a program that passes every packet, in native mode. It goes when the returned link is dropped.
pub fn attach(end: End<'_>) -> Result<OwnedFd> {
    const MOV64_IMM: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    const XDP_PASS: i32 = 2;
    let hook = Hook {
        kind: bpf_prog_type::BPF_PROG_TYPE_XDP,
        at: bpf_attach_type::BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    let program = [instruction(MOV64_IMM, 0, 0, 0, XDP_PASS), instruction(EXIT, 0, 0, 0, 0)];
    bytecode::attach(end, hook, &program)
}
