//! The bpf(2) calls of the lab: one packet, one element, one batch, each a single system call.

use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use aya::Pod;
use aya_obj::generated::{bpf_attr, bpf_cmd};

/// A call that gives a descriptor, or 0.
pub(crate) fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes `attr` within the size that it is told; what it points to is alive during
    // the call, because each caller below borrows it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<bpf_attr>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// No request: every field that a command does not know must be zero.
pub(crate) fn empty() -> bpf_attr {
    // SAFETY: a union of plain integers, for which zero is a value.
    unsafe { zeroed() }
}

/// Runs an XDP program once; its verdict. `out` gets the frame and must have room for it.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8], out: &mut [u8]) -> io::Result<u32> {
    let mut attr = empty();
    attr.test.prog_fd = program.as_raw_fd() as u32;
    attr.test.data_in = frame.as_ptr() as u64;
    attr.test.data_size_in = frame.len() as u32;
    attr.test.data_out = out.as_mut_ptr() as u64;
    attr.test.data_size_out = out.len() as u32;
    attr.test.repeat = 1;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    // SAFETY: the kernel filled this member of the union.
    Ok(unsafe { attr.test.retval })
}

/// Makes a map of this type.
pub(crate) fn create_map(kind: u32, key: usize, value: usize, entries: u32) -> io::Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: all fields of the union are plain integers.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = kind;
    create.key_size = key as u32;
    create.value_size = value as u32;
    create.max_entries = entries;
    let fd = bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us, no one else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Writes an element; `value` is as long as a value of the map.
pub(crate) fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &[V]) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Reads an element into `value`, which is as long as a value of the map. False if there is none.
pub(crate) fn lookup<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &mut [V]) -> io::Result<bool> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes an element. It is fine if there is none.
pub(crate) fn delete<K: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    match bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Elements of a batch; a bucket of a hash map has to fit in one.
const BATCH: usize = 1024;

/// All elements of a hash map.
pub(crate) fn walk<K: Pod + Default, V: Pod + Default>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let (mut keys, mut values) = (vec![K::default(); BATCH], vec![V::default(); BATCH]);
    let (mut cursor, mut found, mut first) = (0u64, Vec::new(), true);
    loop {
        let from = cursor;
        let mut attr = empty();
        attr.batch.in_batch = if first { 0 } else { std::ptr::from_ref(&from) as u64 };
        attr.batch.out_batch = std::ptr::from_mut(&mut cursor) as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.count = BATCH as u32;
        attr.batch.map_fd = map.as_raw_fd() as u32;
        first = false;
        let result = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
        // SAFETY: the kernel leaves the number of elements in the field that held the limit.
        let count = unsafe { attr.batch.count } as usize;
        let at_end = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        found.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if at_end {
            return Ok(found);
        }
    }
}
