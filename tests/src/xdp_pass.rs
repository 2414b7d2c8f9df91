//! The smallest XDP program: passes everything. A veth accepts XDP_TX from its peer only while it has a program itself.

use std::{
    io, mem,
    os::fd::{FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};

use crate::link::End;

/// Attaches a program that passes every packet, in native mode. It goes when the returned link is dropped.
pub fn attach((netns, interface): End<'_>) -> Result<OwnedFd> {
    let ifindex = netns.ifindex(interface)?;
    netns
        .enter(|| link(&load()?, ifindex))?
        .with_context(|| format!("can't attach XDP to {interface} in {}", netns.name()))
}

fn load() -> io::Result<OwnedFd> {
    const MOV64_IMM: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    const XDP_PASS: i32 = 2;
    let instruction = |code, imm| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm,
    };
    let program = [instruction(MOV64_IMM, XDP_PASS), instruction(EXIT, 0)];
    // SAFETY: all zeros is a valid bpf_attr.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: every field of the union is plain data, and this one is what BPF_PROG_LOAD reads.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
    load.insn_cnt = 2;
    load.insns = program.as_ptr() as u64;
    load.license = c"GPL".as_ptr() as u64;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

fn link(program: &OwnedFd, ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: all zeros is a valid bpf_attr.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = std::os::fd::AsRawFd::as_raw_fd(program).cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = bpf_attach_type::BPF_XDP as u32;
    attr.link_create.flags = aya_obj::generated::XDP_FLAGS_DRV_MODE;
    bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// A bpf(2) call that returns a new descriptor.
fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the attributes and what they point to live until the call returns.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut *attr, size_of::<bpf_attr>())
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
