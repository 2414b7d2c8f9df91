//! The state as its readers see it.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use lb_common::{abi::ABI_VERSION, stats::Counter};

use super::State;
use crate::{
    api::view::{
        AgentView, BackendList, BackendStats, BackendView, EventStats, HealthList, HealthState, HealthView,
        InterfaceView, NextHopView, ReasonStats, SCHEMA_VERSION, ServiceDetail, ServiceList, ServiceStats,
        ServiceView, Stats, Status, WayView,
    },
    desired::model::{Backend, Check, CheckKind, Service},
    error::Error,
    health::schedule,
    net::{Egress, NextHop},
    observe::Counters,
    table::{assignments::target_of, merge},
};

impl State {
    /// For `lb status`.
    pub fn status(&self) -> Status {
        Status {
            schema_version: SCHEMA_VERSION,
            agent: AgentView {
                running: self.started.is_some(),
                pid: self.started.map(|_| std::process::id()),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                abi_version: ABI_VERSION,
                uptime_s: self.started.map(|started| started.elapsed().as_secs()),
            },
            interfaces: self.interfaces(),
            services: self.services().services,
            map_memory_bytes: self.counters.as_ref().and_then(Counters::map_memory_bytes),
            problems: self.problems(),
        }
    }

    fn interfaces(&self) -> Vec<InterfaceView> {
        let wanted = self.desired.interfaces.iter().map(|(name, mode)| {
            let view = InterfaceView { name: name.clone(), ifindex: None, wanted: Some(*mode), mode: None };
            (name.clone(), view)
        });
        let mut interfaces: BTreeMap<String, InterfaceView> = wanted.collect();
        for attached in &self.seen.attached {
            let view = interfaces.entry(attached.name.clone()).or_insert_with(|| InterfaceView {
                name: attached.name.clone(),
                ifindex: None,
                wanted: None,
                mode: None,
            });
            (view.ifindex, view.mode) = (Some(attached.ifindex), Some(attached.mode.clone()));
        }
        interfaces.into_values().collect()
    }

    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.interface_problems.values().cloned().collect();
        problems.extend(self.publish_problem.iter().map(|error| format!("not published: {error}")));
        problems.extend(self.seen.problem.clone());
        if self.started.is_none() {
            problems.push(
                "the agent is down: packets are forwarded as it left them, health is not checked".into(),
            );
            return problems;
        }
        for (name, service) in &self.desired.services {
            if self.active(service) == 0 {
                match service.backends.len() {
                    0 => problems.push(format!("service {name} has no backend")),
                    // Until then packets go where the agent before sent them.
                    _ if !self.seen.published => {}
                    _ => problems.push(format!(
                        "service {name} has no backend that takes traffic; see `lb backend list {name}`"
                    )),
                }
            }
            let unresolved = service
                .backends
                .keys()
                .filter(|address| matches!(self.hops.get(address), Some(NextHop::Unresolved(_))))
                .count();
            if unresolved > 0 {
                problems.push(format!(
                    "service {name}: next hop of {unresolved} backends unresolved; see `lb backend list {name}`"
                ));
            }
        }
        problems
    }

    /// For `lb service list`.
    pub fn services(&self) -> ServiceList {
        let services = self.desired.services.iter().map(|(name, service)| self.service_view(name, service));
        ServiceList { schema_version: SCHEMA_VERSION, services: services.collect() }
    }

    /// For `lb service show`.
    ///
    /// # Errors
    /// There is no such service.
    pub fn service(&self, name: &str) -> Result<ServiceDetail, Error> {
        let service = self.desired.service(name)?;
        Ok(ServiceDetail {
            schema_version: SCHEMA_VERSION,
            service: self.service_view(name, service),
            backends: self.backends(Some(name))?.backends,
        })
    }

    fn service_view(&self, name: &str, service: &Service) -> ServiceView {
        let Counter { packets, bytes } =
            service.backends.values().map(|backend| self.forwarded(backend.id)).sum();
        ServiceView {
            name: name.to_owned(),
            id: service.id,
            vip: service.vip,
            mode: service.mode,
            table_size: service.table_size,
            encap_source: service.encap_source.map(|prefix| prefix.to_string()),
            gue_port: merge::gue_port(service),
            algorithm: service.algorithm,
            source_prefix: merge::source_prefix(service),
            quic: service.quic,
            quic_id: service.quic_id,
            fragments: service.fragments,
            slow_start_ms: u64::try_from(service.slow_start.as_millis()).unwrap_or(u64::MAX),
            check: service.check.clone(),
            down_within_ms: down_within_ms(&service.check),
            backends_total: u32::try_from(service.backends.len()).unwrap_or(u32::MAX),
            backends_active: self.started.map(|_| self.active(service)),
            slots: self.seen.slots.get(&service.id).copied(),
            packets,
            bytes,
        }
    }

    /// Backends that own a share of the published table.
    fn active(&self, service: &Service) -> u32 {
        let owns = |backend: &&Backend| self.seen.owners.get(&backend.id).is_some_and(|slots| *slots > 0);
        u32::try_from(service.backends.values().filter(owns).count()).unwrap_or(u32::MAX)
    }

    /// For `lb backend list`: of one service, or all.
    ///
    /// # Errors
    /// There is no such service.
    pub fn backends(&self, service: Option<&str>) -> Result<BackendList, Error> {
        let view = |name: &str, service: &Service, address: IpAddr, backend: &Backend| {
            self.backend_view(name, service, address, backend)
        };
        Ok(BackendList { schema_version: SCHEMA_VERSION, backends: self.each(service, view)? })
    }

    fn each<T>(
        &self,
        only: Option<&str>,
        view: impl Fn(&str, &Service, IpAddr, &Backend) -> T,
    ) -> Result<Vec<T>, Error> {
        if let Some(name) = only {
            self.desired.service(name)?;
        }
        let services = self.desired.services.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
        Ok(services
            .flat_map(|(name, service)| service.backends.iter().map(move |backend| (name, service, backend)))
            .map(|(name, service, (address, backend))| view(name, service, *address, backend))
            .collect())
    }

    fn backend_view(&self, name: &str, service: &Service, address: IpAddr, backend: &Backend) -> BackendView {
        let slots = self.seen.owners.get(&backend.id).copied().unwrap_or(0);
        let Counter { packets, bytes } = self.forwarded(backend.id);
        let next_hop = match self.hops.get(&address) {
            Some(NextHop::Resolved(ways)) => next_hop(ways),
            Some(NextHop::Local) => NextHopView::Local,
            Some(NextHop::Unresolved(reason)) => NextHopView::Unresolved { reason: reason.clone() },
            None => NextHopView::Unresolved { reason: "not looked up yet".to_owned() },
        };
        BackendView {
            service: name.to_owned(),
            address,
            id: backend.id,
            weight: backend.weight,
            effective_weight: merge::weight(service, backend, &self.rising.elapsed(Instant::now())),
            admin: backend.admin,
            health: self.health_state(service, address),
            next_hop,
            slots,
            share_ppm: u32::try_from(u64::from(slots) * 1_000_000 / u64::from(service.table_size))
                .unwrap_or(0),
            tracked_flows: self.flows(backend.id),
            quic_server_id: backend.quic_server_id,
            packets,
            bytes,
        }
    }

    fn health_state(&self, service: &Service, address: IpAddr) -> HealthState {
        if service.check.kind == CheckKind::None {
            return HealthState::Unchecked;
        }
        let target = self.assignments.target(&target_of(service, address));
        match target.and_then(|target| self.liveness.get(&target)) {
            Some(true) => HealthState::Up,
            Some(false) => HealthState::Down,
            None => HealthState::Waiting,
        }
    }

    /// For `lb health list`: of one service, or all.
    ///
    /// # Errors
    /// There is no such service.
    pub fn health(&self, service: Option<&str>) -> Result<HealthList, Error> {
        let view = |name: &str, service: &Service, address: IpAddr, _: &Backend| {
            let target = self.assignments.target(&target_of(service, address));
            let report = target.and_then(|target| self.reports.get(&target));
            HealthView {
                service: name.to_owned(),
                address,
                check: service.check.clone(),
                state: self.health_state(service, address),
                successes: report.map_or(0, |report| report.successes),
                failures: report.map_or(0, |report| report.failures),
                since_unix_ms: report.map(|report| report.since_unix_ms),
                last_result: report.map(|report| report.last_result.clone()).filter(|text| !text.is_empty()),
                latency_us: report.and_then(|report| report.latency_us),
            }
        };
        Ok(HealthList { schema_version: SCHEMA_VERSION, checks: self.each(service, view)? })
    }

    /// For `lb stats`: of one service, or all with the reasons.
    ///
    /// # Errors
    /// There is no such service.
    pub fn stats(&self, service: Option<&str>) -> Result<Stats, Error> {
        if let Some(name) = service {
            self.desired.service(name)?;
        }
        let services =
            self.desired.services.iter().filter(|(name, _)| service.is_none_or(|only| only == *name));
        let services = services.map(|(name, service)| self.service_stats(name, service)).collect();
        let reasons = if service.is_none() { self.reasons() } else { Vec::new() };
        let events = if service.is_none() { self.events() } else { Vec::new() };
        Ok(Stats { schema_version: SCHEMA_VERSION, services, reasons, events })
    }

    fn service_stats(&self, name: &str, service: &Service) -> ServiceStats {
        let backends: Vec<BackendStats> = service
            .backends
            .iter()
            .map(|(address, backend)| {
                let Counter { packets, bytes } = self.forwarded(backend.id);
                BackendStats { address: *address, packets, bytes }
            })
            .collect();
        ServiceStats {
            name: name.to_owned(),
            packets: backends.iter().map(|backend| backend.packets).sum(),
            bytes: backends.iter().map(|backend| backend.bytes).sum(),
            backends,
        }
    }

    fn reasons(&self) -> Vec<ReasonStats> {
        let counters = self.counters.as_ref().map(|counters| counters.reasons()).unwrap_or_default();
        counters.into_iter().map(ReasonStats::from).collect()
    }

    fn events(&self) -> Vec<EventStats> {
        let counters = self.counters.as_ref().map(|counters| counters.events()).unwrap_or_default();
        let view = |(event, count): (lb_common::event::Event, u64)| EventStats {
            event: event.name().to_owned(),
            count,
        };
        counters.into_iter().map(view).collect()
    }

    fn forwarded(&self, backend: u32) -> Counter {
        self.counters.as_ref().map(|counters| counters.forwarded(backend)).unwrap_or_default()
    }
}

/// From the death of a backend to its being out, at the latest; none without a check.
fn down_within_ms(check: &Check) -> Option<u64> {
    let within = (check.kind != CheckKind::None).then(|| schedule::down_within(check))?;
    Some(u64::try_from(within.as_millis()).unwrap_or(u64::MAX))
}

/// The view of one or more ways; the first is shown in full.
fn next_hop(ways: &[Egress]) -> NextHopView {
    let Some((first, others)) = ways.split_first() else {
        return NextHopView::Unresolved { reason: "no way to it".to_owned() };
    };
    let way = |way: &Egress| WayView {
        interface: way.ifname.clone(),
        vlan: way.vlan,
        mac: mac(way.next_hop_mac),
        gateway: way.gateway,
    };
    let WayView { interface, vlan, mac, gateway } = way(first);
    NextHopView::Resolved {
        interface,
        vlan,
        mac,
        gateway,
        mtu_bytes: first.mtu,
        others: others.iter().map(way).collect(),
    }
}

fn mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}
