//! The keys of records that were read, for share groups that are given the records of a key in their order.
//!
//! Offsets without a record, and records without a key, wait for no others; the client says that the former are not there.

use duolog_base::Offset;
use duolog_core::broker::materialize;
use duolog_core::share::{Candidate, ShareError, key_hash};
use duolog_log::ReadPlan;
use duolog_wire::record::{DecompressLimits, batches, decode_batch};
use std::collections::BTreeMap;
use std::fmt::Display;

/// The offsets of the plan from there on, with the keys of their records.
pub(crate) async fn candidates_of(plan: &ReadPlan, from: Offset) -> Result<Vec<Candidate>, ShareError> {
    let bytes = materialize(plan.clone()).await.map_err(unreadable)?;
    candidates_in(&bytes, from, plan.next)
}

fn candidates_in(bytes: &[u8], from: Offset, next: Offset) -> Result<Vec<Candidate>, ShareError> {
    let mut keys = BTreeMap::new();
    for batch in batches(bytes) {
        let (_, range) = batch.map_err(unreadable)?;
        let batch = decode_batch(&bytes[range], DecompressLimits::default()).map_err(unreadable)?;
        if batch.header.attributes.is_control() {
            continue;
        }
        for record in batch.records() {
            let record = record.map_err(unreadable)?;
            if let Some(key) = record.key {
                keys.insert(record.offset, key_hash(key));
            }
        }
    }
    let offsets = (from.0..next.0).map(Offset);
    Ok(offsets.map(|offset| Candidate { offset, key: keys.get(&offset).copied() }).collect())
}

fn unreadable(error: impl Display) -> ShareError {
    ShareError::Storage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use duolog_wire::record::{BatchBuilder, Compression, NewRecord};

    #[test]
    fn every_offset_has_the_key_of_its_record_if_there_is_one() {
        let mut batch = BatchBuilder::new(Compression::Zstd);
        for key in [Some("a"), None, Some(""), Some("a")] {
            batch.push(NewRecord { key: key.map(str::as_bytes), ..NewRecord::default() }).expect("there is room");
        }
        let mut bytes = BytesMut::new();
        batch.build(&mut bytes).expect("a batch");
        let found = candidates_in(&bytes, Offset(1), Offset(6)).expect("it is sound");
        let keys: Vec<(i64, Option<u64>)> = found.iter().map(|candidate| (candidate.offset.0, candidate.key)).collect();
        let of = |key: &str| Some(key_hash(key.as_bytes()));
        assert_eq!(keys, [(1, None), (2, of("")), (3, of("a")), (4, None), (5, None)]);
        assert!(candidates_in(&bytes[..bytes.len() - 1], Offset(0), Offset(4)).is_err());
    }
}
