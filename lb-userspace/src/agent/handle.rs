//! How the API reaches the core: calls with an answer each, within a deadline.

use tokio::sync::{mpsc, oneshot};

use super::State;
use crate::{
    api::view::{Outcome, Preview},
    config,
    desired::command::Command,
    error::{Error, Kind},
};

/// Calls that wait for the core before further ones wait for room.
const CALLS: usize = 256;

/// What the core is asked.
pub(super) enum Call {
    /// Change the desired state.
    Command(Command, oneshot::Sender<Result<Outcome, Error>>),
    /// Say what a change would touch.
    Preview(Command, oneshot::Sender<Result<Preview, Error>>),
    /// Look at the state.
    Read(Box<dyn FnOnce(&State) + Send>),
}

/// The way to the core; clones share it.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
}

/// A handle, and where its calls arrive.
pub(super) fn channel() -> (Handle, mpsc::Receiver<Call>) {
    let (calls, arriving) = mpsc::channel(CALLS);
    (Handle { calls }, arriving)
}

impl Handle {
    /// Changes the desired state. It is stored when this returns, and in the packet path if that was quick.
    ///
    /// # Errors
    /// The command's own; timeout.
    pub async fn command(&self, command: Command) -> Result<Outcome, Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Call::Command(command, answer), answered).await
    }

    /// What a change would touch. Nothing is changed.
    ///
    /// # Errors
    /// Those that the command would have; timeout.
    pub async fn preview(&self, command: Command) -> Result<Preview, Error> {
        let (answer, answered) = oneshot::channel();
        self.ask(Call::Preview(command, answer), answered).await
    }

    /// Looks at the state.
    ///
    /// # Errors
    /// Those of `look`; timeout.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let look = move |state: &State| {
            // Nobody waits for it any more if this fails.
            let _ = answer.send(look(state));
        };
        self.ask(Call::Read(Box::new(look)), answered).await
    }

    async fn ask<T>(&self, call: Call, answered: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        let exchange = async {
            let stopping = || Error::new(Kind::AgentNotRunning, "the agent is stopping");
            self.calls.send(call).await.map_err(|_| stopping())?;
            answered.await.map_err(|_| stopping())?
        };
        tokio::time::timeout(config::REQUEST_DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, "the agent is busy; try again")))
    }
}
