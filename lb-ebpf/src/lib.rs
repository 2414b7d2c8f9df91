//! What the XDP programs share: parsing and rewriting packets.
//!
//! Maps are not here but in the modules of the programs that own them, since an object gets every map of the crates it
//! links. All of it compiles for the host as well, so that `cargo check` and `clippy` see it; it runs only as BPF.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod program;
pub mod packet;
