//! What the benches and their BPF programs share.

/// Bytes of a packet that the wrapper restores before each run.
pub const HEADER_LEN: usize = 80;

/// The packet of a bench and how it varies from round to round.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The first bytes of the packet.
    pub header: [u64; HEADER_LEN / 8],
    /// Length of the whole packet.
    pub length: u32,
    /// Number of flows less one; the number is a power of two, at most [`MAX_FLOWS`].
    pub flow_mask: u32,
    /// Odd: the flow of a round is the round times this, so that all flows come up before any comes again, in an order
    /// in which neighbours have nothing to do with each other. With 1 they come in the order of their numbers.
    pub multiplier: u32,
    /// Services that take turns, by flow.
    pub services: u32,
    /// The first service: the last two bytes of its address.
    pub destination: u32,
    /// Where the last two bytes of the destination address stand.
    pub destination_at: u32,
    /// Where the two bytes of the source address that vary stand.
    pub source_at: u32,
    /// Where the source port stands.
    pub port_at: u32,
}

const _: () = assert!(size_of::<Template>() == HEADER_LEN + 32);

/// A multiplier that leaves no pattern: 2^32 divided by the golden ratio (D. E. Knuth, "The Art of Computer
/// Programming", volume 3, section 6.4).
pub const SCATTERED: u32 = 0x9e37_79b1;
/// The multiplier that leaves the flows in their order.
pub const IN_ORDER: u32 = 1;
/// Bits of the flow's number that vary the source address; those above vary the source port.
pub const SOURCE_BITS: u32 = 16;
/// The lowest source port.
pub const FIRST_PORT: u16 = 1024;
/// Flows that differ in address or port.
pub const MAX_FLOWS: u32 = 1 << 31;

/// What differs between the packets of two flows, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variation {
    /// The two bytes of the source address that vary.
    pub source: u16,
    /// Source port.
    pub port: u16,
    /// Last two bytes of the destination address.
    pub destination: u16,
}

impl Template {
    /// What the packet of a round looks like. A flow always has the same service.
    #[inline(always)]
    pub const fn variation(&self, round: u32) -> Variation {
        let flow = round.wrapping_mul(self.multiplier) & self.flow_mask;
        // Multiples of the golden ratio, so that any share of the flows is spread evenly over the services.
        let spread = flow.wrapping_mul(SCATTERED);
        let service = ((spread as u64 * self.services as u64) >> u32::BITS) as u32;
        Variation {
            source: flow as u16,
            port: FIRST_PORT + (flow >> SOURCE_BITS) as u16,
            destination: (self.destination + service) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(flows: u32, multiplier: u32, services: u32) -> Template {
        Template { flow_mask: flows - 1, multiplier, services, destination: 1, ..Template::default() }
    }

    /// Each flow once, as a number that address and port give back.
    fn seen(template: &Template, first: u32, flows: u32) -> Vec<bool> {
        let mut seen = vec![false; flows as usize];
        for round in first..first + flows {
            let Variation { source, port, .. } = template.variation(round);
            let flow = usize::from(source) | usize::from(port - FIRST_PORT) << SOURCE_BITS;
            assert!(!std::mem::replace(&mut seen[flow], true), "flow {flow} of {flows} came twice");
        }
        seen
    }

    #[test]
    fn as_many_rounds_as_flows_show_each_flow_once() {
        for flows in [1, 2, 1 << 10, 1 << 16, 1 << 20, 1 << 22] {
            for multiplier in [SCATTERED, IN_ORDER] {
                // From anywhere: a sample begins where the last one ended.
                let seen = seen(&template(flows, multiplier, 1), 12_345, flows);
                assert!(seen.into_iter().all(|seen| seen), "{flows} flows times {multiplier}");
            }
        }
    }

    #[test]
    fn neighbours_in_time_are_no_neighbours_in_number() {
        let template = template(1 << 22, SCATTERED, 1);
        for round in 0..1_000 {
            let (one, next) = (template.variation(round), template.variation(round + 1));
            assert!(one.source.abs_diff(next.source) > 64 && one.port.abs_diff(next.port) > 2);
        }
    }

    #[test]
    fn the_last_flow_has_a_port() {
        let template = template(MAX_FLOWS, IN_ORDER, 1);
        assert_eq!(template.variation(MAX_FLOWS - 1).port, FIRST_PORT + 32_767);
    }

    #[test]
    fn services_share_the_flows_and_a_flow_keeps_its_service() {
        let template = template(1 << 20, SCATTERED, 10_000);
        let mut flows = vec![0; 10_001];
        for round in 0..1 << 20 {
            let variation = template.variation(round);
            assert_eq!(variation, template.variation(round + (1 << 20)));
            flows[usize::from(variation.destination)] += 1;
        }
        assert_eq!(flows[0], 0);
        assert!(flows[1..].iter().all(|flows| (90..=120).contains(flows)), "{flows:?}");
    }
}
