//! Attaching to interfaces, and what gets in the way.

use anyhow::{Result, ensure};
use lb_tests::bpffs::Bpffs;
use lb_userspace::{
    desired::model::AttachMode,
    error::{Error, Kind},
    publish::{Attached, XdpMode, attached, decap},
};

use crate::support::{INTERFACE, Pair, native, open, options, program_id};

/// Attaches with an agent of the moment.
fn attach(pair: &Pair, bpffs: &Bpffs, interface: &str, mode: AttachMode) -> Result<Attached, Error> {
    let options = options(bpffs);
    pair.inside(|| open(&options).attach(interface, mode))
}

#[test]
fn the_link_outlives_the_agent_and_gets_the_next_ones_program() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let done = attach(&pair, &bpffs, INTERFACE, AttachMode::Auto).unwrap();
    let expected =
        Attached { ifname: INTERFACE.to_owned(), ifindex: pair.ifindex(), mode: XdpMode::Native, note: None };
    ensure!(done == expected, "{done:?}");
    let first = program_id(&pair.lb, INTERFACE)?;
    let options = options(&bpffs);
    let second = pair.inside(|| open(&options));
    ensure!(second.attached() == std::slice::from_ref(&done));
    let replaced = program_id(&pair.lb, INTERFACE)?;
    ensure!(first != 0 && replaced != 0 && first != replaced, "{first} {replaced}");
    drop(second);
    ensure!(attached(&options.pin_dir).unwrap() == [done]);
    ensure!(program_id(&pair.lb, INTERFACE)? == replaced);
    Ok(())
}

#[test]
fn detaching_leaves_the_interface_without_a_program() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let options = options(&bpffs);
    let mut publisher = pair.inside(|| open(&options));
    pair.inside(|| publisher.attach(INTERFACE, AttachMode::Native)).unwrap();
    publisher.detach(INTERFACE).unwrap();
    ensure!(program_id(&pair.lb, INTERFACE)? == 0);
    ensure!(publisher.attached().is_empty());
    let error = publisher.detach(INTERFACE).unwrap_err();
    ensure!(error.kind == Kind::NotFound && error.message.contains(INTERFACE), "{error}");
    Ok(())
}

#[test]
fn attaching_again_changes_the_mode_and_nothing_else() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    for (asked, mode) in [
        (AttachMode::Generic, XdpMode::Generic),
        (AttachMode::Auto, XdpMode::Generic),
        (AttachMode::Native, XdpMode::Native),
        (AttachMode::Native, XdpMode::Native),
    ] {
        ensure!(attach(&pair, &bpffs, INTERFACE, asked).unwrap().mode == mode);
        let found = attached(&options(&bpffs).pin_dir).unwrap();
        ensure!(found.len() == 1 && found[0].mode == mode, "{found:?}");
    }
    Ok(())
}

#[test]
fn a_missing_interface_is_named() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let error = attach(&pair, &bpffs, "eth9", AttachMode::Auto).unwrap_err();
    ensure!(error.kind == Kind::NotFound, "{error}");
    ensure!(error.message.contains("eth9") && error.message.contains("ip link"), "{error}");
    Ok(())
}

#[test]
fn a_foreign_program_stays() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    // Any program that is not the balancer's will do.
    let other = Bpffs::mount()?;
    let vip = ["192.0.2.1".parse()?];
    pair.inside(|| decap::attach(other.path(), INTERFACE, &native(&vip))).unwrap();
    let before = program_id(&pair.lb, INTERFACE)?;
    for mode in [AttachMode::Auto, AttachMode::Native, AttachMode::Generic] {
        let error = attach(&pair, &bpffs, INTERFACE, mode).unwrap_err();
        ensure!(error.kind == Kind::Conflict && error.message.contains("xdp off"), "{error}");
    }
    ensure!(program_id(&pair.lb, INTERFACE)? == before);
    ensure!(attached(&options(&bpffs).pin_dir).unwrap().is_empty());
    Ok(())
}

#[test]
fn an_mtu_that_refuses_native_mode_is_named() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    for netns in [&pair.lb, &pair.client] {
        netns.ip(&[format!("link set {INTERFACE} mtu 9000")])?;
    }
    let error = attach(&pair, &bpffs, INTERFACE, AttachMode::Native).unwrap_err();
    ensure!(error.kind == Kind::InvalidConfiguration, "{error}");
    ensure!(error.message.contains("9000") && error.message.contains("--mode generic"), "{error}");
    ensure!(program_id(&pair.lb, INTERFACE)? == 0);
    let done = attach(&pair, &bpffs, INTERFACE, AttachMode::Auto).unwrap();
    ensure!(done.mode == XdpMode::Generic && done.note.is_some_and(|note| note.contains("9000")));
    // A failure leaves what was there.
    attach(&pair, &bpffs, INTERFACE, AttachMode::Native).unwrap_err();
    let found = attached(&options(&bpffs).pin_dir).unwrap();
    ensure!(found.len() == 1 && found[0].mode == XdpMode::Generic, "{found:?}");
    ensure!(program_id(&pair.lb, INTERFACE)? != 0);
    Ok(())
}

#[test]
fn a_link_goes_with_its_interface_and_comes_with_the_next_of_that_name() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    attach(&pair, &bpffs, INTERFACE, AttachMode::Native).unwrap();
    pair.lb.ip(&[format!("link delete {INTERFACE}")])?;
    let options = options(&bpffs);
    ensure!(attached(&options.pin_dir).unwrap().is_empty());
    lb_tests::link::veth((&pair.lb, INTERFACE), (&pair.client, INTERFACE))?;
    attach(&pair, &bpffs, INTERFACE, AttachMode::Native).unwrap();
    ensure!(attached(&options.pin_dir).unwrap()[0].ifindex == pair.ifindex());
    Ok(())
}

#[test]
fn names_with_a_dot_are_fine() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    pair.lb.ip(&[format!("link set {INTERFACE} down"), format!("link set {INTERFACE} name eth0.5")])?;
    attach(&pair, &bpffs, "eth0.5", AttachMode::Native).unwrap();
    ensure!(attached(&options(&bpffs).pin_dir).unwrap()[0].ifname == "eth0.5");
    Ok(())
}
