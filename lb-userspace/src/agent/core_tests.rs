//! The core with a packet path that breaks.

use std::{fs, path::PathBuf, time::SystemTime};

use super::*;
use crate::{
    agent::{handle, plane::Plane},
    api::view::{AttachedView, SlotsView},
    desired::model::AttachMode,
    table::snapshot::Snapshot,
};

/// Ends a test that hangs; nothing is asserted on time.
const DEADLINE: Duration = Duration::from_secs(20);

/// A state directory of the test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let directory = std::env::temp_dir().join(format!("lb-core-{}-{now:x}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A packet path whose thread ends with its first snapshot.
struct Broken;

impl Plane for Broken {
    fn apply(&mut self, _: &Snapshot) -> Result<(), Error> {
        panic!("as the test wants it")
    }

    fn tick(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn attach(&mut self, _: &str, _: AttachMode) -> Result<AttachedView, Error> {
        Err(Error::failed("no interfaces here"))
    }

    fn detach(&mut self, _: &str) -> Result<(), Error> {
        Err(Error::failed("no interfaces here"))
    }

    fn attached(&self) -> Vec<AttachedView> {
        Vec::new()
    }

    fn slots(&self, _: u32) -> Option<SlotsView> {
        None
    }

    fn named(&self, _: u32) -> std::collections::BTreeSet<u32> {
        std::collections::BTreeSet::new()
    }

    fn owners(&self, _: u32) -> std::collections::BTreeMap<u32, u32> {
        std::collections::BTreeMap::new()
    }

    fn flows(&self, _: u32) -> u64 {
        0
    }

    fn preview(&mut self, _: &Snapshot) -> Result<plane::Previews, Error> {
        Err(Error::failed("nothing to preview"))
    }

    fn resync(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test]
async fn the_agent_ends_when_the_publishing_thread_has() {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.0).unwrap();
    let (plane, done) = plane::start(Broken).unwrap();
    let (_handle, calls) = handle::channel();
    let (_health, health) = mpsc::unbounded_channel();
    let (_hops, hops) = watch::channel(NextHops::new());
    let (_links, links) = watch::channel(Links::new());
    let (_reports, reports) = watch::channel(Reports::new());
    let (addresses, _addresses) = watch::channel(Default::default());
    let (targets, _targets) = watch::channel(Targets::new());
    let inbox = Inbox { calls, health, hops, links, reports, seen: plane.seen.clone(), done };
    let core = Core::new(store, State::idle(Desired::new(1)), Outbox { plane, addresses, targets });
    let ended = tokio::time::timeout(DEADLINE, core.run(inbox)).await.expect("an end in time");
    let message = ended.unwrap_err().message;
    assert!(message.contains("publishing thread"), "{message}");
}
