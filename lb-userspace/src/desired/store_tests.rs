//! The state file through damage, newer versions and second owners.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory of the test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "lb-store-{}-{}-{:x}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed),
            random_seed().unwrap()
        );
        let directory = std::env::temp_dir().join(unique);
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn no_seed() -> Result<Option<u64>, Error> {
    Ok(None)
}

#[test]
fn what_was_saved_is_loaded() {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.0).unwrap();
    let mut desired = store.load(no_seed).unwrap();
    assert_eq!(desired, Desired::new(desired.seed));
    desired.interfaces.insert("eth0".to_owned(), crate::desired::model::AttachMode::Native);
    store.save(&desired).unwrap();
    assert_eq!(store.load(no_seed).unwrap(), desired);
    drop(store);
    assert_eq!(Store::open(&scratch.0).unwrap().load(no_seed).unwrap(), desired);
}

#[test]
fn a_new_state_takes_over_the_seed_of_the_pins() {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.0).unwrap();
    assert_eq!(store.load(|| Ok(Some(7))).unwrap().seed, 7);
    assert_eq!(store.load(|| Err(Error::conflict("attached"))).unwrap_err().kind, Kind::Conflict);
    store.save(&Desired::new(3)).unwrap();
    assert_eq!(store.load(|| Ok(Some(7))).unwrap().seed, 3, "what is stored counts");
}

#[test]
fn a_directory_has_one_owner() {
    let scratch = Scratch::new();
    let first = Store::open(&scratch.0).unwrap();
    assert_eq!(Store::open(&scratch.0).unwrap_err().kind, Kind::Conflict);
    drop(first);
    Store::open(&scratch.0).unwrap();
}

#[test]
fn damage_is_kept_aside_and_stops_every_start_until_resolved() {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.0).unwrap();
    for (number, text) in ["{\"schema_version\": 1, \"se", "", "[]"].into_iter().enumerate() {
        fs::write(scratch.file("desired.json"), text).unwrap();
        let error = store.load(no_seed).unwrap_err();
        let aside = scratch.file(&format!("desired.json.damaged-{}", number + 1));
        assert_eq!(error.kind, Kind::InvalidConfiguration);
        assert!(error.message.contains(aside.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_to_string(&aside).unwrap(), text, "kept as it was");
        let again = store.load(no_seed).unwrap_err();
        assert_eq!(again.kind, Kind::InvalidConfiguration);
        assert!(again.message.contains(aside.to_str().unwrap()), "{again}");
    }
    for number in 1..=3 {
        fs::remove_file(scratch.file(&format!("desired.json.damaged-{number}"))).unwrap();
    }
    assert!(store.load(no_seed).unwrap().services.is_empty());
}

#[test]
fn a_state_that_commands_cannot_lead_to_is_damaged() {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.0).unwrap();
    let mut desired = store.load(no_seed).unwrap();
    desired.interfaces.insert("not/a name".to_owned(), crate::desired::model::AttachMode::Auto);
    store.save(&desired).unwrap();
    let error = store.load(no_seed).unwrap_err();
    assert!(error.message.contains("damaged-1") && error.message.contains("not/a name"), "{error}");
}

#[test]
fn a_newer_version_is_left_alone() {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.0).unwrap();
    fs::write(scratch.file("desired.json"), "{\"schema_version\": 2, \"novelty\": true}").unwrap();
    let error = store.load(no_seed).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidConfiguration);
    assert!(error.message.contains("version 2"), "{error}");
    assert!(scratch.file("desired.json").exists());
}

#[test]
fn a_state_of_the_first_version_is_read() {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.0).unwrap();
    let text = r#"{
        "schema_version": 1, "seed": 7, "interfaces": {}, "last_service_id": 1, "last_backend_id": 1,
        "services": {"web": {
            "id": 1, "vip": "192.0.2.1:80/tcp", "mode": "l2", "table_size": 65537, "encap_source": null,
            "check": {
                "kind": {"type": "tcp"}, "port": 80, "interval_ms": 2000, "timeout_ms": 1000, "rise": 2, "fall": 3
            },
            "backends": {"10.0.0.2": {"id": 1, "weight": 100, "admin": "drain"}}
        }}
    }"#;
    fs::write(scratch.file("desired.json"), text).unwrap();
    let desired = store.load(no_seed).unwrap();
    let service = &desired.services["web"];
    let default = (crate::desired::model::Algorithm::Maglev, None, false, std::time::Duration::ZERO);
    assert_eq!((service.algorithm, service.source_prefix, service.quic, service.slow_start), default);
    assert_eq!(service.backends.values().next().unwrap().drain, None);
    store.save(&desired).unwrap();
    assert_eq!(store.load(no_seed).unwrap(), desired);
}
