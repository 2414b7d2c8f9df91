//! Commands: checked, carried out where that can fail, stored, then answered.

use std::collections::BTreeSet;

use tokio::{sync::oneshot, time::Instant};

use super::core::Core;
use crate::{
    api::view::{AttachedView, Outcome, SCHEMA_VERSION},
    config,
    desired::{
        command::Command,
        model::{AttachMode, Desired},
        ops,
    },
    error::Error,
    health::schedule,
};

impl Core {
    /// Carries out a command.
    pub(super) async fn command(
        &mut self,
        command: Command,
        answer: oneshot::Sender<Result<Outcome, Error>>,
    ) {
        log::debug!("{command:?}");
        let result = match &command {
            Command::Attach { interfaces, mode } => self.attach(interfaces, *mode).await,
            Command::Detach { interfaces } => self.detach(interfaces.as_ref()).await,
            _ => self.change(&command),
        };
        match result {
            Ok(outcome) => self.answer_later(outcome, answer),
            Err(error) => {
                log::info!("refused: {error}");
                // The client may have gone.
                let _ = answer.send(Err(error));
            }
        }
    }

    fn change(&mut self, command: &Command) -> Result<Outcome, Error> {
        let desired = ops::apply(&self.state.desired, command)?;
        let outcome = self.keep(desired, Vec::new())?;
        Ok(Outcome { notes: self.notes(command), ..outcome })
    }

    /// How soon a service that has a check now notices a dead backend.
    fn notes(&self, command: &Command) -> Vec<String> {
        let (Command::ServiceAdd { name, .. } | Command::ServiceSet { name, .. }) = command else {
            return Vec::new();
        };
        let service = self.state.desired.services.get(name);
        service.and_then(|service| schedule::note(&service.check)).into_iter().collect()
    }

    /// Stores a state and takes it over.
    fn keep(&mut self, desired: Desired, attached: Vec<AttachedView>) -> Result<Outcome, Error> {
        let changed = desired != self.state.desired;
        if changed {
            self.store.save(&desired)?;
            self.adopt(desired);
        }
        Ok(Outcome {
            schema_version: SCHEMA_VERSION,
            changed,
            published: false,
            attached,
            problems: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Attaches to all of the interfaces or to none.
    async fn attach(&mut self, interfaces: &BTreeSet<String>, mode: AttachMode) -> Result<Outcome, Error> {
        let command = Command::Attach { interfaces: interfaces.clone(), mode };
        let desired = ops::apply(&self.state.desired, &command)?;
        let before = self.attached_names();
        let mut attached = Vec::new();
        for interface in interfaces {
            match self.outbox.plane.attach(interface, mode).await {
                Ok(view) => attached.push(view),
                Err(error) => {
                    self.undo(&attached, &before).await;
                    return Err(error);
                }
            }
        }
        for interface in interfaces {
            self.state.interface_problems.remove(interface);
        }
        let new = attached.clone();
        match self.keep(desired, attached) {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                self.undo(&new, &before).await;
                Err(error)
            }
        }
    }

    /// Takes back attachments that were not there before.
    async fn undo(&mut self, attached: &[AttachedView], before: &BTreeSet<String>) {
        for view in attached {
            let wanted = self.state.desired.interfaces.get(&view.name);
            let result = match wanted {
                Some(mode) if before.contains(&view.name) => {
                    self.outbox.plane.attach(&view.name, *mode).await.map(|_| ())
                }
                _ => self.outbox.plane.detach(&view.name).await,
            };
            if let Err(error) = result {
                log::error!("undo: {error}");
            }
        }
    }

    /// Detaches from the interfaces, or from all.
    async fn detach(&mut self, interfaces: Option<&BTreeSet<String>>) -> Result<Outcome, Error> {
        let attached = self.attached_names();
        let mut desired = self.state.desired.clone();
        let all: BTreeSet<String> =
            attached.iter().cloned().chain(desired.interfaces.keys().cloned()).collect();
        let leaving = interfaces.unwrap_or(&all);
        if let Some(unknown) = leaving.iter().find(|name| !all.contains(*name)) {
            return Err(Error::not_found(format!("not attached to {unknown}; `lb status` shows where")));
        }
        for interface in leaving {
            if attached.contains(interface) {
                self.outbox.plane.detach(interface).await?;
            }
            desired.interfaces.remove(interface);
            self.state.interface_problems.remove(interface);
        }
        self.keep(desired, Vec::new())
    }

    fn attached_names(&self) -> BTreeSet<String> {
        self.outbox.plane.seen.borrow().attached.iter().map(|view| view.name.clone()).collect()
    }

    /// Attaches to what is wanted and not attached, detaches from what is not wanted. Failures become problems that
    /// `lb status` shows; they are tried again at intervals.
    pub(super) async fn attach_wanted(&mut self) {
        let attached = self.attached_names();
        for (interface, mode) in self.state.desired.interfaces.clone() {
            let result = self.outbox.plane.attach(&interface, mode).await;
            match result {
                Ok(view) => {
                    if !attached.contains(&interface) {
                        log::info!("attached to {interface}, {}", view.mode);
                    }
                    self.state.interface_problems.remove(&interface);
                }
                Err(error) => {
                    let former = self.state.interface_problems.insert(interface, error.message.clone());
                    if former.as_ref() != Some(&error.message) {
                        log::warn!("{error}");
                    }
                }
            }
        }
        for interface in attached.iter().filter(|name| !self.state.desired.interfaces.contains_key(*name)) {
            log::warn!("{interface} is attached but not asked for, detaching");
            if let Err(error) = self.outbox.plane.detach(interface).await {
                log::warn!("{error}");
            }
        }
        let has_problem = !self.state.interface_problems.is_empty();
        self.attach_due = has_problem.then(|| Instant::now() + config::ATTACH_RETRY);
    }
}
