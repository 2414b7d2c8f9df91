//! The publisher against a data plane in memory.
