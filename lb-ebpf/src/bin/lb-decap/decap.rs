//! The backend's side of `ipip` and `gue`: which packets lose their outer headers.

use aya_ebpf::{
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use lb_common::{addr::RawAddr, maps::MAX_DECAP_VIPS, verdict::Reason};
use lb_ebpf::packet::{
    frame::Frame,
    tunnel::{self, Tunnel},
};

#[btf_map]
static DECAP_VIPS: HashMap<RawAddr, u32, { MAX_DECAP_VIPS as usize }> = HashMap::new();

/// The UDP port of tunnels.
#[btf_map]
static DECAP_GUE_PORT: Array<u32, 1> = Array::new();

/// The tunnel that a packet came through, if it is for one of our addresses. `total` is the length of the frame, of which
/// not all needs to be in reach.
///
/// # Errors
/// The reason why the packet is left as it is.
#[inline(always)]
pub fn tunnel(frame: &Frame, total: usize) -> Result<Tunnel, Reason> {
    // Nothing is sent to port 0, so it is as good as none.
    let gue_port = DECAP_GUE_PORT.get(0).map_or(0, |port| *port as u16);
    let tunnel = tunnel::parse(frame, total, gue_port)?;
    // SAFETY: only the presence of the entry counts, no reference to it is kept.
    if unsafe { DECAP_VIPS.get(tunnel.destination) }.is_none() {
        return Err(Reason::InnerNotService);
    }
    Ok(tunnel)
}
