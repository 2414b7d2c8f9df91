//! How long publishing takes: `cargo run --release -p lb-tests --example publish` (as root).

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use lb_common::{
    backend::{BACKEND_PRESENT, Backend},
    mode,
    slot::CLASS_DEFAULT,
};
use lb_tests::bpffs::Bpffs;
use lb_userspace::{
    publish::{Options, Publisher},
    table::snapshot::{Member, ServiceInput, Snapshot},
};

const RUNS: usize = 21;

fn main() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = Options::new(bpffs.path().join("lb"), 1);
    let mut publisher = None;
    told("open, nothing there", 1, || publisher = Some(Publisher::open(&options)))?;
    let mut publisher = publisher.transpose()?.expect("just opened");
    for services in [1, 10] {
        let mut step = 0;
        told(&format!("apply a change of {services} services of 1,000 backends"), RUNS, || {
            step += 1;
            publisher.apply(&snapshot(services, 1000 - step % 2))
        })?;
        let same = snapshot(services, 999);
        publisher.apply(&same)?;
        told(&format!("apply the same {services} services"), RUNS, || publisher.apply(&same))?;
    }
    let liveness = publisher.liveness();
    told("mark a target", RUNS, || liveness.set(5, false).and(liveness.set(5, true)))?;
    drop(publisher);
    told("open over what is there", 5, || drop(Publisher::open(&options)))?;
    Ok(())
}

/// Runs something and prints its median.
fn told<T>(what: &str, runs: usize, mut run: impl FnMut() -> T) -> Result<()> {
    let mut samples: Vec<Duration> = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        let result = run();
        samples.push(started.elapsed());
        drop(result);
    }
    samples.sort();
    println!("{what}: {:.3} ms", samples[runs / 2].as_secs_f64() * 1e3);
    Ok(())
}

fn snapshot(services: u32, backends: u32) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for service in 1..=services {
        let mut members = Vec::new();
        for n in 1..=backends {
            let id = service * 1000 + n;
            let backend = Backend { flags: BACKEND_PRESENT, target: id, ..Backend::default() };
            snapshot.backends.insert(id, backend);
            snapshot.targets.insert(id, true);
            members.push(Member { id, address: IpAddr::from((0x0a00_0000 + id).to_be_bytes()), weight: 1 });
        }
        let vip = format!("192.0.2.{service}:80/tcp").parse().expect("a service address");
        let input =
            ServiceInput { vip, mode: mode::L2, class: CLASS_DEFAULT, flags: 0, quiet_period: None, members };
        snapshot.services.insert(service, input);
    }
    snapshot
}
