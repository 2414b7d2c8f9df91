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

/// The checksum of a message in which one 16-bit word changes, given its checksum before (RFC 1624, equation 3). All of
/// them in the same byte order, whichever that is.
#[inline(always)]
pub const fn replace(checksum: u16, old: u16, new: u16) -> u16 {
    fold(!checksum as u32 + !old as u32 + new as u32)
}

/// Sum of the 16-bit words of up to 16 bytes, as they stand in the packet.
#[inline(always)]
pub const fn sum(words: u128) -> u32 {
    let (low, high) = (words as u64, (words >> 64) as u64);
    let low = (low & 0xffff) + (low >> 16 & 0xffff) + (low >> 32 & 0xffff) + (low >> 48);
    let high = (high & 0xffff) + (high >> 16 & 0xffff) + (high >> 32 & 0xffff) + (high >> 48);
    (low + high) as u32
}

/// What a message's sum changes by when words of a sum `old` are replaced by words of a sum `new`.
#[inline(always)]
pub const fn change(old: u32, new: u32) -> u16 {
    !fold(fold(old) as u32 + !fold(new) as u32)
}

/// The checksum of a message whose sum changes, given its checksum before (RFC 1624, equation 3).
#[inline(always)]
pub const fn apply(checksum: u16, change: u16) -> u16 {
    fold(!checksum as u32 + change as u32)
}

/// The other form of zero, for messages that may hold nothing but zeros: their sum is zero, and their checksum all ones.
#[inline(always)]
pub const fn not_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
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

    /// Whether a receiver accepts words with their checksum among them.
    fn is_accepted(words: &[u16]) -> bool {
        fold(words.iter().map(|word| u32::from(*word)).sum()) == 0
    }

    /// An echo request becomes its answer, for each checksum that it can have.
    #[test]
    fn a_replaced_word_leaves_a_right_checksum_right() {
        for (old, new) in [(0x0800, 0x0000), (0x8000, 0x8100), (0x3911, 0x4011), (0, 0xffff), (0xffff, 0)] {
            for data in 0..=u16::MAX {
                let checksum = fold(u32::from(old) + u32::from(data));
                let replaced = not_zero(replace(checksum, old, new));
                assert!(is_accepted(&[new, data, replaced]), "{old:#x} to {new:#x} with {data:#x}");
                if checksum == 0 {
                    // Some senders write zero in its other form.
                    assert!(is_accepted(&[new, data, not_zero(replace(0xffff, old, new))]), "{data:#x}");
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_change_of_many_words_leaves_a_right_checksum_right(
            old: [u16; 8], new: [u16; 8], rest in 1u16..=u16::MAX
        ) {
            let sum_of = |words: [u16; 8]| {
                sum(words.iter().rev().fold(0, |all, word| all << 16 | u128::from(*word)))
            };
            let checksum = fold(sum_of(old) + u32::from(rest));
            let after = apply(checksum, change(sum_of(old), sum_of(new)));
            let words: Vec<u16> = new.into_iter().chain([rest, after]).collect();
            proptest::prop_assert!(is_accepted(&words));
        }

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
