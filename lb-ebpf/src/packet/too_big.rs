//! Makes a packet that is too big for its way the answer that says so: ICMP "fragmentation needed" (RFC 792, RFC 1191) or
//! ICMPv6 "packet too big" (RFC 4443), to its sender.

use core::mem::offset_of;

use aya_ebpf::{
    helpers::{bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{csum, wire::protocol};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    vlan::VlanHdr,
};

use super::{
    frame::{Frame, frame_len, load, store},
    link::MAX_TAGS,
    rewrite::{ETHER_TYPE, MAX_LINK},
};

/// Length of an ICMP header with the word after it.
const ICMP_LEN: usize = 8;
/// Headers before what is quoted.
const V4_LEN: usize = Ipv4Hdr::LEN + ICMP_LEN;
/// The same for IPv6.
const V6_LEN: usize = Ipv6Hdr::LEN + ICMP_LEN;
/// Bytes of an IPv4 packet that are quoted: the answer has 576, as RFC 1812 has it (section 4.3.2.3). Smaller packets are
/// not answered; no way takes so little.
const QUOTE_V4: usize = 576 - V4_LEN;
/// Bytes of an IPv6 packet that are quoted: the answer has 1,280, what every way takes (RFC 4443, section 3.2).
const QUOTE_V6: usize = 1280 - V6_LEN;
/// The least MTU of IPv6. Who is told of a smaller one does not heed it (RFC 8201, section 4).
const MTU_MIN_V6: u32 = 1280;

const HOP_LIMIT: u8 = 64;
/// "Internetwork control", the precedence of errors (RFC 1812, section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;
/// "Don't fragment", in the first byte of the fragment field.
const DONT_FRAGMENT: u8 = 0x40;
/// Type and code of "fragmentation needed".
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// Type and code of "packet too big".
const PACKET_TOO_BIG: [u8; 2] = [2, 0];
/// Longest part that the kernels before 6.13 sum at once.
const SUM_MAX: usize = 512;

/// Turns an IPv4 packet behind `tags` VLAN tags into the answer that tells its sender of an MTU. None if it must not be
/// answered, or there is no room; it is then as it was.
#[inline(never)]
pub fn answer_v4(ctx: &XdpContext, tags: u32, mtu: u32) -> Option<()> {
    let link = EthHdr::LEN + (tags as usize).min(MAX_TAGS) * VlanHdr::LEN;
    let frame = Frame::of(ctx);
    let ip = frame.start + link;
    if !is_for_this_host(&frame) || !frame.holds(ip, QUOTE_V4) {
        return None;
    }
    // SAFETY: the header was just checked to lie in the frame.
    let (offset, protocol, source, destination) = unsafe {
        (
            u16::from_be(load(ip + offset_of!(Ipv4Hdr, frags))) & 0x1fff,
            load::<u8>(ip + offset_of!(Ipv4Hdr, proto)),
            load::<u32>(ip + offset_of!(Ipv4Hdr, src_addr)),
            load::<u32>(ip + offset_of!(Ipv4Hdr, dst_addr)),
        )
    };
    let first = source.to_ne_bytes()[0];
    let is_one_host = first != 0 && first != 127 && first < 224;
    if offset != 0 || protocol == protocol::ICMP || !is_one_host {
        return None;
    }
    let length = (V4_LEN + QUOTE_V4) as u16;
    let mut header = [
        (0x45 << 24 | u32::from(PRECEDENCE) << 16 | u32::from(length)).to_be(),
        u32::from_ne_bytes([0, 0, DONT_FRAGMENT, 0]),
        u32::from_ne_bytes([HOP_LIMIT, protocol::ICMP, 0, 0]),
        destination,
        source,
    ];
    let [high, low] = csum::ipv4_words(&header).to_ne_bytes();
    header[2] |= u32::from_ne_bytes([0, 0, high, low]);
    let (frame, ip) = make_room::<V4_LEN, QUOTE_V4>(ctx, link)?;
    let icmp = ip + Ipv4Hdr::LEN;
    let [kind, code] = FRAGMENTATION_NEEDED;
    // SAFETY: `make_room` has checked that headers and quote lie in the frame, and the link header before them.
    unsafe {
        turn_round(&frame, V4_LEN);
        store(ip, header);
        store(icmp, [u32::from_ne_bytes([kind, code, 0, 0]), mtu.to_be()]);
        let sum = sum::<{ ICMP_LEN + QUOTE_V4 }>(icmp, 0);
        store(icmp + 2, csum::fold(sum));
    }
    Some(())
}

/// The same for an IPv6 packet, or the first fragment of one.
#[inline(never)]
pub fn answer_v6(ctx: &XdpContext, tags: u32, mtu: u32) -> Option<()> {
    let link = EthHdr::LEN + (tags as usize).min(MAX_TAGS) * VlanHdr::LEN;
    let frame = Frame::of(ctx);
    let ip = frame.start + link;
    if mtu < MTU_MIN_V6 || !is_for_this_host(&frame) || !frame.holds(ip, QUOTE_V6) {
        return None;
    }
    // SAFETY: the header was just checked to lie in the frame.
    let (next, source, destination) = unsafe {
        (
            load::<u8>(ip + offset_of!(Ipv6Hdr, next_hdr)),
            load::<[u64; 2]>(ip + offset_of!(Ipv6Hdr, src_addr)),
            load::<[u64; 2]>(ip + offset_of!(Ipv6Hdr, dst_addr)),
        )
    };
    let is_one_host = source[0].to_ne_bytes()[0] != 0xff && source != [0; 2];
    if next == protocol::ICMPV6 || !is_one_host {
        return None;
    }
    let payload = (ICMP_LEN + QUOTE_V6) as u64;
    let first = 6 << 60 | payload << 16 | u64::from(protocol::ICMPV6) << 8 | u64::from(HOP_LIMIT);
    let [[source_high, source_low], [high, low]] = [destination, source];
    let (frame, ip) = make_room::<V6_LEN, QUOTE_V6>(ctx, link)?;
    let icmp = ip + Ipv6Hdr::LEN;
    let [kind, code] = PACKET_TOO_BIG;
    // The rest of the pseudo header: length and protocol.
    let seed = u32::from((payload as u16).to_be()) + u32::from(u16::from(protocol::ICMPV6).to_be());
    // SAFETY: `make_room` has checked that headers and quote lie in the frame, and the link header before them.
    unsafe {
        turn_round(&frame, V6_LEN);
        store(ip, [first.to_be(), source_high, source_low, high, low]);
        store(icmp, [u32::from_ne_bytes([kind, code, 0, 0]), mtu.to_be()]);
        // Both addresses stand just before it.
        let sum = sum::<{ 2 * 16 + ICMP_LEN + QUOTE_V6 }>(icmp - 2 * 16, seed);
        store(icmp + 2, csum::fold(sum));
    }
    Some(())
}

/// Whether the frame was sent to this host alone: nobody is told of an error in what was sent to many.
#[inline(always)]
fn is_for_this_host(frame: &Frame) -> bool {
    // SAFETY: read if the byte lies in the frame.
    frame.holds(frame.start, EthHdr::LEN) && unsafe { load::<u8>(frame.start) } & 1 == 0
}

/// Makes the frame longer by `HEADERS` bytes at its front and cuts what is not quoted. Returns the frame and the place of
/// its IP header, after which headers and quote lie.
#[inline(always)]
fn make_room<const HEADERS: usize, const QUOTE: usize>(
    ctx: &XdpContext,
    link: usize,
) -> Option<(Frame, usize)> {
    // SAFETY: the context is the program's own; all addresses in the frame are derived again below.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(HEADERS as i32)) } != 0 {
        return None;
    }
    // Hidden from the compiler, which would subtract the end of the frame from the new length; the verifier forbids that.
    let length = core::hint::black_box(frame_len(ctx)) as i32;
    // SAFETY: as above. The frame held the quote before, so this does not make it longer.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, (link + HEADERS + QUOTE) as i32 - length) } != 0 {
        return None;
    }
    let frame = Frame::of(ctx);
    let ip = frame.start + link;
    let whole = frame.holds(frame.start, HEADERS + MAX_LINK) && frame.holds(ip, HEADERS + QUOTE);
    whole.then_some((frame, ip))
}

/// Puts the link header, which stands `moved` bytes into the frame, at its front, with the MAC addresses exchanged.
///
/// # Safety
/// [`Frame::holds`] said yes for `moved` bytes and the longest link header.
#[inline(always)]
unsafe fn turn_round(frame: &Frame, moved: usize) {
    let old = frame.start + moved;
    // SAFETY: all of it lies in the part of the frame that the caller checked.
    unsafe {
        let [destination, source] = load::<[[u8; 6]; 2]>(old);
        let vlan = load::<[u16; 5]>(old + ETHER_TYPE);
        store(frame.start, [source, destination]);
        // With less than two tags the rest is overwritten by the IP header.
        store(frame.start + ETHER_TYPE, vlan);
    }
}

/// Sum of `LENGTH` bytes at `at`, a multiple of four.
///
/// # Safety
/// [`Frame::holds`] said yes for these bytes.
#[inline(always)]
unsafe fn sum<const LENGTH: usize>(at: usize, seed: u32) -> u32 {
    let mut sum = seed;
    let mut done = 0;
    while done < LENGTH {
        let part = if LENGTH - done < SUM_MAX { LENGTH - done } else { SUM_MAX };
        // SAFETY: the helper reads the part, which the caller has checked.
        sum = unsafe {
            bpf_csum_diff(core::ptr::null_mut(), 0, (at + done) as *mut u32, part as u32, sum) as u32
        };
        done += part;
    }
    sum
}
