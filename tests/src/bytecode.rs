//! BPF programs of a few instructions, for the other ends of the links: loaded and attached without an object file.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type};

use crate::link::End;

/// A kind of program, and where and how one is attached.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Kind of the program.
    pub kind: bpf_prog_type,
    /// Where.
    pub at: bpf_attach_type,
    /// Flags of the link.
    pub flags: u32,
}

/// An instruction: operation, destination and source register, offset, immediate.
pub fn instruction(code: u8, destination: u8, source: u8, off: i16, imm: i32) -> bpf_insn {
    let _bitfield_1 = bpf_insn::new_bitfield_1(destination, source);
    bpf_insn { code, _bitfield_align_1: [], _bitfield_1, off, imm }
}

/// Loads a program and attaches it to an interface. It goes when the returned link is dropped.
pub fn attach((netns, interface): End<'_>, hook: Hook, program: &[bpf_insn]) -> Result<OwnedFd> {
    let ifindex = netns.ifindex(interface)?;
    netns
        .enter(|| link(&load(hook, program)?, hook, ifindex))?
        .with_context(|| format!("can't attach {:?} to {interface} in {}", hook.at, netns.name()))
}

fn load(hook: Hook, program: &[bpf_insn]) -> io::Result<OwnedFd> {
    // SAFETY: all zeros is a valid bpf_attr.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: every field of the union is plain data, and this one is what BPF_PROG_LOAD reads.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = hook.kind as u32;
    load.insn_cnt = program.len() as u32;
    load.insns = program.as_ptr() as u64;
    load.license = c"GPL".as_ptr() as u64;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

fn link(program: &OwnedFd, hook: Hook, ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: all zeros is a valid bpf_attr.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = hook.at as u32;
    attr.link_create.flags = hook.flags;
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
