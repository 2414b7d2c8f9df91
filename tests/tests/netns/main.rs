//! Real traffic through network namespaces.

mod harness;
