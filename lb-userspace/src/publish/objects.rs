//! The BPF objects, built by the build script.

/// The packet path.
pub(crate) static XDP: &[u8] = &[];
