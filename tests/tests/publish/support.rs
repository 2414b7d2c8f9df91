//! A place to publish to, and something to publish.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use lb_common::{
    abi::ABI_VERSION,
    backend::{BACKEND_PRESENT, BACKEND_RESOLVED, Backend},
    mode,
    slot::CLASS_TINY,
};
use lb_tests::{bpffs::Bpffs, link, netns::Netns, unique};
use lb_userspace::{
    desired::model::AttachMode,
    publish::{
        Options, Publisher,
        decap::{Hook, Settings},
    },
    table::snapshot::{Member, ServiceInput, Snapshot},
};

pub const SEED: u64 = 7;

/// A bpffs of the test's own.
pub fn options(bpffs: &Bpffs) -> Options {
    Options::new(bpffs.path().join("lb"), SEED)
}

/// Opens, or panics with what is wrong.
pub fn open(options: &Options) -> Publisher {
    Publisher::open(options).unwrap_or_else(|error| panic!("{error}"))
}

/// The failure that opening must end in.
pub fn open_error(options: &Options) -> lb_userspace::error::Error {
    Publisher::open(options).err().expect("opening must fail")
}

/// Directory of the pins.
pub fn root(options: &Options) -> PathBuf {
    options.pin_dir.join(ABI_VERSION.to_string())
}

/// Every map that is pinned below a directory, with its kernel id: equal as long as nothing was made anew.
pub fn map_ids(dir: &Path) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(map_ids(&path));
        } else if let Ok(info) = MapData::from_pin(&path).and_then(|map| map.info()) {
            found.insert(path, info.id());
        }
    }
    found
}

/// Two services, of IPv4 and IPv6, with three backends each behind the interface of this index.
pub fn snapshot(ifindex: u32) -> Snapshot {
    let mut snapshot = Snapshot { tx_ports: [(1, ifindex)].into(), ..Snapshot::default() };
    for (service, vip) in [(1u32, "192.0.2.1:80/tcp"), (2, "[2001:db8::1]:80/tcp")] {
        let mut members = Vec::new();
        for n in 1..=3u8 {
            let id = service * 10 + u32::from(n);
            let address = IpAddr::from([10, 0, service as u8, n]);
            let flags = BACKEND_PRESENT | BACKEND_RESOLVED;
            let backend = Backend { flags, target: id, ifindex, tx_port: 1, mtu: 1500, ..Backend::default() };
            snapshot.backends.insert(id, backend);
            snapshot.targets.insert(id, true);
            members.push(Member { id, address, weight: 1 });
        }
        let vip = vip.parse().expect("a service address");
        let input =
            ServiceInput { vip, mode: mode::L2, class: CLASS_TINY, flags: 0, quiet_period: None, members };
        snapshot.services.insert(service, input);
    }
    snapshot
}

/// Takes a backend of a service out of rotation.
pub fn drain(snapshot: &mut Snapshot, service: u32, backend: u32) {
    let input = snapshot.services.get_mut(&service).expect("the service");
    input.members.retain(|member| member.id != backend);
}

/// Two namespaces and a veth pair between them.
pub struct Pair {
    pub lb: Netns,
    pub client: Netns,
}

/// The interface in both.
pub const INTERFACE: &str = "eth0";

impl Pair {
    pub fn new() -> Result<Self> {
        let name = unique::name();
        let pair = Self { lb: Netns::new(&format!("{name}-l"))?, client: Netns::new(&format!("{name}-c"))? };
        link::veth((&pair.lb, INTERFACE), (&pair.client, INTERFACE))?;
        Ok(pair)
    }

    pub fn ifindex(&self) -> u32 {
        self.lb.ifindex(INTERFACE).expect("the interface is there")
    }

    /// Runs on the balancer's side.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.lb.enter(work).expect("the namespace is there")
    }
}

/// Id of the program that an interface runs, as `ip` shows it; 0 for none.
pub fn program_id(netns: &Netns, interface: &str) -> Result<u64> {
    let output = netns.command("ip").args(["-json", "link", "show", "dev", interface]).output()?;
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).context("ip -json")?;
    Ok(links[0]["xdp"]["prog"]["id"].as_u64().unwrap_or(0))
}

/// A bpffs that someone mounted on a directory; unmounted on drop.
pub struct Unmount(pub PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let Ok(path) = std::ffi::CString::new(self.0.as_os_str().as_encoded_bytes()) else { return };
        // SAFETY: a C string that lives through the call.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// Decapsulation by native XDP.
pub fn native(vips: &[std::net::IpAddr]) -> Settings<'_> {
    Settings { vips, gue_port: 6080, hook: Hook::Xdp, mode: AttachMode::Native }
}
