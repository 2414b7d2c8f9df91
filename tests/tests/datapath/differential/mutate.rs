//! Mutations of frames: bits, bytes, lengths, ends, whole pieces.

use super::Random;

/// Shortest and longest frame that the kernel runs a program on.
const SHORTEST: usize = 14;
const LONGEST: usize = 3_000;
/// Values that decide something somewhere: versions, header numbers, flags, ends of ranges.
const TELLING: [u8; 20] = [0, 1, 4, 5, 6, 8, 17, 41, 43, 44, 45, 50, 51, 58, 59, 60, 0x7f, 0x80, 0x88, 0xff];

/// Changes a frame in one to four ways.
pub fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        // Mostly among the headers, where something is decided.
        let reach = if random.one_in(8) { frame.len() } else { frame.len().min(80) };
        let at = random.below(reach);
        match random.below(8) {
            0 => frame[at] = random.next() as u8,
            1 | 2 => frame[at] ^= 1 << random.below(8),
            3 => frame[at] = random.pick(&TELLING),
            4 => nudge(random, frame, at),
            5 => frame.truncate(SHORTEST.max(at)),
            6 => frame.resize((frame.len() + random.below(60)).min(LONGEST), random.next() as u8),
            _ => splice(random, frame, at),
        }
    }
}

/// Adds a little to a word, or takes it off: lengths that nearly agree.
fn nudge(random: &mut Random, frame: &mut [u8], at: usize) {
    let at = if random.one_in(2) { random.pick(&[16, 18, 20, 22, 24, 26]) } else { at & !1 };
    if let Some([high, low]) = frame.get_mut(at..at + 2) {
        let word = u16::from_be_bytes([*high, *low]).wrapping_add(random.below(17) as u16).wrapping_sub(8);
        [*high, *low] = word.to_be_bytes();
    }
}

/// Takes a few bytes out, or puts a copy of others in: everything behind them moves.
fn splice(random: &mut Random, frame: &mut Vec<u8>, at: usize) {
    let length = random.pick(&[1, 2, 4, 8, 20, 40]).min(frame.len() - at);
    if random.one_in(2) && frame.len() - length >= SHORTEST {
        frame.drain(at..at + length);
    } else if frame.len() + length <= LONGEST {
        let from = random.below(frame.len() - length + 1);
        let piece = frame[from..from + length].to_vec();
        frame.splice(at..at, piece);
    }
}
