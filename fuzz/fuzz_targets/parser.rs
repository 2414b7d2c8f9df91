//! The packet path's parser on the host: it reads nothing beyond the frame, and finds what the reference finds.
#![no_main]

mod memory;

use std::{net::IpAddr, ptr, sync::OnceLock};

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{addr::FAMILY_V4, flow::FlowKey, verdict::Reason};
use lb_ebpf::packet::{self, Flow, Packet, Parsed};
use lb_tests::reference::{self, Found};
use libfuzzer_sys::{Corpus, fuzz_target};

const PAGE: usize = 4096;

/// Address of a page that ends where nothing can be read. Below 4 GiB, since a context has addresses of 32 bits.
fn page() -> usize {
    static PAGE_AT: OnceLock<usize> = OnceLock::new();
    *PAGE_AT.get_or_init(|| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: a new mapping, and a change of pages in it.
        unsafe {
            let start = libc::mmap(ptr::null_mut(), 3 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED, "no memory below 4 GiB");
            let page = start.byte_add(PAGE);
            assert_eq!(libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_WRITE), 0);
            page as usize
        }
    })
}

fn found<F: Flow>(packet: &Packet<F>) -> Found {
    let FlowKey { source, destination, source_port, destination_port, protocol, family, .. } =
        packet.flow.key();
    let address = |raw: [u8; 16]| match family {
        FAMILY_V4 => IpAddr::from(lb_common::addr::v4(&raw)),
        _ => IpAddr::from(raw),
    };
    Found {
        source: address(source),
        destination: address(destination),
        source_port: u16::from_be_bytes(source_port),
        destination_port: u16::from_be_bytes(destination_port),
        protocol,
        tags: packet.tags,
        length: packet.length as usize,
        traffic_class: packet.traffic_class,
        opens: packet::opens_tcp(packet.tcp_flags),
    }
}

fn parse(frame: &[u8]) -> Result<Found, Reason> {
    let start = page() + PAGE - frame.len();
    // SAFETY: the page is ours, and the frame fits in it.
    unsafe { ptr::copy_nonoverlapping(frame.as_ptr(), start as *mut u8, frame.len()) };
    let mut context = xdp_md {
        data: start as u32,
        data_end: (start + frame.len()) as u32,
        data_meta: start as u32,
        ingress_ifindex: 1,
        rx_queue_index: 0,
        egress_ifindex: 0,
    };
    let parsed = packet::parse(&XdpContext::new(&raw mut context));
    // SAFETY: as above.
    let after = unsafe { std::slice::from_raw_parts(start as *const u8, frame.len()) };
    assert_eq!(after, frame, "parsing has changed the frame");
    Ok(match parsed? {
        Parsed::V4(packet) => found(&packet),
        Parsed::V6(packet) => found(&packet),
    })
}

fuzz_target!(|frame: &[u8]| -> Corpus {
    if frame.len() > PAGE {
        return Corpus::Reject;
    }
    assert_eq!(parse(frame), reference::parse(frame), "{frame:02x?}");
    Corpus::Keep
});
