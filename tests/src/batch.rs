//! Many elements of a map with one bpf(2) call each time, which aya has no functions for.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::Pod;
use aya_obj::generated::{bpf_cmd, bpf_map_type::BPF_MAP_TYPE_ARRAY};

use crate::lab::sys::{self, bpf, empty};

/// Elements of one call. More than any bucket of a hash map holds, which the kernel asks for.
const AT_ONCE: usize = 1 << 16;

/// Makes an array of one value, to be put in a map of maps.
pub fn inner_array(value: &[u32]) -> io::Result<OwnedFd> {
    let map = sys::create_map(BPF_MAP_TYPE_ARRAY as u32, size_of::<u32>(), size_of_val(value), 1)?;
    sys::update(map.as_fd(), &0u32, value)?;
    Ok(map)
}

/// Puts inner maps at the indices of an outer one. The kernel waits for its readers once, not once per element.
pub fn put_inner(outer: BorrowedFd<'_>, inner: &[(u32, OwnedFd)]) -> io::Result<()> {
    let keys: Vec<u32> = inner.iter().map(|(index, _)| *index).collect();
    let values: Vec<u32> = inner.iter().map(|(_, map)| map.as_raw_fd() as u32).collect();
    let mut attr = empty();
    attr.batch.keys = keys.as_ptr() as u64;
    attr.batch.values = values.as_ptr() as u64;
    attr.batch.count = keys.len() as u32;
    attr.batch.map_fd = outer.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr).map(drop)
}

/// Counts the entries of a hash map, whose keys and values are of these types.
pub fn count<K: Pod, V: Pod>(map: BorrowedFd<'_>) -> io::Result<u64> {
    walk::<K, V>(map, bpf_cmd::BPF_MAP_LOOKUP_BATCH)
}

/// Removes all entries of a hash map, whose keys and values are of these types, and counts them.
pub fn clear<K: Pod, V: Pod>(map: BorrowedFd<'_>) -> io::Result<u64> {
    walk::<K, V>(map, bpf_cmd::BPF_MAP_LOOKUP_AND_DELETE_BATCH)
}

fn walk<K: Pod, V: Pod>(map: BorrowedFd<'_>, command: bpf_cmd) -> io::Result<u64> {
    let mut keys = Vec::<K>::with_capacity(AT_ONCE);
    let mut values = Vec::<V>::with_capacity(AT_ONCE);
    // The number of a bucket: read when the kernel begins, written when it ends.
    let (mut entries, mut cursor) = (0, 0u32);
    let cursor_at = std::ptr::from_mut(&mut cursor) as u64;
    let mut attr = empty();
    loop {
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.out_batch = cursor_at;
        attr.batch.count = AT_ONCE as u32;
        attr.batch.map_fd = map.as_raw_fd() as u32;
        let result = bpf(command, &mut attr);
        // SAFETY: the kernel leaves the number of elements in the field that held the limit.
        let count = u64::from(unsafe { attr.batch.count });
        match result {
            Ok(_) => entries += count,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(entries + count),
            Err(error) => return Err(error),
        }
        attr.batch.in_batch = cursor_at;
    }
}
