//! Generic UDP encapsulation, variant 1: an IP packet directly in a UDP datagram, told by the first bits of its version
//! (draft-ietf-intarea-gue, section 4).

/// Destination port that IANA has assigned to it.
pub const PORT: u16 = 6080;
/// First of the dynamic ports (RFC 6335), from which source ports are taken.
pub const FIRST_SOURCE_PORT: u16 = 0xc000;

/// Where the bits of a hash begin that vary the source port: those above choose the flow's slot, so that the flows of
/// one backend share them, those below vary flow labels and source addresses.
const SOURCE_PORT_SHIFT: u32 = 18;

/// Source port of a flow's datagrams: queues of NICs and equal routes are chosen by it.
#[inline(always)]
pub const fn source_port(hash: u64) -> u16 {
    FIRST_SOURCE_PORT | (hash >> SOURCE_PORT_SHIFT) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::mix;

    #[test]
    fn source_ports_are_dynamic_ones_and_all_of_them() {
        let ports: std::collections::BTreeSet<u16> =
            (0..1 << 18).map(|flow| source_port(mix(flow))).collect();
        assert_eq!((ports.first(), ports.last()), (Some(&49_152), Some(&65_535)));
        assert_eq!(ports.len(), 16_384);
    }
}
