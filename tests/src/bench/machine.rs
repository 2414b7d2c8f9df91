//! What the figures were measured on, which belongs beside each of them.

use std::{fs, thread};

use serde::{Deserialize, Serialize};

/// The machine of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Model of the processor, as the kernel names it.
    pub processor: String,
    /// CPUs that the run may use.
    pub cpus: usize,
    /// Processes that were ready to run at the start, on average over a minute: others' load.
    pub load: String,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// On one line.
    pub fn line(&self) -> String {
        format!("{} x {}, kernel {}, load {}", self.cpus, self.processor, self.kernel, self.load)
    }
}
