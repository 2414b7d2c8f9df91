//! smoke
use aya::{EbpfLoader, programs::Xdp};
#[test]
fn loads() {
    for (o, p) in [(lb_userspace::objects::LB_XDP, "lb"), (lb_userspace::objects::LB_DECAP, "decap")] {
        let mut ebpf = EbpfLoader::new().load(o).unwrap();
        let x: &mut Xdp = ebpf.program_mut(p).unwrap().try_into().unwrap();
        match x.load() {
            Ok(()) => println!("{p}: {:?}", x.info().unwrap().verified_instruction_count()),
            Err(e) => {
                let s = format!("{e:#?}").replace("\\n", "\n");
                println!("{}", &s[..s.len().min(3000)]);
                println!("...{}", &s[s.len().saturating_sub(6000)..]);
                panic!();
            }
        }
    }
}
