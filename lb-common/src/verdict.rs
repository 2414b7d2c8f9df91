//! What becomes of a packet, with a reason for each way out that is not a backend.

/// Why a packet was handed to the host, dropped or answered. The discriminant is the index of the `REASONS` map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Passed: not IPv4 or IPv6 (ARP, LLDP, more than two VLAN tags, ...).
    NotIp = 0,
    /// Passed: no service has this address, protocol and port.
    NotService = 1,
    /// Passed: none of TCP, UDP and SCTP (ICMP, ESP, ...).
    OtherProtocol = 2,
    /// Passed: a fragment for no service.
    Fragment = 3,
    /// Passed: a header does not fit in the frame, or contradicts itself. The host counts it under its own rules.
    Malformed = 4,
    /// Passed: an IPv6 extension header chain longer than the packet path follows.
    ExtensionHeaders = 5,
    /// Dropped: the service has no backend that is up.
    NoBackend = 6,
    /// Dropped: the next hop of the chosen backend is not resolved.
    NextHopUnresolved = 7,
    /// Dropped: the packet would exceed the MTU towards the backend after encapsulation, and its sender was not told: there
    /// were too many answers in this second, or it could make nothing of one.
    TooBig = 8,
    /// Dropped: the driver has no room for an outer header.
    NoHeadroom = 9,
    /// Dropped: the service's table is missing; the agent repairs it.
    TableMissing = 10,
    /// Dropped: the egress interface is not in the `TX_PORTS` map; the agent repairs it.
    NoTxPort = 11,
    /// Dropped: the chosen backend's entry is vacant; the agent repairs it.
    BackendMissing = 12,
    /// Passed by `lb decap`: not a tunnel packet for one of its addresses.
    NotTunnel = 13,
    /// Passed by `lb decap`, decapsulated: the inner packet goes to the host.
    Decapsulated = 14,
    /// Passed by `lb decap`: the inner packet's destination is none of its service addresses; a tunnel of the host's own.
    InnerNotService = 15,
    /// Passed by `lb decap`: the inner header does not fit in the packet, or contradicts the outer one.
    InnerMalformed = 16,
    /// Dropped: a new connection whose slot's owner has just died, while no new flow can be recorded. Sent elsewhere without
    /// a record it would move with the next table; its client tries again.
    NotRecorded = 17,
    /// Answered: the packet would exceed the MTU towards the backend after encapsulation; its sender was told which size fits,
    /// by ICMP.
    TooBigAnswered = 18,
    /// Answered: an echo request to a service address.
    EchoAnswered = 19,
    /// Dropped: an echo request to a service address, over the rate at which they are answered.
    EchoLimited = 20,
    /// Dropped: a later fragment to a service address that follows none: the first was not seen before it, or its backend
    /// went down since. Where the network reorders them, `lb service set NAME --fragments by-address` needs no first.
    FragmentUnmatched = 21,
    /// Dropped: a fragment to a service address that is made to deceive: the first ends within the transport header, a later
    /// one begins there (RFC 1858, RFC 8200), or it ends beyond what an IP packet can hold. Its sender is broken or hostile.
    FragmentMalformed = 22,
    /// Sent: a reply of a backend to its client, in a service that translates.
    Replied = 23,
    /// Dropped: none of the addresses and ports that were tried is free for a new flow of a service that translates.
    NatExhausted = 24,
    /// Dropped: a new flow of a service that translates, over the caps of new flows or with the table full.
    NotTranslated = 25,
    /// Dropped: a reply of a backend, and the host has no way to its client.
    NoRouteToClient = 26,
    /// Dropped: a packet of a service that translates would be sent on with a hop limit of zero.
    HopLimit = 27,
}

/// Tells the number of a reason from that of an action.
const IS_REASON: u32 = 1 << 31;

impl Reason {
    /// All reasons, at the index of their discriminant.
    pub const ALL: [Self; 28] = [
        Self::NotIp,
        Self::NotService,
        Self::OtherProtocol,
        Self::Fragment,
        Self::Malformed,
        Self::ExtensionHeaders,
        Self::NoBackend,
        Self::NextHopUnresolved,
        Self::TooBig,
        Self::NoHeadroom,
        Self::TableMissing,
        Self::NoTxPort,
        Self::BackendMissing,
        Self::NotTunnel,
        Self::Decapsulated,
        Self::InnerNotService,
        Self::InnerMalformed,
        Self::NotRecorded,
        Self::TooBigAnswered,
        Self::EchoAnswered,
        Self::EchoLimited,
        Self::FragmentUnmatched,
        Self::FragmentMalformed,
        Self::Replied,
        Self::NatExhausted,
        Self::NotTranslated,
        Self::NoRouteToClient,
        Self::HopLimit,
    ];

    /// An action or a reason in one number, which is all that a function of the packet path can return.
    #[inline(always)]
    pub const fn as_number(verdict: Result<u32, Self>) -> u32 {
        match verdict {
            Ok(action) => action,
            Err(reason) => reason as u32 | IS_REASON,
        }
    }

    /// What [`Self::as_number`] made of an action or a reason. No such reason: [`Reason::Malformed`].
    #[inline(always)]
    pub const fn in_number(number: u32) -> Result<u32, Self> {
        if number & IS_REASON == 0 {
            return Ok(number);
        }
        let index = (number & !IS_REASON) as usize;
        Err(if index < Self::ALL.len() { Self::ALL[index] } else { Self::Malformed })
    }

    /// Stable name, as the CLI and its JSON show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::NotService => "not_service",
            Self::OtherProtocol => "other_protocol",
            Self::Fragment => "fragment",
            Self::Malformed => "malformed",
            Self::ExtensionHeaders => "extension_headers",
            Self::NoBackend => "no_backend",
            Self::NextHopUnresolved => "next_hop_unresolved",
            Self::TooBig => "too_big",
            Self::NoHeadroom => "no_headroom",
            Self::TableMissing => "table_missing",
            Self::NoTxPort => "no_tx_port",
            Self::BackendMissing => "backend_missing",
            Self::NotTunnel => "not_tunnel",
            Self::Decapsulated => "decapsulated",
            Self::InnerNotService => "inner_not_service",
            Self::InnerMalformed => "inner_malformed",
            Self::NotRecorded => "not_recorded",
            Self::TooBigAnswered => "too_big_answered",
            Self::EchoAnswered => "echo_answered",
            Self::EchoLimited => "echo_limited",
            Self::FragmentUnmatched => "fragment_unmatched",
            Self::FragmentMalformed => "fragment_malformed",
            Self::Replied => "replied",
            Self::NatExhausted => "nat_exhausted",
            Self::NotTranslated => "not_translated",
            Self::NoRouteToClient => "no_route_to_client",
            Self::HopLimit => "hop_limit",
        }
    }

    /// Whether a packet that ends for this reason is dropped rather than handed to the host.
    pub const fn is_drop(self) -> bool {
        matches!(
            self,
            Self::NoBackend
                | Self::NextHopUnresolved
                | Self::TooBig
                | Self::NoHeadroom
                | Self::TableMissing
                | Self::NoTxPort
                | Self::BackendMissing
                | Self::NotRecorded
                | Self::EchoLimited
                | Self::FragmentUnmatched
                | Self::FragmentMalformed
                | Self::NatExhausted
                | Self::NotTranslated
                | Self::NoRouteToClient
                | Self::HopLimit
        )
    }

    /// Whether a packet that ends for this reason was sent: as its own answer, or on to a client.
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::TooBigAnswered | Self::EchoAnswered | Self::Replied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the packet path take their verdict from `is_drop`, so what it says is written out here.
    #[test]
    fn only_what_belongs_to_a_service_is_dropped() {
        let dropped: Vec<_> =
            Reason::ALL.into_iter().filter(|reason| reason.is_drop()).map(Reason::name).collect();
        assert_eq!(
            dropped,
            [
                "no_backend",
                "next_hop_unresolved",
                "too_big",
                "no_headroom",
                "table_missing",
                "no_tx_port",
                "backend_missing",
                "not_recorded",
                "echo_limited",
                "fragment_unmatched",
                "fragment_malformed",
                "nat_exhausted",
                "not_translated",
                "no_route_to_client",
                "hop_limit"
            ]
        );
    }

    #[test]
    fn all_lists_each_reason_at_its_discriminant() {
        assert_eq!(Reason::in_number(Reason::as_number(Ok(3))), Ok(3));
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
            assert_eq!(Reason::in_number(Reason::as_number(Err(reason))), Err(reason));
        }
    }
}
