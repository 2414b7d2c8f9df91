//! The command line: what users type, and what they see.

pub mod args;
