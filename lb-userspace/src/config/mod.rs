//! Where things are by default.

use std::time::Duration;

/// Socket of the agent.
pub const SOCKET: &str = "/run/lb/lb.sock";
/// Directory of the desired state.
pub const STATE_DIR: &str = "/var/lib/lb";
/// Directory of the pins.
pub const PIN_DIR: &str = "/sys/fs/bpf/lb";
/// Group that may use the agent beside root, if it exists.
pub const GROUP: &str = "lb";
/// Log of an agent that was started in the background, in the state directory.
pub const LOG_FILE: &str = "agent.log";

/// Changes within this time of the first are published together.
pub const COALESCE: Duration = Duration::from_millis(15);
/// Time between full comparisons of the packet path with what it should be.
pub const RECONCILE: Duration = Duration::from_secs(60);
/// Time until an interface that could not be attached to is tried again.
pub const ATTACH_RETRY: Duration = Duration::from_secs(2);
/// Time between two rounds of quiet periods and flow collection.
pub const TICK: Duration = Duration::from_secs(1);
/// How long a command waits for its change to be in the packet path before it answers without.
pub const PUBLISH_WAIT: Duration = Duration::from_secs(3);
/// How long the agent works on one request.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// Largest body of a request, bytes.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
