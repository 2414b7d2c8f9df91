//! The BPF objects, as the build script left them.

use aya::include_bytes_aligned;

/// The balancer: program `lb` and its maps.
pub static LB_XDP: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-xdp"));
/// Decapsulation on backends: program `decap` and its maps.
pub static LB_DECAP: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-decap"));
/// The bench's wrapper around a program under test. No binary that does not name it carries it.
pub static LB_BENCH: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-bench"));
/// The bench on veth: a stateless hash to compare with (`hash`), a traffic generator (`generate`) and a counter (`count`).
pub static LB_BASELINE: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-baseline"));
