//! Signals that ask a program of this harness to end.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::wait;

/// From now on Ctrl-C, SIGTERM and SIGHUP call [`wait::interrupt`], so that what was made is removed in order.
pub fn interrupt_waits() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, listening) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let signals: std::io::Result<Vec<_>> = kinds.into_iter().map(signal).collect();
            let mut tasks = tokio::task::JoinSet::new();
            match signals {
                Ok(signals) => {
                    // Who started us waits for this.
                    let _ = ready.send(Ok(()));
                    for mut signal in signals {
                        tasks.spawn(async move {
                            while signal.recv().await.is_some() {
                                wait::interrupt();
                            }
                        });
                    }
                    tasks.join_all().await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    })?;
    listening.recv()?.context("can't handle signals")
}
