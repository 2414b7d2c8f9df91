//! `lb decap`: works on the pins alone, since backends run no agent.

use std::net::IpAddr;

use serde::Serialize;

use super::{
    args::{DecapVerb, Global},
    print,
    run::emit,
};
use crate::{
    api::view::{ReasonStats, SCHEMA_VERSION},
    error::Error,
    publish::decap::{self, Decap, Settings},
};

/// Where packets are unpacked.
#[derive(Serialize)]
struct DecapList {
    schema_version: u32,
    interfaces: Vec<DecapView>,
}

/// An interface that packets are unpacked on.
#[derive(Serialize)]
struct DecapView {
    name: String,
    ifindex: u32,
    mode: String,
    vips: Vec<IpAddr>,
    gue_port: u16,
    reasons: Vec<ReasonStats>,
}

/// Runs a decap command.
pub(super) fn run(global: &Global, verb: DecapVerb) -> Result<(), Error> {
    match verb {
        DecapVerb::Attach { interface, vips, gue_port, hook, mode } => {
            let settings = Settings { vips: &vips, gue_port, hook, mode };
            decap::attach(&global.pin_dir, &interface, &settings)?;
        }
        DecapVerb::Detach { interface: Some(interface) } => decap::detach(&global.pin_dir, &interface)?,
        DecapVerb::Detach { interface: None } => {
            for attached in decap::list(&global.pin_dir)? {
                decap::detach(&global.pin_dir, &attached.attached.ifname)?;
            }
        }
        DecapVerb::List => {}
    }
    show(global)
}

fn show(global: &Global) -> Result<(), Error> {
    let interfaces = decap::list(&global.pin_dir)?;
    let view = |Decap { attached, vips, gue_port }: Decap| {
        let reasons = decap::reasons(&global.pin_dir, &attached.ifname)?;
        Ok(DecapView {
            name: attached.ifname,
            ifindex: attached.ifindex,
            mode: attached.mode.name().to_owned(),
            vips,
            gue_port,
            reasons: reasons.into_iter().map(ReasonStats::from).collect(),
        })
    };
    let interfaces = interfaces.into_iter().map(view).collect::<Result<_, Error>>()?;
    let list = DecapList { schema_version: SCHEMA_VERSION, interfaces };
    emit(global, &list, table)
}

fn table(list: &DecapList) -> Result<(), Error> {
    if list.interfaces.is_empty() {
        return print::line("packets are unpacked on no interface");
    }
    for interface in &list.interfaces {
        let vips: Vec<String> = interface.vips.iter().map(IpAddr::to_string).collect();
        let DecapView { name, mode, gue_port, .. } = interface;
        let vips = vips.join(" ");
        print::line(&format!("unpacking on {name}, {mode}, gue on port {gue_port}, for {vips}"))?;
        for reason in interface.reasons.iter().filter(|reason| reason.packets > 0) {
            let ReasonStats { reason, action, packets, bytes } = reason;
            print::line(&format!("  {reason} ({action}): {packets} packets, {bytes} bytes"))?;
        }
    }
    Ok(())
}
