//! The stages after the main program: programs of their own, each with its stack and its share of the verifier's work.

use aya_ebpf::{
    btf_maps::{PerCpuArray, ProgramArray},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    maps::{MAX_STAGES, STAGE_TRANSLATE},
    mode,
    nat::Handed,
    service::Service,
    verdict::Reason,
};
use lb_ebpf::packet::{Flow, Packet};

use crate::slot;

#[btf_map]
static STAGES: ProgramArray<{ MAX_STAGES as usize }> = ProgramArray::new();

#[btf_map]
static HANDED: PerCpuArray<Handed, 1> = PerCpuArray::new();

/// What was handed over with the packet.
#[inline(always)]
pub fn handed() -> Option<&'static Handed> {
    HANDED.get(0)
}

/// Goes on to the stage that translates. Only from the main program itself, since a function with a tail call may use
/// half the stack at most. `hashes` are those of the flow and of its slot.
///
/// Returns only if the stage is not there, with the reason that the packet then ends for: what is not for a service is
/// still the host's.
#[inline(always)]
pub fn translate<F: Flow>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    service: &Service,
    (hash, slot_hash): (u64, u64),
) -> Reason {
    if let Some(note) = HANDED.get_ptr_mut(0) {
        let handed = Handed {
            key: packet.flow.key(),
            service: *service,
            hash,
            slot_hash,
            group_hash: packet.flow.source_hash(slot::HashKeys, F::GROUP_PREFIX),
            length: packet.length,
            tags: packet.tags as u32,
            transport_at: packet.transport_at as u32,
            tcp_flags: packet.tcp_flags.into(),
        };
        // SAFETY: the value is this CPU's own, and XDP programs do not interrupt each other on a CPU.
        unsafe { note.write(handed) };
        // SAFETY: the context is the program's own, and nothing here needs dropping.
        unsafe { STAGES.tail_call(ctx, STAGE_TRANSLATE) };
    }
    if service.mode == mode::REPLIES { Reason::NotService } else { Reason::TableMissing }
}
