//! When to make the kernel ask for a neighbour, again and again but not too often.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::facts::NeighbourKey;

/// Pause after the first attempt. The kernel itself asks three times, a second apart.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(8);

/// The attempts so far, by neighbour.
#[derive(Debug, Default)]
pub(super) struct Pokes {
    pending: HashMap<NeighbourKey, Poke>,
}

#[derive(Debug)]
struct Poke {
    next: Instant,
    pause: Duration,
}

impl Pokes {
    /// Which of the `unconfirmed` neighbours to ask for now. Those that are not in it any more begin anew the next
    /// time.
    pub(super) fn due(
        &mut self,
        unconfirmed: &BTreeMap<NeighbourKey, IpAddr>,
        now: Instant,
    ) -> Vec<(NeighbourKey, IpAddr)> {
        self.pending.retain(|key, _| unconfirmed.contains_key(key));
        let mut due = Vec::new();
        for (key, address) in unconfirmed {
            let poke = self.pending.entry(*key).or_insert(Poke { next: now, pause: FIRST });
            if poke.next <= now {
                due.push((*key, *address));
                poke.next = now + poke.pause;
                poke.pause = (poke.pause * 2).min(LONGEST);
            }
        }
        due
    }

    /// When [`Self::due`] has something to say next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.pending.values().map(|poke| poke.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_anew() {
        let address = IpAddr::from([10, 0, 0, 7]);
        let unconfirmed = BTreeMap::from([((3, address), address)]);
        let mut pokes = Pokes::default();
        let start = Instant::now();
        let mut pauses = Vec::new();
        let mut now = start;
        for _ in 0..6 {
            assert_eq!(pokes.due(&unconfirmed, now).len(), 1);
            assert!(pokes.due(&unconfirmed, now).is_empty(), "not twice at once");
            let next = pokes.next().unwrap();
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 8, 8]);
        assert!(pokes.due(&BTreeMap::new(), now).is_empty());
        assert_eq!(pokes.next(), None);
        assert_eq!(pokes.due(&unconfirmed, now).len(), 1);
        assert_eq!(pokes.next().unwrap() - now, FIRST);
    }
}
