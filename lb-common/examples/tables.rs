//! How long tables take to build: `cargo run --release -p lb-common --features host --example tables`.

use std::{hint::black_box, time::Instant};

use lb_common::{
    addr::{FAMILY_V4, from_v4},
    cuckoo,
    maglev::{self, Member},
    service::{KeyV4, MAX_SERVICES, Service},
    slot::SIZES,
};

/// Median of so many runs.
const RUNS: usize = 21;

fn main() {
    for slots in SIZES {
        for backends in [10, 100, 1000] {
            let members: Vec<Member> = (0..backends).map(member).collect();
            let median_ms = median_ms(|| maglev::build(1, slots, &members).is_ok());
            println!("maglev, {slots} slots, {backends} backends: {median_ms:.3} ms");
        }
    }
    for services in [1, 1000, MAX_SERVICES] {
        let list: Vec<(KeyV4, Service)> = (0..services).map(service).collect();
        let median_ms = median_ms(|| cuckoo::build_v4(1, &list).is_ok());
        println!("cuckoo, {services} services: {median_ms:.3} ms");
    }
}

fn member(n: u32) -> Member {
    Member { id: n + 1, address: from_v4((0x0a00_0000 + n).to_be_bytes()), family: FAMILY_V4, weight: 100 }
}

fn service(n: u32) -> (KeyV4, Service) {
    (
        KeyV4::new((0xc000_0200 + n).to_be_bytes(), 443u16.to_be_bytes(), 6),
        Service { id: n, ..Service::default() },
    )
}

fn median_ms(mut run: impl FnMut() -> bool) -> f64 {
    let mut samples: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            assert!(black_box(run()), "the input is valid");
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[RUNS / 2]
}
