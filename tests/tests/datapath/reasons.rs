//! Packets of a service that can't be forwarded: each reason for which one is dropped.

use lb_common::verdict::Reason;
use lb_tests::packet;

use crate::world::{CLIENT_PORT, balancer, check, data, ends, once, sent, to, v4, v6};

#[test]
fn each_reason_to_drop() {
    let rows = vec![
        ends("every backend down", &v4(data(), 14).frame(), Reason::NoBackend),
        ends("no backends at all", &v4(data(), 15).frame(), Reason::NoBackend),
        ends("a dead backend whose neighbour is unknown too", &v4(data(), 32).frame(), Reason::NoBackend),
        ends("settled, the owner down", &v4(data(), 47).frame(), Reason::NoBackend),
        ends("next hop unknown", &v4(data(), 13).frame(), Reason::NextHopUnresolved),
        ends("no slots published", &v4(data(), 16).frame(), Reason::TableMissing),
        ends("a class that does not exist", &v4(data(), 34).frame(), Reason::TableMissing),
        ends(
            "an egress interface that is not known, before anything is rewritten",
            &v4(data(), 17).frame(),
            Reason::NoTxPort,
        ),
        ends("a vacant backend", &v4(data(), 18).frame(), Reason::BackendMissing),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn packets_that_would_exceed_the_mtu_are_dropped() {
    let of = |length: usize| packet::tcp(CLIENT_PORT, 80, packet::ACK, &vec![1; length - 40]);
    let of_v6 = |length: usize| packet::tcp(CLIENT_PORT, 80, packet::ACK, &vec![1; length - 60]);
    let fits = v4(of(60), 20);
    let rows = vec![
        ends("l2", &v4(of(61), 20).frame(), Reason::TooBig),
        sent("l2 at the limit", &fits.frame(), &to(8, fits.frame()), 8),
        sent(
            "l2 at the limit, padding does not count",
            &fits.frame().padding(9),
            &to(8, fits.frame().padding(9)),
            8,
        ),
        ends("4in4: 20 bytes more", &v4(of(41), 19).frame(), Reason::TooBig),
        ends("6in6: 40 bytes more", &v6(of_v6(61), 33).frame(), Reason::TooBig),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

/// Metadata stands where the outer header would go.
#[test]
fn no_headroom_drops_the_packet_as_it_is() {
    let frame = v4(data(), 3).frame().bytes();
    let mut balancer = balancer();
    let outcome = balancer.run_with(&frame, Some(216)).unwrap();
    assert_eq!(outcome.counted, once(Reason::NoHeadroom.into(), frame.len()));
    assert_eq!(outcome.bytes, frame);
    assert_eq!(outcome.action, lb_tests::runner::Action::Drop);
}
