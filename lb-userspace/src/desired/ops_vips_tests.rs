//! Which addresses, ports and protocols services can be on.

use super::*;

#[test]
fn ranges_overlap_with_no_other_range_and_prefixes_hold_none_of_their_backends() {
    let state = after(&[
        add("low", "192.0.2.1:8000-8100/tcp"),
        add("one", "192.0.2.1:8050/tcp"),
        add("any", "192.0.2.1:0/tcp"),
        add("net", "192.0.2.0/24:8000-8100/tcp"),
        add("udp", "192.0.2.1:8000-8100/udp"),
        add("next", "192.0.2.1:8101-8200/tcp"),
    ]);
    assert_eq!(state.services["low"].check.kind, CheckKind::None);
    let overlapping = add("mine", "192.0.2.1:8100-8101/tcp");
    refused(
        &state,
        &overlapping,
        Kind::Conflict,
        "service mine (192.0.2.1:8100-8101/tcp) and service low (192.0.2.1:8000",
    );
    let moved = set("next", |settings| settings.vip = Some("192.0.2.1:7000-9000/tcp".parse().unwrap()));
    refused(&state, &moved, Kind::Conflict, "service low");
    refused(&state, &backends_of("net", &["192.0.2.9"]), Kind::InvalidConfiguration, "outside of it");
    let checked = set("low", |settings| settings.check.kind = Some(CheckName::Tcp));
    refused(&state, &checked, Kind::InvalidConfiguration, "--check-port");
    let mut crowded = state;
    for first in (10..10 + 16 * 10).step_by(10) {
        let vip = format!("192.0.2.9:{first}-{}/tcp", first + 5);
        crowded = apply(&crowded, &add(&format!("range{first}"), &vip)).unwrap();
    }
    refused(
        &crowded,
        &add("more", "192.0.2.9:1-2/tcp"),
        Kind::InvalidConfiguration,
        "no room for more than 16",
    );
}

#[test]
fn fragments_without_ports_are_one_service_s_of_an_address() {
    let by_address = |settings: &mut Settings| settings.fragments = Some(Fragments::ByAddress);
    let state = after(&[
        add_with("dns", "192.0.2.1:53/udp", by_address),
        add("syslog", "192.0.2.1:514/udp"),
        add_with("other", "192.0.2.2:53/udp", by_address),
    ]);
    assert_eq!(state.services["dns"].fragments, Fragments::ByAddress);
    assert_eq!(state.services["syslog"].fragments, Fragments::Follow);
    refused(
        &state,
        &set("syslog", by_address),
        Kind::Conflict,
        "go to service dns (192.0.2.1:53/udp) already",
    );
    let tcp = add_with("web", "192.0.2.3:80/tcp", by_address);
    refused(&state, &tcp, Kind::InvalidConfiguration, "--fragments by-address is for UDP");
}

#[test]
fn an_sctp_service_is_not_checked_and_is_no_quic() {
    let service = &after(&[add("sip", "192.0.2.1:5060/sctp")]).services["sip"];
    assert_eq!(
        (&service.check.kind, service.vip.to_string()),
        (&CheckKind::None, "192.0.2.1:5060/sctp".into())
    );
    let quic = add_with("sip", "192.0.2.1:5060/sctp", |settings| settings.quic = Some(true));
    refused(&web(), &quic, Kind::InvalidConfiguration, "--quic is for UDP");
}
