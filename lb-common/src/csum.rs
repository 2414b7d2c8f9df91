//! Internet checksums, pure (RFC 1071).

/// Folds a sum of 16-bit words to a checksum.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Checksum of an IPv4 header without options whose checksum field is zero, as bytes for the header.
#[inline(always)]
pub const fn ipv4_header(header: &[u8; 20]) -> [u8; 2] {
    let mut sum = 0u32;
    let mut at = 0;
    while at < 20 {
        sum += u16::from_be_bytes([header[at], header[at + 1]]) as u32;
        at += 2;
    }
    fold(sum).to_be_bytes()
}

/// The same for a header in words as they stand in the packet; so does the checksum. The sum is the same in either byte
/// order (RFC 1071, section 2), and whole words take fewer additions.
#[inline(always)]
pub const fn ipv4_words(header: &[u32; 5]) -> u16 {
    let sum = header[0] as u64 + header[1] as u64 + header[2] as u64 + header[3] as u64 + header[4] as u64;
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    fold((sum & 0xffff) as u32 + (sum >> 16) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of a header whose checksum is 0xb861, found in most introductions to IPv4.
    #[test]
    fn known_header() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(ipv4_header(&header), [0xb8, 0x61]);
    }

    proptest::proptest! {
        #[test]
        fn words_and_bytes_agree(mut header: [u8; 20]) {
            (header[10], header[11]) = (0, 0);
            let words = core::array::from_fn(|at| {
                u32::from_ne_bytes([header[4 * at], header[4 * at + 1], header[4 * at + 2], header[4 * at + 3]])
            });
            proptest::prop_assert_eq!(ipv4_words(&words).to_ne_bytes(), ipv4_header(&header));
        }
    }
}
