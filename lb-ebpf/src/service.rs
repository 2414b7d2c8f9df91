//! Whose packet it is: the service tables, one per family.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use lb_common::service::{EntryV4, EntryV6, KeyV4, KeyV6, Service, ServiceTableV4, ServiceTableV6};

use lb_ebpf::packet::{Flow, FlowV4, FlowV6};

use crate::wide::{service_wide_v4, service_wide_v6};

#[btf_map]
pub static SERVICES_V4: ArrayOfMaps<Array<ServiceTableV4, 1>, 1> = ArrayOfMaps::new();

#[btf_map]
pub static SERVICES_V6: ArrayOfMaps<Array<ServiceTableV6, 1>, 1> = ArrayOfMaps::new();

/// A flow whose service can be looked up.
pub trait Served: Flow {
    /// The service of the flow's destination: that of its address and port, else of its address and any port, else the
    /// first that has it as part of more: its address with a range of ports, or a prefix, the longest first.
    fn service(&self) -> Option<Service>;
}

impl Served for FlowV4 {
    #[inline(always)]
    fn service(&self) -> Option<Service> {
        let table = SERVICES_V4.get_value(0, &0)?;
        if table.head.services == 0 {
            return None;
        }
        let address = ((self.addresses >> 32) as u32).to_le_bytes();
        let key = KeyV4::new(address, ((self.ports >> 16) as u16).to_le_bytes(), self.protocol);
        match find_v4(table, key) {
            None if table.head.any_port_services != 0 => match find_v4(table, key.any_port()) {
                None if table.head.wide_count != 0 => Service::from_word(service_wide_v4(
                    (self.addresses >> 32) as u32,
                    self.ports,
                    self.protocol.into(),
                    self.addresses as u32,
                )),
                found => found,
            },
            found => found,
        }
    }
}

impl Served for FlowV6 {
    #[inline(always)]
    fn service(&self) -> Option<Service> {
        let table = SERVICES_V6.get_value(0, &0)?;
        if table.head.services == 0 {
            return None;
        }
        let key = KeyV6::new(self.destination, ((self.ports >> 16) as u16).to_le_bytes(), self.protocol);
        match find_v6(table, key) {
            None if table.head.any_port_services != 0 => match find_v6(table, key.any_port()) {
                None if table.head.wide_count != 0 => {
                    let [high, low] = self.destination;
                    let [source_high, source_low] = self.source;
                    let transport = u64::from(self.ports) | u64::from(self.protocol) << 32;
                    Service::from_word(service_wide_v6(high, low, transport, source_high, source_low))
                }
                found => found,
            },
            found => found,
        }
    }
}

/// The service of a key.
#[inline(always)]
pub fn find_v4(table: &ServiceTableV4, key: KeyV4) -> Option<Service> {
    let [first, second] = key.places(&table.head);
    // SAFETY: `places` gives indices below the table's length, which the verifier checks too.
    let (first, second): (&EntryV4, &EntryV4) =
        unsafe { (table.entries.get_unchecked(first), table.entries.get_unchecked(second)) };
    if first.key == key {
        Some(first.service)
    } else if second.key == key {
        Some(second.service)
    } else {
        None
    }
}

/// The service of a key.
#[inline(always)]
pub fn find_v6(table: &ServiceTableV6, key: KeyV6) -> Option<Service> {
    let [first, second] = key.places(&table.head);
    // SAFETY: `places` gives indices below the table's length, which the verifier checks too.
    let (first, second): (&EntryV6, &EntryV6) =
        unsafe { (table.entries.get_unchecked(first), table.entries.get_unchecked(second)) };
    if first.key == key {
        Some(first.service)
    } else if second.key == key {
        Some(second.service)
    } else {
        None
    }
}
