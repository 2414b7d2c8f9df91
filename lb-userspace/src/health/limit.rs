//! Room for as many checks at once as there are targets.

/// Raises this process's limit of open files to the most it may have: each running check holds a socket, and the
/// usual limit of 1,024 would be reached when a rack of backends falls silent.
pub(super) fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct, which lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0
        || limit.rlim_cur >= limit.rlim_max
    {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the struct, which lives through the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        log::warn!("can't raise the limit of open files: {}", std::io::Error::last_os_error());
    }
}
