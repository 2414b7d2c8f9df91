//! Asks the kernel for links, neighbours and routes over netlink, and makes it ask for neighbours.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage},
        route::{RouteAttribute, RouteFlags, RouteMessage},
    },
};
use tokio::task::JoinHandle;

use super::facts::{self, Link, Neighbour, NeighbourKey, Route};
use crate::error::Error;

/// What is followed: everything on which a next hop depends. A change of a nexthop object is told as a change of its
/// routes, too; the messages of its own group are not understood by the library.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
/// Room for messages of a routing daemon that loads a full table; more are handled by a resync.
const RECEIVE_BUFFER: usize = 4 << 20;
/// UDP port of the discard service: a datagram to it does no harm.
const DISCARD_PORT: u16 = 9;

/// A connection for requests.
pub(super) struct Kernel {
    handle: Handle,
    _driver: Driver,
}

/// What the kernel sends by itself.
pub(super) struct Messages {
    receiver: Box<dyn futures_util::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin + Send>,
    _driver: Driver,
}

/// One message, or the news that some were lost.
pub(super) enum Message {
    /// A change.
    Change(RouteNetlinkMessage),
    /// Messages were lost: ask for everything.
    Overrun,
}

/// The task behind a connection; ends with its owner.
struct Driver(JoinHandle<()>);

impl Driver {
    fn spawn(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(connection))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Messages {
    /// Subscribes.
    pub(super) fn open() -> Result<Self, Error> {
        let (mut connection, _handle, receiver) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(|error| failed("subscribe", &error))?;
        // Without the right to have so much the kernel gives what it may.
        let socket: &mut rtnetlink::sys::Socket =
            rtnetlink::sys::AsyncSocket::socket_mut(connection.socket_mut());
        let _ = socket.set_rx_buf_sz(RECEIVE_BUFFER);
        let receiver = Box::new(receiver.map(|(message, _)| message));
        Ok(Self { receiver, _driver: Driver::spawn(connection) })
    }

    /// The next message. An error if the connection broke.
    pub(super) async fn next(&mut self) -> Result<Message, Error> {
        loop {
            match self.receiver.next().await {
                Some(message) => match message.payload {
                    NetlinkPayload::InnerMessage(change) => return Ok(Message::Change(change)),
                    NetlinkPayload::Overrun(_) => return Ok(Message::Overrun),
                    _ => {}
                },
                None => return Err(failed("listen", &"the connection closed")),
            }
        }
    }
}

impl Kernel {
    /// Connects.
    pub(super) fn open() -> Result<Self, Error> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| failed("connect", &error))?;
        Ok(Self { handle, _driver: Driver::spawn(connection) })
    }

    /// All interfaces.
    pub(super) async fn links(&self) -> Result<BTreeMap<u32, Link>, Error> {
        let links = self.handle.link().get().execute();
        links
            .map_ok(|message| (message.header.index, Link::from_message(&message)))
            .try_collect()
            .await
            .map_err(|error| failed("list interfaces", &error))
    }

    /// All neighbours of both families.
    pub(super) async fn neighbours(&self) -> Result<HashMap<NeighbourKey, Neighbour>, Error> {
        let neighbours = self.handle.neighbours().get().execute();
        neighbours
            .try_filter_map(|message| std::future::ready(Ok(facts::neighbour(&message))))
            .try_collect()
            .await
            .map_err(|error| failed("list neighbours", &error))
    }

    /// The way that packets of this host to `address` take, with all next hops that it may have.
    pub(super) async fn route(&self, address: IpAddr) -> Result<Route, Error> {
        let what = format!("look up the route to {address}");
        let route = match self.ask_route(address, RouteFlags::empty(), &what).await? {
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route))) => {
                Route::from_message(&route)
            }
            Some(NetlinkPayload::Error(error)) => return Ok(Route::from_error(-error.raw_code())),
            _ => return Err(failed(&what, &"no answer")),
        };
        // The kernel chose one next hop; the entry that it chose by names them all. Before 4.13 there is no such answer.
        match self.ask_route(address, RouteFlags::FibMatch, &what).await? {
            Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(entry))) => {
                Ok(route.with_all_hops(&entry))
            }
            _ => Ok(route),
        }
    }

    /// Asks for the route to an address.
    async fn ask_route(
        &self,
        address: IpAddr,
        flags: RouteFlags,
        what: &str,
    ) -> Result<Option<NetlinkPayload<RouteNetlinkMessage>>, Error> {
        let mut message = RouteMessage::default();
        message.header.flags = flags;
        (message.header.address_family, message.header.destination_prefix_length) = match address {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        message.attributes.push(RouteAttribute::Destination(address.into()));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(message));
        request.header.flags = NLM_F_REQUEST;
        self.ask(request, what).await
    }

    /// Makes the kernel ask for a neighbour, or confirm one that it has; `address` is a backend behind it.
    pub(super) async fn poke(&self, (ifindex, neighbour): NeighbourKey, address: IpAddr) {
        let mut message = NeighbourMessage::default();
        message.header.family = match neighbour {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = ifindex;
        // "Use it": the state of an entry stays, a packet to be sent is pretended.
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::Destination(neighbour.into()));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
        let answer = self.ask(request, "ask for a neighbour").await;
        if !matches!(answer, Ok(None)) {
            send_datagram(address);
        }
    }

    /// The first message of the answer; none is an acknowledgement.
    async fn ask(
        &self,
        request: NetlinkMessage<RouteNetlinkMessage>,
        what: &str,
    ) -> Result<Option<NetlinkPayload<RouteNetlinkMessage>>, Error> {
        let mut answer = self.handle.clone().request(request).map_err(|error| failed(what, &error))?;
        Ok(answer.next().await.map(|message| message.payload))
    }
}

/// The other way to make the kernel ask for a neighbour. Whether it arrives does not matter.
fn send_datagram(address: IpAddr) {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let sent = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(&[], (address, DISCARD_PORT))
    });
    if let Err(error) = sent {
        log::debug!("can't provoke the neighbour for {address}: {error}");
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("netlink, to follow routes and neighbours: can't {what}: {error}"))
}
