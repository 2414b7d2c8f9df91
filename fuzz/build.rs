//! Lets the parser target have memory functions of its own beside those of `aya-ebpf`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=parser=-Wl,-z,muldefs");
}
