//! Health checks as settings become values, and which values are accepted.

use std::time::Duration;

use super::{
    command::{CheckName, CheckSettings, DEFAULT_FALL, DEFAULT_INTERVAL, DEFAULT_RISE, DEFAULT_TIMEOUT},
    model::{Check, CheckKind, Protocol, Vip},
};
use crate::{error::Error, health::schedule};

const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
const COUNT_MAX: u32 = 100;
const TEXT_MAX: usize = 1024;
const DEFAULT_STATUS: (u16, u16) = (200, 399);

/// The check of a new service: a TCP connection to the service's port, where there is one.
pub(super) fn default_for(vip: &Vip) -> Check {
    let kind =
        if vip.protocol == Protocol::Tcp && vip.only_port() != 0 { CheckKind::Tcp } else { CheckKind::None };
    Check {
        kind,
        port: vip.only_port(),
        interval: DEFAULT_INTERVAL,
        timeout: DEFAULT_TIMEOUT,
        rise: DEFAULT_RISE,
        fall: DEFAULT_FALL,
    }
}

/// The check after a change of settings.
///
/// # Errors
/// A setting that contradicts another, or is out of its range.
pub(super) fn changed(check: &Check, settings: &CheckSettings) -> Result<Check, Error> {
    let interval = settings.interval_ms.map_or(check.interval, Duration::from_millis);
    let mut check = Check {
        kind: changed_kind(&check.kind, settings)?,
        port: settings.port.unwrap_or(check.port),
        interval,
        timeout: settings.timeout_ms.map_or(check.timeout, Duration::from_millis),
        rise: settings.rise.unwrap_or(check.rise),
        fall: settings.fall.unwrap_or(check.fall),
    };
    if settings.timeout_ms.is_none() && (settings.interval_ms.is_some() || settings.fall.is_some()) {
        // These alone shorten the timeout with them, so that a dead backend is still out in time.
        let prompt = schedule::longest_prompt_timeout(&check);
        check.timeout = check.timeout.min(if prompt.is_zero() { interval } else { prompt });
    }
    validate(&check)?;
    Ok(check)
}

fn changed_kind(kind: &CheckKind, settings: &CheckSettings) -> Result<CheckKind, Error> {
    let name = settings.kind.unwrap_or(match kind {
        CheckKind::None => CheckName::None,
        CheckKind::Tcp => CheckName::Tcp,
        CheckKind::Http { .. } => CheckName::Http,
    });
    let http_only = settings.path.is_some() || settings.status.is_some() || settings.host.is_some();
    if name != CheckName::Http && http_only {
        return Err(Error::invalid(
            "--check-path, --check-status and --check-host are for HTTP checks; add --check http",
        ));
    }
    Ok(match name {
        CheckName::None => CheckKind::None,
        CheckName::Tcp => CheckKind::Tcp,
        CheckName::Http => {
            let (path, status, host) = match kind {
                CheckKind::Http { path, status, host } => (path.clone(), *status, host.clone()),
                CheckKind::None | CheckKind::Tcp => ("/".to_owned(), DEFAULT_STATUS, None),
            };
            CheckKind::Http {
                path: settings.path.clone().unwrap_or(path),
                status: settings.status.unwrap_or(status),
                // An empty text restores the default.
                host: settings.host.clone().or(host).filter(|host| !host.is_empty()),
            }
        }
    })
}

/// Whether a check can be carried out.
pub(super) fn validate(check: &Check) -> Result<(), Error> {
    let wrong = |what: String| Err(Error::invalid(format!("health check: {what}")));
    if check.interval < INTERVAL_MIN || check.interval > INTERVAL_MAX {
        return wrong(format!("the interval of {:?} is not within 10ms to 1h", check.interval));
    }
    if check.timeout < Duration::from_millis(1) {
        return wrong("the timeout is below 1ms".to_owned());
    }
    if check.timeout > check.interval {
        return wrong(format!(
            "the timeout of {:?} exceeds the interval of {:?}; lower --check-timeout or raise --check-interval",
            check.timeout, check.interval
        ));
    }
    for (name, value) in [("rise", check.rise), ("fall", check.fall)] {
        if value == 0 || value > COUNT_MAX {
            return wrong(format!("{name} of {value} is not within 1 to {COUNT_MAX}"));
        }
    }
    if check.kind != CheckKind::None && check.port == 0 {
        return wrong("it needs a port: give --check-port, or --check none".to_owned());
    }
    validate_http(&check.kind)
}

fn validate_http(kind: &CheckKind) -> Result<(), Error> {
    let CheckKind::Http { path, status: (low, high), host } = kind else { return Ok(()) };
    let wrong = |what: String| Err(Error::invalid(format!("health check: {what}")));
    if !path.starts_with('/') || !is_plain(path) {
        return wrong(format!("path {path:?} must begin with / and be plain ASCII without spaces"));
    }
    if let Err(error) = path.parse::<hyper::http::uri::PathAndQuery>() {
        return wrong(format!("path {path:?}: {error}; write other characters as %XX"));
    }
    if host.as_ref().is_some_and(|host| host.is_empty() || !is_plain(host)) {
        return wrong("the host must be plain ASCII without spaces".to_owned());
    }
    if *low < 100 || *high > 599 || low > high {
        return wrong(format!("status {low}-{high} is not a range within 100-599"));
    }
    Ok(())
}

/// Whether text can stand in a request as it is: nothing in it ends a line or a word.
fn is_plain(text: &str) -> bool {
    text.len() <= TEXT_MAX && text.bytes().all(|byte| byte.is_ascii_graphic())
}
