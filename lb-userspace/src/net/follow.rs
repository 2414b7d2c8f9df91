//! The loop that keeps next hops up to date.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until},
};

use super::{
    Links, NextHops,
    kernel::{Kernel, Message, Messages},
    poke::Pokes,
    view::{Effect, View},
};
use crate::error::Error;

/// Changes come in bursts: after the first, more are awaited for so long.
const DEBOUNCE: Duration = Duration::from_millis(3);
/// Everything is asked for anew this often, in case a message was missed.
const RESYNC: Duration = Duration::from_secs(30);
/// While routes keep changing, looking all of them up takes at most one part in so many of the time.
const ROUTES_SHARE: u32 = 10;
/// Pause before a broken connection is made again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Keeps `hops` true for `addresses`, and `links` in any case, until the sender of the addresses is gone.
///
/// After each change of `addresses`, `hops` holds an entry for every one of them and no other. A connection that
/// breaks later is made again, and the hops stay as they were meanwhile.
///
/// # Errors
/// Netlink can't be used at all.
pub async fn follow(
    addresses: watch::Receiver<BTreeSet<IpAddr>>,
    hops: watch::Sender<NextHops>,
    links: watch::Sender<Links>,
) -> Result<(), Error> {
    let (mut messages, kernel) = connect()?;
    let mut follower = Follower {
        addresses,
        hops,
        links,
        kernel,
        view: View::default(),
        pokes: Pokes::default(),
        todo: Todo::default(),
    };
    loop {
        match follower.run(messages).await {
            Ok(()) => return Ok(()),
            Err(error) => log::warn!("{error}; trying again"),
        }
        (messages, follower.kernel) = loop {
            sleep(RECONNECT).await;
            match connect() {
                Ok(connected) => break connected,
                Err(error) => log::warn!("{error}; trying again"),
            }
        };
    }
}

/// Subscribed before anything is asked, so that no change falls between.
fn connect() -> Result<(Messages, Kernel), Error> {
    Ok((Messages::open()?, Kernel::open()?))
}

/// What is to be asked next.
#[derive(Default)]
struct Todo {
    /// Links and neighbours.
    resync: bool,
    /// Routes.
    routes: bool,
    /// Routes are not looked up before this.
    routes_not_before: Option<Instant>,
}

impl Todo {
    fn note(&mut self, message: &Message, view: &mut View) {
        match message {
            Message::Overrun => self.everything(),
            Message::Change(change) => self.routes |= view.apply(change) == Effect::Routes,
        }
    }

    fn everything(&mut self) {
        self.resync = true;
        self.routes = true;
    }

    /// When the routes may be looked up; None if there is no need.
    fn routes_at(&self) -> Option<Instant> {
        self.routes.then(|| self.routes_not_before.unwrap_or_else(Instant::now))
    }
}

struct Follower {
    addresses: watch::Receiver<BTreeSet<IpAddr>>,
    hops: watch::Sender<NextHops>,
    links: watch::Sender<Links>,
    kernel: Kernel,
    view: View,
    pokes: Pokes,
    todo: Todo,
}

impl Follower {
    /// Follows until nobody wants addresses any more, or the connection breaks.
    async fn run(&mut self, mut messages: Messages) -> Result<(), Error> {
        self.todo.everything();
        self.catch_up().await?;
        let mut resync = interval_at(Instant::now() + RESYNC, RESYNC);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = [self.pokes.next(), self.todo.routes_at()].into_iter().flatten().min();
            tokio::select! {
                changed = self.addresses.changed() => match changed {
                    Ok(()) => {
                        self.todo.routes = true;
                        self.todo.routes_not_before = None;
                    }
                    Err(_) => return Ok(()),
                },
                _ = resync.tick() => self.todo.everything(),
                message = messages.next() => {
                    self.todo.note(&message?, &mut self.view);
                    sleep(DEBOUNCE).await;
                    while let Some(more) = messages.next().now_or_never() {
                        self.todo.note(&more?, &mut self.view);
                    }
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            self.catch_up().await?;
        }
    }

    /// Asks what is to be asked, publishes, and provokes neighbours.
    async fn catch_up(&mut self) -> Result<(), Error> {
        self.view.settle();
        if std::mem::take(&mut self.todo.resync) {
            let (links, neighbours) = (self.kernel.links().await?, self.kernel.neighbours().await?);
            self.view.resync(links, neighbours);
        }
        if self.todo.routes_at().is_some_and(|at| at <= Instant::now()) {
            self.look_up_routes().await?;
        }
        replace(&self.links, self.view.links());
        replace(&self.hops, self.view.next_hops());
        for (neighbour, address) in self.pokes.due(&self.view.unconfirmed(), Instant::now()) {
            self.kernel.poke(neighbour, address).await;
        }
        Ok(())
    }

    async fn look_up_routes(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let addresses = self.addresses.borrow_and_update().clone();
        let mut routes = BTreeMap::new();
        for address in addresses {
            routes.insert(address, self.kernel.route(address).await?);
        }
        self.view.set_routes(routes);
        self.view.tidy();
        self.todo.routes = false;
        self.todo.routes_not_before = Some(Instant::now() + began.elapsed() * (ROUTES_SHARE - 1));
        Ok(())
    }
}

/// Sends a value if it differs from the last.
fn replace<T: PartialEq>(sender: &watch::Sender<T>, next: T) {
    sender.send_if_modified(|last| {
        let changed = *last != next;
        *last = next;
        changed
    });
}
