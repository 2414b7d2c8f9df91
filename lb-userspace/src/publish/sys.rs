//! The bpf(2) calls that aya has no function for, or hides the error number of. Everything here is one system call.

use std::{
    ffi::CString,
    io,
    mem::{size_of, zeroed},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya::Pod;
use aya_obj::generated::{
    bpf_attach_type::{BPF_TCX_INGRESS, BPF_XDP},
    bpf_attr, bpf_cmd, bpf_link_info, bpf_map_info,
    bpf_map_type::BPF_MAP_TYPE_ARRAY,
};

/// Shape of a map, as far as both sides must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// `bpf_map_type`.
    pub kind: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes.
    pub value_size: u32,
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// `BPF_NOEXIST` of the kernel.
const BPF_NOEXIST: u64 = 1;

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    // SAFETY: the kernel reads and writes `attr` within the size that it is told; what it points to is alive during
    // the call, because each caller below borrows it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<bpf_attr>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

fn new_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: the kernel just made this descriptor for us, no one else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// No request. Every field that a command does not know must be zero.
fn empty() -> bpf_attr {
    // SAFETY: a union of plain integers, for which zero is a value.
    unsafe { zeroed() }
}

fn fd_of(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Opens what is pinned at a path.
pub(crate) fn object_get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = empty();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    new_fd(bpf_cmd::BPF_OBJ_GET, &mut attr)
}

/// Pins a map, program or link.
pub(crate) fn object_pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = empty();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = fd_of(fd);
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

fn info<T>(fd: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: only called for the info structs of the kernel, which are plain integers.
    let mut info: T = unsafe { zeroed() };
    let mut attr = empty();
    attr.info.bpf_fd = fd_of(fd);
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Id and shape of a map.
pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<(u32, Shape)> {
    let info: bpf_map_info = info(map)?;
    let shape = Shape {
        kind: info.type_,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
    };
    Ok((info.id, shape))
}

/// Interface of an XDP or tcx link; 0 once the interface is gone.
pub(crate) fn link_ifindex(link: BorrowedFd<'_>) -> io::Result<u32> {
    let info: bpf_link_info = info(link)?;
    // SAFETY: plain integers, whatever the type of the link; those of tcx links begin with the same one.
    Ok(unsafe { info.__bindgen_anon_1.xdp.ifindex })
}

/// Makes an array.
pub(crate) fn create_array(name: &str, value_size: usize, max_entries: u32) -> io::Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: all fields of the union are plain integers.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = BPF_MAP_TYPE_ARRAY as u32;
    create.key_size = size_of::<u32>() as u32;
    create.value_size = u32::try_from(value_size).map_err(io::Error::other)?;
    create.max_entries = max_entries;
    for (to, from) in create.map_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    new_fd(bpf_cmd::BPF_MAP_CREATE, &mut attr)
}

fn element(map: BorrowedFd<'_>, key: *const u8, value: u64) -> bpf_attr {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = fd_of(map);
    attr.__bindgen_anon_2.key = key as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value;
    attr
}

/// Reads the value of a key into `value`, which is as long as a value of the map. False if there is none.
pub(crate) fn map_lookup<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &mut [V]) -> io::Result<bool> {
    let mut attr = element(map, std::ptr::from_ref(key).cast(), value.as_mut_ptr() as u64);
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the value of a key; `value` is as long as a value of the map.
pub(crate) fn map_update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &[V]) -> io::Result<()> {
    let mut attr = element(map, std::ptr::from_ref(key).cast(), value.as_ptr() as u64);
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Writes the value of a key unless it has one.
pub(crate) fn map_insert<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &[V]) -> io::Result<()> {
    let mut attr = element(map, std::ptr::from_ref(key).cast(), value.as_ptr() as u64);
    attr.__bindgen_anon_2.flags = BPF_NOEXIST;
    match bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(()),
    }
}

/// Removes a key and reads the value that it had, in one step where the kernel can (5.14 and later, for hash maps).
/// False if there is none.
pub(crate) fn map_lookup_and_delete<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &mut [V],
) -> io::Result<bool> {
    let mut attr = element(map, std::ptr::from_ref(key).cast(), value.as_mut_ptr() as u64);
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_AND_DELETE_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(false),
            // ENOTSUPP has no number in libc.
            Some(libc::EINVAL | libc::EOPNOTSUPP | 524) => {
                Ok(map_lookup(map, key, value)? && map_delete(map, key).map(|()| true)?)
            }
            _ => Err(error),
        },
    }
}

/// Removes a key. It is fine if there is none.
pub(crate) fn map_delete<K: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attr = element(map, std::ptr::from_ref(key).cast(), 0);
    match bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Where a batched walk stands. A hash map keeps a bucket's number in it, an array an index.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cursor([u64; 8], bool);

/// Reads the next elements of a map into `keys` and `values`; how many there were, and whether that was the end.
///
/// # Errors
/// `ENOSPC` if a single bucket of a hash map holds more than fit.
pub(crate) fn map_lookup_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    let from = cursor.0;
    let mut attr = empty();
    attr.batch.in_batch = if cursor.1 { from.as_ptr() as u64 } else { 0 };
    attr.batch.out_batch = cursor.0.as_mut_ptr() as u64;
    attr.batch.keys = keys.as_mut_ptr() as u64;
    attr.batch.values = values.as_mut_ptr() as u64;
    attr.batch.count = keys.len().min(values.len()) as u32;
    attr.batch.map_fd = fd_of(map);
    let result = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr);
    cursor.1 = true;
    // SAFETY: the kernel leaves the number of elements in the field that held the limit.
    let count = unsafe { attr.batch.count } as usize;
    match result {
        Ok(_) => Ok((count, false)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((count, true)),
        Err(error) => Err(error),
    }
}

/// Attaches an XDP program to an interface. `flags`: `XDP_FLAGS_*`.
pub(crate) fn xdp_link_create(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.link_create.__bindgen_anon_1.prog_fd = fd_of(program);
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = BPF_XDP as u32;
    attr.link_create.flags = flags;
    new_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Attaches a program to an interface in traffic control, behind those that are there.
pub(crate) fn tcx_link_create(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.link_create.__bindgen_anon_1.prog_fd = fd_of(program);
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = BPF_TCX_INGRESS as u32;
    new_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Puts another program in the place of a link's, atomically.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = empty();
    attr.link_update.link_fd = fd_of(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = fd_of(program);
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}
