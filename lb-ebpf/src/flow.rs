//! The flow table: flows that an owner other than their slot's keeps, those that began while the slot moved, and all of
//! tracked services.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC},
    btf_maps::{HashMap, PerCpuArray},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    event::Event,
    flow::{FLOW_FIN, FLOW_RST, FlowEntry, FlowKey},
    maps::MAX_FLOWS,
    service::{SERVICE_QUIC, Service},
    wire::protocol,
};

use lb_ebpf::packet::{Flow, Packet, TCP_FIN, TCP_RST, TCP_SYN, opens_tcp, quic};

use crate::{clock, events, rate, slot};

#[btf_map]
static FLOWS: HashMap<FlowKey, FlowEntry, { MAX_FLOWS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// The packet at hand, if it is not a steady one: the stack has no room for it.
#[btf_map]
static RECORD: PerCpuArray<Record, 1> = PerCpuArray::new();

/// The backend that a flow was recorded with, 0 if it was not; its entry does not count this as having been seen. A
/// function of its own, so that its key takes no room on the stack of what is called after it.
#[inline(never)]
pub fn recorded<F: Flow>(flow: &F, service: u32) -> u32 {
    // SAFETY: the kernel keeps the entry's memory until this program has ended, and each field is one word.
    let entry = unsafe { FLOWS.get(flow.key()) };
    entry.filter(|entry| entry.service == service).map_or(0, |entry| entry.backend)
}

/// What a packet says of its flow's entry. The same for both families.
pub struct Record {
    key: FlowKey,
    /// What it is for.
    pub service: Service,
    tcp_flags: u8,
    /// Hash of the clients nearby.
    group_hash: u64,
    /// Where the transport header begins in the frame.
    pub transport_at: usize,
}

impl Record {
    /// Notes it of a packet for a service, until the next packet of this CPU.
    #[inline(always)]
    pub fn note<F: Flow>(packet: &Packet<F>, service: &Service) -> Option<&'static Self> {
        let note = RECORD.get_ptr_mut(0)?;
        let record = Self {
            key: packet.flow.key(),
            service: *service,
            tcp_flags: packet.tcp_flags,
            group_hash: packet.flow.source_hash(slot::HashKeys, F::GROUP_PREFIX),
            transport_at: packet.transport_at,
        };
        // SAFETY: the value is this CPU's own, and XDP programs do not interrupt each other on a CPU.
        unsafe {
            note.write(record);
            Some(&*note)
        }
    }

    /// What was noted last, of the packet at hand.
    #[inline(always)]
    pub fn noted() -> Option<&'static Self> {
        RECORD.get(0)
    }

    /// Whether the packet begins a TCP connection or an SCTP association.
    #[inline(always)]
    pub fn opens_tcp(&self) -> bool {
        opens_tcp(self.tcp_flags)
    }

    /// Whether the packet begins a connection: by its TCP flags or SCTP chunk, or in QUIC by its type.
    #[inline(always)]
    pub fn opens(&self, ctx: &XdpContext, service: &Service) -> bool {
        let may_be_quic = service.flags & SERVICE_QUIC != 0 && self.is_udp();
        self.opens_tcp() || may_be_quic && quic::is_initial(ctx, self.transport_at)
    }

    /// Whether the packet is of UDP.
    #[inline(always)]
    pub fn is_udp(&self) -> bool {
        self.key.protocol == protocol::UDP
    }

    /// The flow's entry, which now says that it was seen. One that another service left behind is as good as none.
    #[inline(always)]
    pub fn find(&self) -> Option<&'static mut FlowEntry> {
        let entry = FLOWS.get_ptr_mut(self.key)?;
        // SAFETY: the kernel keeps the entry's memory until this program has ended. Other CPUs may write the same
        // entry; each field is one word, and any of the values written is right.
        let entry = unsafe { &mut *entry };
        if entry.service != self.service.id {
            return None;
        }
        let now_s = clock::now_s();
        if entry.last_seen_s != now_s {
            entry.last_seen_s = now_s;
        }
        let flags = closing_flags(entry.flags, self.tcp_flags);
        if entry.flags != flags {
            entry.flags = flags;
        }
        Some(entry)
    }

    /// Records the backend of a flow that has no entry, with `FLOW_*` bits besides those that the packet says; false if
    /// a cap or the table's size forbids it, which is counted.
    #[inline(never)]
    pub fn insert(&self, backend: u32, flags: u32) -> bool {
        let now_s = clock::now_s();
        let flags = flags | closing_flags(0, self.tcp_flags);
        let entry = FlowEntry { backend, service: self.service.id, last_seen_s: now_s, flags };
        let recorded = rate::take(self.group_hash, now_s).and_then(|()| {
            FLOWS.insert(self.key, entry, u64::from(BPF_ANY)).map_err(|_full| Event::TableFull)
        });
        recorded.inspect_err(|event| events::count(*event)).is_ok()
    }
}

/// An entry's flags after a packet with these TCP flags: a FIN or RST stays until a SYN begins the connection anew.
#[inline(always)]
pub fn closing_flags(flags: u32, tcp_flags: u8) -> u32 {
    let mut flags = if tcp_flags & TCP_SYN != 0 { flags & !(FLOW_FIN | FLOW_RST) } else { flags };
    if tcp_flags & TCP_FIN != 0 {
        flags |= FLOW_FIN;
    }
    if tcp_flags & TCP_RST != 0 {
        flags |= FLOW_RST;
    }
    flags
}
