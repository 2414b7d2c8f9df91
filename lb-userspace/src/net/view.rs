//! What is known of the kernel's links, neighbours and routes, kept up to date by its messages.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use rtnetlink::packet_route::RouteNetlinkMessage;

use super::{
    Links, NextHops,
    decide::{self, next_hop},
    facts::{self, Link, Mac, Neighbour, NeighbourKey, Path, Route},
};

/// What a message changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Nothing that matters here.
    Nothing,
    /// Next hops may differ; routes are as they were.
    Hops,
    /// Any route may have changed.
    Routes,
}

/// The facts.
#[derive(Debug, Default)]
pub(super) struct View {
    links: BTreeMap<u32, Link>,
    neighbours: HashMap<NeighbourKey, Neighbour>,
    routes: BTreeMap<IpAddr, Route>,
    /// Neighbours that failed in the current batch of messages, with the MAC address that was valid before.
    just_failed: HashMap<NeighbourKey, Mac>,
}

impl View {
    /// Takes in a message that the kernel sent by itself.
    pub(super) fn apply(&mut self, message: &RouteNetlinkMessage) -> Effect {
        match message {
            RouteNetlinkMessage::NewNeighbour(message) => match facts::neighbour(message) {
                Some((key, state)) => self.set_neighbour(key, state),
                None => Effect::Nothing,
            },
            RouteNetlinkMessage::DelNeighbour(message) => match facts::neighbour(message) {
                Some((key, _)) => self.forget_neighbour(key),
                None => Effect::Nothing,
            },
            // What a bridge says of its ports is told in the bridge's family as well, with less about the interface.
            RouteNetlinkMessage::NewLink(message) if u8::from(message.header.interface_family) == 0 => {
                self.set_link(message.header.index, Link::from_message(message))
            }
            // A port that leaves a bridge is told as deleted in the bridge's family; the interface stays.
            RouteNetlinkMessage::DelLink(message) if u8::from(message.header.interface_family) == 0 => {
                self.links.remove(&message.header.index);
                Effect::Routes
            }
            RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::DelAddress(_)
            | RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_)
            | RouteNetlinkMessage::NewRule(_)
            | RouteNetlinkMessage::DelRule(_) => Effect::Routes,
            _ => Effect::Nothing,
        }
    }

    /// IPv4 routes vanish with their link without a message of their own, so each change of a link counts.
    fn set_link(&mut self, ifindex: u32, link: Link) -> Effect {
        if self.links.get(&ifindex) == Some(&link) {
            return Effect::Nothing;
        }
        self.links.insert(ifindex, link);
        Effect::Routes
    }

    fn set_neighbour(&mut self, key: NeighbourKey, state: Neighbour) -> Effect {
        let before = self.neighbours.get(&key).copied();
        let state = match (state, before.and_then(Neighbour::mac)) {
            (Neighbour::Resolving, Some(mac)) => Neighbour::Lost(mac),
            (Neighbour::Failed, Some(mac)) => {
                self.just_failed.insert(key, mac);
                Neighbour::Failed
            }
            (state, _) => state,
        };
        if before == Some(state) {
            return Effect::Nothing;
        }
        self.neighbours.insert(key, state);
        Effect::Hops
    }

    /// The kernel dropped an entry (collected, flushed, or its link went down). What was valid goes on being used
    /// until the neighbour fails to answer: forgetting is no news about the neighbour. An entry that is deleted on
    /// purpose is told as failed first, in one breath.
    fn forget_neighbour(&mut self, key: NeighbourKey) -> Effect {
        let Some(before) = self.neighbours.remove(&key) else { return Effect::Nothing };
        if let Some(mac) = before.mac().or(self.just_failed.remove(&key)) {
            self.neighbours.insert(key, Neighbour::Lost(mac));
        }
        Effect::Hops
    }

    /// The end of a batch of messages: what failed by now has failed.
    pub(super) fn settle(&mut self) {
        self.just_failed.clear();
    }

    /// Takes in complete lists.
    pub(super) fn resync(
        &mut self,
        links: BTreeMap<u32, Link>,
        neighbours: HashMap<NeighbourKey, Neighbour>,
    ) {
        let gone: Vec<_> =
            self.neighbours.keys().filter(|key| !neighbours.contains_key(*key)).copied().collect();
        for key in gone {
            self.forget_neighbour(key);
        }
        for (key, state) in neighbours {
            self.set_neighbour(key, state);
        }
        self.neighbours.retain(|(ifindex, _), _| links.contains_key(ifindex));
        self.links = links;
    }

    /// Takes in the answers to all route lookups.
    pub(super) fn set_routes(&mut self, routes: BTreeMap<IpAddr, Route>) {
        self.routes = routes;
    }

    /// Drops what was remembered of forgotten neighbours that nothing needs.
    pub(super) fn tidy(&mut self) {
        let needed: BTreeSet<NeighbourKey> = self.needed().map(|(key, _)| key).collect();
        self.neighbours.retain(|key, state| !matches!(state, Neighbour::Lost(_)) || needed.contains(key));
    }

    /// The next hop of each address whose route was looked up.
    pub(super) fn next_hops(&self) -> NextHops {
        let hop = |(address, route): (&IpAddr, &Route)| {
            let link_of = |ifindex| self.links.get(&ifindex);
            let neighbour = |key| self.neighbours.get(&key).copied();
            (*address, next_hop(*address, route, link_of, neighbour))
        };
        self.routes.iter().map(hop).collect()
    }

    /// The interfaces.
    pub(super) fn links(&self) -> Links {
        self.links.iter().map(|(ifindex, link)| (*ifindex, link.name.clone())).collect()
    }

    /// The neighbours on which a next hop depends, each with one of the addresses behind it.
    fn needed(&self) -> impl Iterator<Item = (NeighbourKey, IpAddr)> {
        let paths = self.routes.iter().flat_map(|(address, route)| {
            let paths: &[Path] = if let Route::Paths(paths) = route { paths } else { &[] };
            paths.iter().map(|path| (path, *address))
        });
        paths.filter_map(|(path, address)| {
            let exit = decide::usable(path, |ifindex| self.links.get(&ifindex)).ok()?;
            (!exit.link.loopback).then(|| (path.neighbour(address), address))
        })
    }

    /// The needed neighbours that are not confirmed, so that the kernel should be made to ask.
    pub(super) fn unconfirmed(&self) -> BTreeMap<NeighbourKey, IpAddr> {
        let unconfirmed = |key: &NeighbourKey| !matches!(self.neighbours.get(key), Some(Neighbour::Valid(_)));
        self.needed().filter(|(key, _)| unconfirmed(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{NextHop, decide::tests::link};

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const KEY: NeighbourKey = (3, ADDRESS);
    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    fn view() -> View {
        let path = Path { ifindex: 3, gateway: None, source: Some([10, 0, 0, 1].into()), mtu: None };
        View {
            links: [(3, link())].into(),
            routes: [(ADDRESS, Route::Paths(vec![path]))].into(),
            ..View::default()
        }
    }

    fn mac(view: &View) -> Option<Mac> {
        match &view.next_hops()[&ADDRESS] {
            NextHop::Resolved(ways) => Some(ways[0].next_hop_mac),
            NextHop::Local | NextHop::Unresolved(_) => None,
        }
    }

    #[test]
    fn a_neighbour_is_asked_for_until_it_is_confirmed() {
        let mut view = view();
        assert_eq!(mac(&view), None);
        assert_eq!(view.unconfirmed(), [(KEY, ADDRESS)].into());
        assert_eq!(view.set_neighbour(KEY, Neighbour::Valid(MAC)), Effect::Hops);
        assert_eq!(mac(&view), Some(MAC));
        assert!(view.unconfirmed().is_empty());
        view.set_neighbour(KEY, Neighbour::Stale(MAC));
        assert_eq!((mac(&view), view.unconfirmed().len()), (Some(MAC), 1));
    }

    #[test]
    fn a_forgotten_neighbour_stays_in_use_until_it_fails_to_answer() {
        let mut view = view();
        view.set_neighbour(KEY, Neighbour::Valid(MAC));
        assert_eq!(view.forget_neighbour(KEY), Effect::Hops);
        assert_eq!(mac(&view), Some(MAC));
        view.set_neighbour(KEY, Neighbour::Resolving);
        view.resync([(3, link())].into(), HashMap::new());
        view.tidy();
        assert_eq!(mac(&view), Some(MAC));
        assert_eq!(view.unconfirmed().len(), 1);
        view.set_neighbour(KEY, Neighbour::Failed);
        assert_eq!(mac(&view), None);
        view.set_neighbour(KEY, Neighbour::Resolving);
        assert_eq!(mac(&view), None, "asked again, not answered");
    }

    #[test]
    fn a_deleted_neighbour_is_forgotten_and_a_failed_one_collected() {
        let mut view = view();
        view.set_neighbour(KEY, Neighbour::Valid(MAC));
        view.set_neighbour(KEY, Neighbour::Failed);
        view.forget_neighbour(KEY);
        assert_eq!(mac(&view), Some(MAC), "told as failed and deleted at once");
        view.set_neighbour(KEY, Neighbour::Failed);
        view.settle();
        view.forget_neighbour(KEY);
        assert_eq!(mac(&view), None, "failed, and collected later");
    }

    #[test]
    fn what_is_not_needed_is_not_remembered() {
        let mut view = view();
        let other = (3, IpAddr::from([10, 0, 0, 8]));
        view.set_neighbour(other, Neighbour::Valid(MAC));
        view.forget_neighbour(other);
        view.set_neighbour(KEY, Neighbour::Lost(MAC));
        view.tidy();
        assert_eq!(view.neighbours.keys().collect::<Vec<_>>(), [&KEY]);
    }

    #[test]
    fn nobody_is_asked_on_a_link_that_is_down() {
        let mut view = view();
        assert_eq!(view.set_link(3, Link { running: false, ..link() }), Effect::Routes);
        assert!(view.unconfirmed().is_empty());
        assert_eq!(view.set_link(3, Link { running: false, ..link() }), Effect::Nothing);
    }

    #[test]
    fn a_link_that_is_gone_takes_its_neighbours_along() {
        let mut view = view();
        view.set_neighbour(KEY, Neighbour::Valid(MAC));
        view.resync(BTreeMap::new(), HashMap::new());
        assert!(view.neighbours.is_empty());
        assert_eq!(mac(&view), None);
    }
}
