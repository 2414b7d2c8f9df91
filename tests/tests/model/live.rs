//! Live connections as their clients know them, beside what tracked services count of them.

use std::collections::BTreeMap;

use crate::{
    connection::Connection,
    services::{Kind, Service},
};

/// Bounds of what the packet path may count.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Connections that a backend was given and that were not closed there. Some may be forgotten meanwhile.
    most: BTreeMap<u32, u64>,
    /// Others have opened connections, too.
    pub strangers: bool,
}

impl Ledger {
    /// A backend got a packet of a connection that was not its own before, or that closed there.
    pub fn note(&mut self, before: Option<u32>, after: Option<u32>, closes: bool) {
        if let Some(backend) = after {
            let most = self.most.entry(backend).or_default();
            *most += u64::from(before != after);
            *most -= u64::from(closes);
        }
    }

    /// Whether a backend's live connections can be what was counted.
    pub fn check(
        &self,
        backend: u32,
        counted: u64,
        services: &[Service],
        all: &[Connection],
    ) -> Result<(), String> {
        // A datagram flow is counted when the packet path takes it to begin, which may be later.
        let is_known = |one: &&Connection| {
            one.backend == Some(backend) && one.is_counted && services[one.service].kind != Kind::Udp
        };
        let least = all.iter().filter(is_known).count() as u64;
        let most = if self.strangers { u64::MAX } else { self.most.get(&backend).copied().unwrap_or(0) };
        if (least..=most).contains(&counted) {
            return Ok(());
        }
        Err(format!("backend {backend} has {least} to {most} live connections, {counted} are counted"))
    }
}
