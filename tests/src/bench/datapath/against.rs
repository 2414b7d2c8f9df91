//! Another build's object to measure against, whose maps must be like this build's.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya_obj::{Map, Object};
use lb_userspace::objects;

/// Reads an object file and compares its maps with this build's.
///
/// # Errors
/// If there is none, or its maps differ: which, and how.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let other = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    let differences = differences(objects::LB_XDP, &other)
        .with_context(|| format!("{} is no BPF object", path.display()))?;
    ensure!(
        differences.is_empty(),
        "{} can't be measured beside this build, its maps are others:\n{}",
        path.display(),
        differences.join("\n")
    );
    Ok(other)
}

/// How the maps of two objects differ. Sections for constants and variables are the program's own affair.
///
/// # Errors
/// If one is no object.
pub fn differences(ours: &[u8], other: &[u8]) -> Result<Vec<String>> {
    let (ours, other) = (shapes(ours)?, shapes(other)?);
    let names: std::collections::BTreeSet<_> = ours.keys().chain(other.keys()).collect();
    let differing = names.into_iter().filter(|name| ours.get(*name) != other.get(*name));
    let shape = |of: &BTreeMap<String, String>, name| of.get(name).map_or("missing".to_owned(), Clone::clone);
    Ok(differing
        .map(|name| format!("{name}: here {}, there {}", shape(&ours, name), shape(&other, name)))
        .collect())
}

fn shapes(object: &[u8]) -> Result<BTreeMap<String, String>> {
    let object = Object::parse(object).map_err(|error| anyhow!("{error}"))?;
    let maps = object.maps.iter().filter(|(name, _)| !name.starts_with('.'));
    Ok(maps.map(|(name, map)| (name.clone(), shape(map))).collect())
}

fn shape(map: &Map) -> String {
    let own = format!(
        "type {}, {} entries of {} + {} bytes, flags {:#x}",
        map.map_type(),
        map.max_entries(),
        map.key_size(),
        map.value_size(),
        map.map_flags()
    );
    match map.inner() {
        Some(inner) => format!("{own}, of maps of {}", shape(&inner)),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_like_itself_and_unlike_another() {
        assert_eq!(differences(objects::LB_XDP, objects::LB_XDP).expect("objects"), Vec::<String>::new());
        let differences = differences(objects::LB_XDP, objects::LB_DECAP).expect("objects");
        assert!(
            differences.iter().any(|line| line.starts_with("FLOWS: here type 1, 1048576 entries")
                && line.ends_with("there missing"))
        );
        assert!(differences.iter().any(|line| line.starts_with("DECAP_VIPS: here missing")));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let error = read(Path::new("/proc/version")).expect_err("no object");
        assert!(error.to_string().contains("is no BPF object"), "{error}");
    }
}
