//! `lb`: parse and dispatch.

fn main() {}
