//! The BPF objects, built by the build script.

/// The packet path.
pub(crate) static XDP: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-xdp"));
/// The backends' side of tunnels.
pub(crate) static DECAP: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-decap"));
