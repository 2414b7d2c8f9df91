//! `lb decap`: attaching, changing and detaching.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use lb_common::abi::ABI_VERSION;
use lb_tests::bpffs::Bpffs;
use lb_userspace::{desired::model::AttachMode, error::Kind, publish::decap};

use crate::support::{INTERFACE, Pair, open, options, program_id};

#[test]
fn its_life() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let dir = bpffs.path().join("lb");
    let [v4, other, v6]: [IpAddr; 3] = ["192.0.2.1".parse()?, "192.0.2.2".parse()?, "2001:db8::1".parse()?];
    ensure!(decap::list(&dir).unwrap().is_empty());
    let attach =
        |vips: &[IpAddr]| pair.inside(|| decap::attach(&dir, INTERFACE, vips, AttachMode::Native)).unwrap();
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
        let done = pair.inside(|| decap::attach(&dir, interface, vips, AttachMode::Native));
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
    pair.inside(|| decap::attach(&options.pin_dir, INTERFACE, &vip, AttachMode::Native)).unwrap();
    drop(open(&options));
    drop(open(&options));
    ensure!(decap::list(&options.pin_dir).unwrap().len() == 1);
    Ok(())
}
