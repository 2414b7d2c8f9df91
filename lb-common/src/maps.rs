//! Every map that the host knows by name: what it holds and how many. Names are at most 15 bytes, the kernel's limit.

/// `Array<Meta, 1>`: ABI number and seed.
pub const META: &str = "META";
/// `ArrayOfMaps<Array<ServiceTableV4, 1>, 1>`.
pub const SERVICES_V4: &str = "SERVICES_V4";
/// `ArrayOfMaps<Array<ServiceTableV6, 1>, 1>`.
pub const SERVICES_V6: &str = "SERVICES_V6";
/// `ArrayOfMaps<Array<SlotTable<M>, 1>, MAX_SERVICES>`, one per table class, indexed by service id.
pub const SLOTS: [&str; 4] = ["SLOTS_TINY", "SLOTS_SMALL", "SLOTS_DEFAULT", "SLOTS_LARGE"];
/// `HashMap<FlowKey, FlowEntry>`, allocated on demand: empty at rest.
pub const FLOWS: &str = "FLOWS";
/// `LruHashMap<FragmentKey, FragmentEntry>`: packets whose first fragment was seen.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// `Array<Backend, MAX_BACKENDS>`, indexed by backend id.
pub const BACKENDS: &str = "BACKENDS";
/// `HashMap<u32, Backend>`, keyed by [`crate::backend::hop_key`]: entries as in `BACKENDS`, with other next hops.
pub const HOPS: &str = "HOPS";
/// `Array<u32, MAX_BACKENDS>`, indexed by target: [`crate::backend::TARGET_UP`] or [`crate::backend::TARGET_DOWN`].
pub const LIVENESS: &str = "LIVENESS";
/// `DevMap<MAX_TX_PORTS>`: egress interfaces.
pub const TX_PORTS: &str = "TX_PORTS";
/// `PerCpuArray<Counter, MAX_BACKENDS>`, indexed by backend id: what was forwarded.
pub const FORWARDED: &str = "FORWARDED";
/// `PerCpuArray<Counter, MAX_REASONS>`, indexed by [`crate::verdict::Reason`].
pub const REASONS: &str = "REASONS";
/// `PerCpuArray<u64, MAX_EVENTS>`, indexed by [`crate::event::Event`].
pub const EVENTS: &str = "EVENTS";
/// `Array<Connections, MAX_BACKENDS>`, indexed by backend id: connections of tracked services, counted by the packet
/// path alone.
pub const CONNECTIONS: &str = "CONNECTIONS";
/// `Array<u64, MAX_BACKENDS>`, indexed by backend id: open connections of tracked services that the agent gave up,
/// counted by the agent alone.
pub const EXPIRED: &str = "EXPIRED";
/// `PerCpuArray<u32, MAX_SERVICES>`, indexed by service id: the slot that a round-robin service turns to next.
pub const NEXT: &str = "NEXT";
/// `Array<Layout, MAX_SERVICES>`, indexed by service id: where QUIC connection ids name their server.
pub const QUIC_LAYOUTS: &str = "QUIC_LAYOUTS";
/// `HashMap<ServerKey, u32>`, allocated on demand: ids of backends by their QUIC server id.
pub const QUIC_IDS: &str = "QUIC_IDS";
/// `PerCpuArray<Window, 1>`: new entries of the flow table.
pub const RATE_GLOBAL: &str = "RATE_GLOBAL";
/// `Array<Window, RATE_SOURCES>`: the same per group of clients, see [`crate::rate`].
pub const RATE_SOURCE: &str = "RATE_SOURCE";
/// `HashMap<FlowKey, Translation>`, allocated on demand: an entry for each direction of a translated flow.
pub const TRANSLATIONS: &str = "TRANSLATIONS";
/// `HashMap<u32, Pool>`, keyed by service id: pools of those services that have one of their own.
pub const POOLS: &str = "POOLS";
/// `ProgramArray<MAX_STAGES>`: programs that the main one goes on to. Pinned, since the kernel empties one that user space
/// no longer holds.
pub const STAGES: &str = "STAGES";
/// `PerCpuArray<Handed, 1>`: what the main program hands over to a stage. Pinned, so that a new agent's stages read what
/// the former one's main program wrote.
pub const HANDED: &str = "HANDED";
/// `Array<u32, 1>`: the time in seconds where the packet path is loaded with a virtual clock. Not pinned.
pub const CLOCK: &str = "CLOCK";
/// `HashMap<RawAddr, u32>`: service addresses that `lb decap` unpacks for (decap program only).
pub const DECAP_VIPS: &str = "DECAP_VIPS";
/// `Array<u32, 1>`: the UDP port of tunnels that `lb decap` unpacks (decap program only).
pub const DECAP_GUE_PORT: &str = "DECAP_GUE_PORT";

/// Backends of all services together, ids included that await reuse.
pub const MAX_BACKENDS: u32 = 65_536;
/// Next hops of backends beyond the first.
pub const MAX_MORE_HOPS: u32 = 65_536;
/// Flows tracked at once.
pub const MAX_FLOWS: u32 = 1_048_576;
/// Packets in fragments at once; the oldest give way.
pub const MAX_FRAGMENTS: u32 = 16_384;
/// Translations: two for each flow. Room for few; the loader gives more where there are services that translate.
pub const MAX_TRANSLATIONS: u32 = 65_536;
/// Pools of translated services.
pub const MAX_POOLS: u32 = 4_096;
/// Programs after the main one.
pub const MAX_STAGES: u32 = 1;
/// Index of the stage that translates, the program `translate`.
pub const STAGE_TRANSLATE: u32 = 0;
/// Egress interfaces.
pub const MAX_TX_PORTS: u32 = 256;
/// Room for reasons; more than there are, so that adding one needs no new shape.
pub const MAX_REASONS: u32 = 64;
/// Room for events.
pub const MAX_EVENTS: u32 = 16;
/// Groups of clients whose new flow entries are counted apart.
pub const RATE_SOURCES: u32 = 65_536;
/// Service addresses of one `lb decap`.
pub const MAX_DECAP_VIPS: u32 = 4_096;

const _: () = assert!(crate::event::Event::ALL.len() <= MAX_EVENTS as usize);
const _: () = assert!(MAX_TX_PORTS <= u8::MAX as u32 + 1);
const _: () = assert!(crate::verdict::Reason::ALL.len() <= MAX_REASONS as usize);
