//! The BPF objects, and loading one.

use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    programs::{Program, ProgramError},
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_DEVMAP;

use super::{
    pins::{self, Pins},
    sys::{self, Shape},
};
use crate::error::{Error, Kind};

/// A BPF object that is part of this binary.
pub(crate) struct Object {
    pub bytes: &'static [u8],
    /// The maps that are pinned; all others belong to one load.
    pub maps: &'static [&'static str],
    /// Name of its program, of XDP or of traffic control.
    pub program: &'static str,
}

/// Oldest kernel that has all that is used: XDP links came last.
const OLDEST_KERNEL: (u32, u32) = (5, 9);

impl Object {
    /// The shapes that the maps must have.
    pub(crate) fn shapes(&self) -> Result<BTreeMap<&'static str, Shape>, Error> {
        let object = aya_obj::Object::parse(self.bytes)
            .map_err(|error| Error::failed(format!("the built-in BPF object is damaged: {error}")))?;
        let shape = |name: &&'static str| {
            let map = object
                .maps
                .get(*name)
                .ok_or_else(|| Error::failed(format!("the built-in BPF object has no map {name}")))?;
            let shape = Shape {
                kind: map.map_type(),
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: map.max_entries(),
                flags: map.map_flags(),
            };
            Ok((*name, shape.comparable()))
        };
        self.maps.iter().map(shape).collect()
    }

    /// Compares the maps that are pinned with what this object needs. Returns those that are not there.
    ///
    /// # Errors
    /// If a pin is of something else; `fix` says what to do about it.
    pub(crate) fn check(&self, pins: &Pins, fix: &str) -> Result<Vec<&'static str>, Error> {
        let mut missing = Vec::new();
        for (name, expected) in self.shapes()? {
            let path = pins.map(name);
            let map = match sys::object_get(&path) {
                Ok(map) => map,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.push(name);
                    continue;
                }
                Err(error) => return Err(pins::failed(&format!("open {}", path.display()), &error)),
            };
            let shape = sys::map_info(map.as_fd()).ok().map(|(_, shape)| shape.comparable());
            if shape != Some(expected) {
                let found = shape.map_or("no map".to_owned(), |shape| shape.to_string());
                return Err(Error::invalid(format!(
                    "{} is not a map of this lb: it should be {expected}, it is {found}; {fix}",
                    path.display()
                )));
            }
        }
        Ok(missing)
    }

    /// Loads the object: maps that are pinned are used, the others made and pinned. The program is loaded, not
    /// attached.
    pub(crate) fn load(&self, pins: &Pins, globals: &[(&str, &[u8])]) -> Result<(Ebpf, OwnedFd), Error> {
        let mut loader = EbpfLoader::new();
        for (name, value) in globals {
            loader.override_global(name, *value, true);
        }
        for name in self.maps {
            loader.map_pin_path(name, pins.map(name));
        }
        let mut ebpf = loader.load(self.bytes).map_err(|error| cannot_load(&error))?;
        let program = self.load_program(&mut ebpf)?;
        Ok((ebpf, program))
    }

    fn load_program(&self, ebpf: &mut Ebpf) -> Result<OwnedFd, Error> {
        let program = ebpf.program_mut(self.program).ok_or_else(|| {
            Error::failed(format!("the built-in BPF object has no program {}", self.program))
        })?;
        let fd = match program {
            Program::Xdp(program) => program.load().and_then(|()| program.fd()),
            Program::SchedClassifier(program) => program.load().and_then(|()| program.fd()),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        let fd = fd.map_err(|error| cannot_load(&error.into()))?;
        fd.as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::failed(format!("keep the program {}: {error}", self.program)))
    }
}

impl Shape {
    /// Without what the kernel sets by itself.
    pub(crate) fn comparable(self) -> Self {
        if self.kind == BPF_MAP_TYPE_DEVMAP as u32 {
            return Self { value_size: 0, flags: 0, ..self };
        }
        self
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of type {} with {} entries of {} + {} bytes and flags {:#x}",
            self.kind, self.max_entries, self.key_size, self.value_size, self.flags
        )
    }
}

/// Why loading failed: no rights, a kernel that is too old, or what the kernel said.
fn cannot_load(error: &EbpfError) -> Error {
    let text = match error {
        EbpfError::ProgramError(ProgramError::LoadError { io_error, verifier_log }) => {
            refused(io_error, &verifier_log.to_string())
        }
        _ => chain(error),
    };
    if text.contains("Operation not permitted")
        || text.contains("Permission denied") && !text.contains("verifier")
    {
        return Error::new(
            Kind::Permission,
            format!(
                "load the packet path: {text}; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
            ),
        );
    }
    match kernel_release() {
        Some((release, version)) if version < OLDEST_KERNEL => Error::failed(format!(
            "load the packet path: {text}; this kernel is {release}, lb needs {}.{} or newer (XDP links)",
            OLDEST_KERNEL.0, OLDEST_KERNEL.1
        )),
        _ => Error::failed(format!("load the packet path: {text}")),
    }
}

/// Lines at the end of the verifier's log that say why it refused.
const LAST_LINES: usize = 4;

/// What the verifier said, in short; with `LB_VERIFIER_LOG=1` all of it goes to standard error first.
fn refused(error: &io::Error, log: &str) -> String {
    if std::env::var_os("LB_VERIFIER_LOG").is_some_and(|value| value == "1") {
        eprintln!("{log}");
    }
    match in_short(log) {
        short if short.is_empty() => error.to_string(),
        short => format!("{error}; the verifier: {short} (all of it: LB_VERIFIER_LOG=1)"),
    }
}

/// The first and the last lines of the verifier's log, without its statistics.
fn in_short(log: &str) -> String {
    let is_told = |line: &&str| !line.is_empty() && !line.starts_with("processed ");
    let lines: Vec<&str> = log.lines().map(str::trim).filter(is_told).collect();
    let first = lines.first().copied().into_iter().filter(|_| lines.len() > LAST_LINES);
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    first.chain(last.iter().copied()).collect::<Vec<_>>().join(" | ")
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Release of the running kernel, and its version.
fn kernel_release() -> Option<(String, (u32, u32))> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim().to_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((release, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_told_by_its_ends() {
        let log = "func#0 @0\n0: a\n1: b\n2: c\n3: d\nR1 invalid mem access\nprocessed 9 insns\n\n";
        assert_eq!(in_short(log), "func#0 @0 | 1: b | 2: c | 3: d | R1 invalid mem access");
        assert_eq!(in_short("too many instructions\n"), "too many instructions");
        assert_eq!(in_short(""), "");
    }
}
