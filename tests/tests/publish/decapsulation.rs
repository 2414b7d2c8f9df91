//! `lb decap`: attaching, changing and detaching.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use lb_common::abi::ABI_VERSION;
use lb_tests::bpffs::Bpffs;
use lb_userspace::{
    desired::model::AttachMode,
    error::Kind,
    publish::{
        XdpMode,
        decap::{self, Hook, Settings},
    },
};

use crate::support::{INTERFACE, Pair, native, open, options, program_id};

#[test]
fn its_life() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let dir = bpffs.path().join("lb");
    let [v4, other, v6]: [IpAddr; 3] = ["192.0.2.1".parse()?, "192.0.2.2".parse()?, "2001:db8::1".parse()?];
    ensure!(decap::list(&dir).unwrap().is_empty());
    let attach = |vips: &[IpAddr]| pair.inside(|| decap::attach(&dir, INTERFACE, &native(vips))).unwrap();
    let first = attach(&[v6, v4]);
    ensure!(first.vips == [v4, v6] && first.attached.ifindex == pair.ifindex(), "{first:?}");
    ensure!(decap::list(&dir).unwrap() == [first]);
    let second = attach(&[other, v6]);
    ensure!(second.vips.len() == 2 && decap::list(&dir).unwrap() == [second]);
    decap::detach(&dir, INTERFACE).unwrap();
    ensure!(decap::list(&dir).unwrap().is_empty());
    ensure!(program_id(&pair.lb, INTERFACE)? == 0);
    ensure!(decap::detach(&dir, INTERFACE).unwrap_err().kind == Kind::NotFound);
    Ok(())
}

#[test]
fn bad_input_leaves_nothing_behind() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let dir = bpffs.path().join("lb");
    let vip = ["192.0.2.1".parse()?];
    let attach = |interface: &str, vips: &[IpAddr]| {
        let done = pair.inside(|| decap::attach(&dir, interface, &native(vips)));
        done.unwrap_err().kind
    };
    ensure!(attach("eth9", &vip) == Kind::NotFound);
    ensure!(attach(INTERFACE, &[]) == Kind::InvalidConfiguration);
    for netns in [&pair.lb, &pair.client] {
        netns.ip(&[format!("link set {INTERFACE} mtu 9000")])?;
    }
    ensure!(attach(INTERFACE, &vip) == Kind::InvalidConfiguration);
    ensure!(decap::list(&dir).unwrap().is_empty());
    ensure!(std::fs::read_dir(dir.join(ABI_VERSION.to_string()).join("decap"))?.next().is_none());
    Ok(())
}

/// On a machine that is balancer and backend at once.
#[test]
fn the_agents_pins_and_these_do_not_meet() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let options = options(&bpffs);
    let vip = ["192.0.2.1".parse()?];
    pair.inside(|| decap::attach(&options.pin_dir, INTERFACE, &native(&vip))).unwrap();
    drop(open(&options));
    drop(open(&options));
    ensure!(decap::list(&options.pin_dir).unwrap().len() == 1);
    Ok(())
}

#[test]
fn traffic_control_and_xdp_take_each_others_place() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let dir = bpffs.path().join("lb");
    let vips = ["192.0.2.1".parse()?];
    let attach = |hook, gue_port| {
        let settings = Settings { vips: &vips, gue_port, hook, mode: AttachMode::Auto };
        pair.inside(|| decap::attach(&dir, INTERFACE, &settings)).unwrap()
    };
    let tc = attach(Hook::Tc, 5555);
    ensure!((tc.attached.mode, tc.gue_port) == (XdpMode::Tc, 5555), "{tc:?}");
    ensure!(decap::list(&dir).unwrap() == [tc]);
    ensure!(program_id(&pair.lb, INTERFACE)? == 0);
    let again = attach(Hook::Tc, 6080);
    ensure!(again.gue_port == 6080 && decap::list(&dir).unwrap() == [again]);
    let xdp = attach(Hook::Auto, 6080);
    ensure!(xdp.attached.mode == XdpMode::Native, "{xdp:?}");
    ensure!(decap::list(&dir).unwrap() == [xdp]);
    let back = attach(Hook::Tc, 6080);
    ensure!(decap::list(&dir).unwrap() == [back] && program_id(&pair.lb, INTERFACE)? == 0);
    decap::detach(&dir, INTERFACE).unwrap();
    ensure!(decap::list(&dir).unwrap().is_empty());
    Ok(())
}

#[test]
fn a_driver_that_refuses_gets_traffic_control() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let dir = bpffs.path().join("lb");
    let vips = ["192.0.2.1".parse()?];
    for netns in [&pair.lb, &pair.client] {
        netns.ip(&[format!("link set {INTERFACE} mtu 9000")])?;
    }
    let settings = Settings { hook: Hook::Auto, mode: AttachMode::Auto, ..native(&vips) };
    let done = pair.inside(|| decap::attach(&dir, INTERFACE, &settings)).unwrap();
    ensure!(done.attached.mode == XdpMode::Tc, "{done:?}");
    ensure!(done.attached.note.is_some_and(|note| note.contains("9000")));
    let settings = Settings { hook: Hook::Tc, ..native(&vips) };
    let refused = pair.inside(|| decap::attach(&dir, INTERFACE, &settings)).unwrap_err();
    ensure!(refused.kind == Kind::InvalidConfiguration && refused.message.contains("--mode"), "{refused}");
    Ok(())
}
