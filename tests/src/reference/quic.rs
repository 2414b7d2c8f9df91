//! The server that a QUIC connection id names (RFC 8999, section 5; RFC 9000, 17; RFC 9369, 3.2).

use lb_common::{
    quic::ServerKey,
    service::{SERVICE_QUIC_ID, Service},
};

use super::{Reference, parse::Packet};

/// What a packet says of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Nothing: its client chose the connection id.
    Unsaid,
    /// It is registered.
    Known(u32),
    /// There is none with this id, or no id.
    Unknown,
}

impl Reference {
    /// The backend that a packet goes to whatever its slot and its flow's record say.
    pub(super) fn named(&mut self, packet: &Packet, service: Service) -> Option<u32> {
        if service.flags & SERVICE_QUIC_ID == 0 || packet.flow.protocol != 17 {
            return None;
        }
        match self.server(packet, service) {
            Server::Unsaid => None,
            Server::Unknown => {
                self.unknown_server_ids += 1;
                None
            }
            Server::Known(id) => {
                let is_up = self.is_up(id);
                if is_up && self.world.backends[&id].weight == 0 {
                    self.flows.insert(packet.flow, id);
                }
                is_up.then_some(id)
            }
        }
    }

    fn server(&self, packet: &Packet, service: Service) -> Server {
        let Some(layout) = self.world.quic_layouts.get(&service.id) else { return Server::Unsaid };
        let [first, a, b, c, d, id_length] = match packet.after_udp[..] {
            [first, a, b, c, d, length, ..] => [first, a, b, c, d, length],
            _ => return Server::Unknown,
        };
        let connection_id = if first < 0x80 {
            // It does not say where it ends.
            packet.after_udp.get(1..)
        } else {
            let kind = first >> 4 & 3;
            let by_client = if [a, b, c, d] == [0x6b, 0x33, 0x43, 0xcf] { [1, 2] } else { [0, 1] };
            if by_client.contains(&kind) {
                return Server::Unsaid;
            }
            // What the frame does not hold can't be read, whatever the length says.
            let rest = &packet.after_udp[6..];
            rest.get(..rest.len().min(id_length.into()))
        };
        let (from, length) = (usize::from(layout.offset), usize::from(layout.length));
        let id = connection_id.and_then(|id| id.get(from..from + length));
        let key = |id: &[u8]| {
            let mut key = ServerKey { service: service.id, length: length as u32, id: [0; 8] };
            key.id[..length].copy_from_slice(id);
            key
        };
        let known = id.and_then(|id| self.world.quic_ids.get(&key(id)));
        known.map_or(Server::Unknown, |id| Server::Known(*id))
    }
}
