//! What every BPF object declares besides its programs.

/// Declares the licence, which must be GPL-compatible for the helpers in use, and the panic handler, which never runs:
/// nothing in the packet path panics, or the object would not link.
#[macro_export]
macro_rules! bpf_object {
    () => {
        #[cfg(target_arch = "bpf")]
        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

        #[cfg(target_arch = "bpf")]
        #[panic_handler]
        fn panic(_info: &core::panic::PanicInfo) -> ! {
            loop {}
        }

        #[cfg(not(target_arch = "bpf"))]
        fn main() {}
    };
}
