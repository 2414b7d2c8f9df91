//! Reads a whole map, in batches.

use std::os::fd::BorrowedFd;

use aya::Pod;

use super::{pins, sys};
use crate::error::Error;

/// Elements of a batch. A bucket of a hash map has to fit in one.
const BATCH: usize = 4096;

/// Calls `visit` with every element of a map.
pub(crate) fn walk<K: Pod + Default, V: Pod + Default>(
    map: BorrowedFd<'_>,
    name: &str,
    mut visit: impl FnMut(&K, &V),
) -> Result<(), Error> {
    let (mut keys, mut values) = (vec![K::default(); BATCH], vec![V::default(); BATCH]);
    let mut cursor = sys::Cursor::default();
    loop {
        let (count, end) = sys::map_lookup_batch(map, &mut cursor, &mut keys, &mut values)
            .map_err(|error| pins::failed(&format!("read the map {name}"), &error))?;
        keys.iter().zip(&values).take(count).for_each(|(key, value)| visit(key, value));
        if end {
            return Ok(());
        }
    }
}
