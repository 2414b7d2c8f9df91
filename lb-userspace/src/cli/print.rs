//! Each view as text for people.

use std::io::{ErrorKind, Write};

use super::table;
use crate::{
    api::view::{
        BackendList, BackendView, HealthList, HealthState, NextHopView, Outcome, Preview, ServiceDetail,
        ServiceList, ServiceView, SlotsView, Stats, Status,
    },
    desired::model::{Admin, Algorithm, Check, CheckKind, Fragments, Mode},
    error::Error,
};

/// Writes a line to standard output. A reader that has closed its end is no failure.
pub(super) fn line(text: &str) -> Result<(), Error> {
    self::text(&format!("{text}\n"))
}

/// Writes text to standard output, without ending the line.
pub(super) fn text(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn rows(headings: &[&str], rows: &[Vec<String>]) -> Result<(), Error> {
    table::lines(headings, rows).iter().try_for_each(|text| line(text))
}

/// What a command did.
pub(super) fn outcome(outcome: &Outcome) -> Result<(), Error> {
    for attached in &outcome.attached {
        let note = attached.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        line(&format!("attached to {}, {}{note}", attached.name, attached.mode))?;
    }
    if !outcome.changed && outcome.attached.is_empty() {
        line("nothing to change")?;
    }
    if !outcome.published {
        line("stored; the packet path does not have it yet, see `lb status`")?;
    }
    outcome.notes.iter().try_for_each(|note| line(note))?;
    outcome.problems.iter().try_for_each(|problem| line(&format!("problem: {problem}")))
}

/// What a command would touch.
pub(super) fn preview(preview: &Preview) -> Result<(), Error> {
    if !preview.would_change {
        return line("nothing would change");
    }
    if preview.services.is_empty() {
        return line("no slot would move; nothing was changed");
    }
    for service in &preview.services {
        let (moving, size) = (service.slots_moving, service.table_size);
        let share = f64::from(moving) * 100.0 / f64::from(size);
        line(&format!(
            "{}: {moving} of {size} slots would move ({share:.2}%); {} tracked flows in them stay with their backend; \
             {} tracked flows would break",
            service.name, service.tracked_flows, service.flows_broken
        ))?;
    }
    line("nothing was changed")
}

/// `lb status`.
pub(super) fn status(status: &Status) -> Result<(), Error> {
    let agent = &status.agent;
    let (version, abi) = (&agent.version, agent.abi_version);
    line(&match agent.pid {
        Some(pid) => {
            let up = humantime::format_duration(std::time::Duration::from_secs(agent.uptime_s.unwrap_or(0)));
            format!("agent: running, pid {pid}, version {version}, abi {abi}, up {up}")
        }
        None => format!("agent: down (this is lb {version}, abi {abi})"),
    })?;
    if let Some(bytes) = status.map_memory_bytes {
        // Tenths of a megabyte, rounded.
        let tenths = (bytes + 50_000) / 100_000;
        line(&format!("maps: {}.{} MB of kernel memory", tenths / 10, tenths % 10))?;
    }
    line("")?;
    if status.interfaces.is_empty() {
        line("no interfaces; `lb attach IFACE` takes packets from one")?;
    } else {
        let interfaces: Vec<_> = status
            .interfaces
            .iter()
            .map(|interface| {
                let state = interface.mode.clone().unwrap_or_else(|| "not attached".to_owned());
                let note = if interface.wanted.is_none() { "not asked for" } else { "" };
                vec![interface.name.clone(), state, note.to_owned()]
            })
            .collect();
        rows(&["INTERFACE", "MODE", ""], &interfaces)?;
    }
    line("")?;
    service_rows(&status.services)?;
    if !status.problems.is_empty() {
        line("")?;
    }
    status.problems.iter().try_for_each(|problem| line(&format!("problem: {problem}")))
}

/// `lb service list`.
pub(super) fn services(list: &ServiceList) -> Result<(), Error> {
    service_rows(&list.services)
}

fn service_rows(services: &[ServiceView]) -> Result<(), Error> {
    if services.is_empty() {
        return line("no services; `lb service add NAME --vip ADDR:PORT/tcp` creates one");
    }
    let row = |service: &ServiceView| {
        let active = service.backends_active.map_or("?".to_owned(), |active| active.to_string());
        vec![
            service.name.clone(),
            service.vip.to_string(),
            mode(service.mode).to_owned(),
            format!("{active}/{}", service.backends_total),
            service.packets.to_string(),
            bytes(service.bytes),
        ]
    };
    let services: Vec<_> = services.iter().map(row).collect();
    rows(&["SERVICE", "ADDRESS", "MODE", " ACTIVE", " PACKETS", " BYTES"], &services)
}

/// `lb service show`.
pub(super) fn service(detail: &ServiceDetail) -> Result<(), Error> {
    let service = &detail.service;
    let mut facts = vec![
        ("service", service.name.clone()),
        ("address", service.vip.to_string()),
        ("mode", mode(service.mode).to_owned()),
        ("algorithm", algorithm(service)),
        ("check", check(&service.check)),
        ("down within", service.down_within_ms.map_or("not checked".to_owned(), time)),
        ("table", format!("{} slots", service.table_size)),
    ];
    if service.slow_start_ms > 0 {
        let slow_start = std::time::Duration::from_millis(service.slow_start_ms);
        facts.push(("slow start", humantime::format_duration(slow_start).to_string()));
    }
    if let Some(port) = service.gue_port {
        facts.push(("gue port", port.to_string()));
    }
    if let Some(source) = &service.encap_source {
        facts.push(("encap source", source.clone()));
    }
    if let Some(slots) = &service.slots {
        facts.extend([("slots", slot_states(slots)), ("tracked flows", slots.tracked_flows.to_string())]);
    }
    facts.push(("forwarded", format!("{} packets, {}", service.packets, bytes(service.bytes))));
    for (name, text) in facts {
        line(&format!("{name:<14} {text}"))?;
    }
    line("")?;
    backend_rows(&detail.backends, false)
}

/// `lb backend list`.
pub(super) fn backends(list: &BackendList) -> Result<(), Error> {
    backend_rows(&list.backends, true)
}

fn backend_rows(backends: &[BackendView], with_service: bool) -> Result<(), Error> {
    if backends.is_empty() {
        return line("no backends; `lb backend add SERVICE ADDR` adds one");
    }
    let with_id = backends.iter().any(|backend| backend.quic_server_id.is_some());
    let row = |backend: &BackendView| {
        let share = f64::from(backend.share_ppm) / 10_000.0;
        let cells = [
            backend.address.to_string(),
            weight(backend),
            admin(backend.admin).to_owned(),
            health_word(backend.health).to_owned(),
            format!("{share:.2}%"),
            backend.tracked_flows.to_string(),
            backend.packets.to_string(),
            bytes(backend.bytes),
            next_hop(backend),
        ];
        let id = with_id.then(|| backend.quic_server_id.map_or(String::new(), |id| id.to_string()));
        let service = with_service.then(|| backend.service.clone());
        service.into_iter().chain(cells).chain(id).collect()
    };
    let cells: Vec<Vec<String>> = backends.iter().map(row).collect();
    let headings = [
        "SERVICE",
        "BACKEND",
        " WEIGHT",
        "ADMIN",
        "HEALTH",
        " SHARE",
        " TRACKED",
        " PACKETS",
        " BYTES",
        "NEXT HOP",
        "SERVER ID",
    ];
    let headings = &headings[usize::from(!with_service)..headings.len() - usize::from(!with_id)];
    rows(headings, &cells)
}

/// `lb health list`.
pub(super) fn health(list: &HealthList) -> Result<(), Error> {
    if list.checks.is_empty() {
        return line("no backends; `lb backend add SERVICE ADDR` adds one");
    }
    let cells: Vec<_> = list
        .checks
        .iter()
        .map(|view| {
            let latency = view.latency_us.map_or(String::new(), |us| format!("{:.1}ms", us as f64 / 1000.0));
            vec![
                view.service.clone(),
                view.address.to_string(),
                health_word(view.state).to_owned(),
                check(&view.check),
                latency,
                view.last_result.clone().unwrap_or_default(),
            ]
        })
        .collect();
    rows(&["SERVICE", "BACKEND", "HEALTH", "CHECK", " TOOK", "LAST RESULT"], &cells)
}

/// `lb stats`.
pub(super) fn stats(stats: &Stats) -> Result<(), Error> {
    let mut forwarded = Vec::new();
    for service in &stats.services {
        let total =
            vec![service.name.clone(), String::new(), service.packets.to_string(), bytes(service.bytes)];
        forwarded.push(total);
        forwarded.extend(service.backends.iter().map(|backend| {
            vec![
                String::new(),
                backend.address.to_string(),
                backend.packets.to_string(),
                bytes(backend.bytes),
            ]
        }));
    }
    if forwarded.is_empty() {
        line("no services; `lb service add NAME --vip ADDR:PORT/tcp` creates one")?;
    } else {
        rows(&["SERVICE", "BACKEND", " PACKETS", " BYTES"], &forwarded)?;
    }
    let others: Vec<_> = stats
        .reasons
        .iter()
        .filter(|reason| reason.packets > 0)
        .map(|reason| {
            let action = match &*reason.action {
                "drop" => "dropped",
                "answer" => "answered",
                _ => "passed to the host",
            };
            vec![reason.reason.clone(), action.to_owned(), reason.packets.to_string(), bytes(reason.bytes)]
        })
        .collect();
    if !others.is_empty() {
        line("")?;
        rows(&["NOT FORWARDED", "ACTION", " PACKETS", " BYTES"], &others)?;
    }
    let events = stats.events.iter().filter(|event| event.count > 0);
    let events: Vec<_> = events.map(|event| vec![event.event.clone(), event.count.to_string()]).collect();
    if !events.is_empty() {
        line("")?;
        rows(&["EVENT", " COUNT"], &events)?;
    }
    Ok(())
}

fn algorithm(service: &ServiceView) -> String {
    let name = match service.algorithm {
        Algorithm::Maglev => "maglev".to_owned(),
        Algorithm::SourceHash => match service.source_prefix {
            Some(bits) => format!("source-hash, first {bits} bits of the client's address"),
            None => "source-hash".to_owned(),
        },
        Algorithm::RoundRobin => "round-robin, tracks each flow".to_owned(),
        Algorithm::LeastConnections => "least-connections, tracks each flow".to_owned(),
    };
    let name = match service.quic_id {
        Some(layout) => format!("{name}, QUIC with server ids at {layout} of connection ids"),
        None if service.quic => format!("{name}, QUIC"),
        None => name,
    };
    match service.fragments {
        Fragments::Follow => name,
        Fragments::ByAddress => format!("{name}, fragments by address"),
    }
}

fn slot_states(slots: &SlotsView) -> String {
    let text = format!("{} steady, {} moving, {} settled", slots.steady, slots.moving, slots.settled);
    let text = match slots.quiet_left_s {
        Some(seconds) => format!("{text}; quiet period for another {seconds}s"),
        None => text,
    };
    match slots.waiting {
        0 => text,
        waiting => {
            format!("{text}; {waiting} of the moving wait, for {} more quiet periods", slots.turns_left)
        }
    }
}

/// The weight, and in a slow start how much of it.
fn weight(backend: &BackendView) -> String {
    match backend.admin {
        Admin::Ready if backend.effective_weight != backend.weight => {
            format!("{}/{}", backend.effective_weight, backend.weight)
        }
        _ => backend.weight.to_string(),
    }
}

fn admin(admin: Admin) -> &'static str {
    match admin {
        Admin::Ready => "ready",
        Admin::Drain => "drain",
        Admin::Maint => "maint",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::L2 => "l2",
        Mode::Ipip => "ipip",
        Mode::Gue => "gue",
    }
}

fn health_word(state: HealthState) -> &'static str {
    match state {
        HealthState::Up => "up",
        HealthState::Down => "down",
        HealthState::Waiting => "waiting",
        HealthState::Unchecked => "unchecked",
    }
}

fn check(check: &Check) -> String {
    let what = match &check.kind {
        CheckKind::None => return "none".to_owned(),
        CheckKind::Tcp => format!("tcp port {}", check.port),
        CheckKind::Http { path, status: (low, high), host } => {
            let host = host.as_ref().map_or(String::new(), |host| format!(" host {host}"));
            format!("http port {} {path} {low}-{high}{host}", check.port)
        }
    };
    let time = humantime::format_duration;
    let (interval, timeout) = (time(check.interval), time(check.timeout));
    format!("{what} every {interval}, timeout {timeout}, rise {}, fall {}", check.rise, check.fall)
}

fn next_hop(backend: &BackendView) -> String {
    match &backend.next_hop {
        NextHopView::Resolved { interface, vlan, mac, gateway, others, .. } => {
            let tag = vlan.map(|id| format!(" (VLAN {id})")).unwrap_or_default();
            let via = gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            format!("{mac} on {interface}{tag}{via}{more}")
        }
        NextHopView::Local => "this host".to_owned(),
        NextHopView::Unresolved { reason } => {
            let reason = reason.strip_prefix(&format!("{}: ", backend.address)).unwrap_or(reason);
            format!("unresolved: {reason}")
        }
    }
}

fn time(ms: u64) -> String {
    humantime::format_duration(std::time::Duration::from_millis(ms)).to_string()
}

/// A number of bytes, short.
fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} PB")
}
