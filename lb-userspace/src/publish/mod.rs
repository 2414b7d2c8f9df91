//! Makes the packet path hold a [`crate::table::snapshot::Snapshot`], without a packet seeing a half of it.
