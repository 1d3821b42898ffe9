//! The records inside control batches (KIP-98): today the marks that end a transaction.
//!
//! Key: version (2 bytes), kind (2 bytes). Value of a transaction mark: version (2 bytes), coordinator epoch (4 bytes).
//! Later versions append fields, which are skipped.

use super::batch::NO_SEQUENCE;
use super::builder::{BatchBuilder, BuildError, NewRecord};
use super::compression::Compression;
use super::decode::Record;
use bytes::BytesMut;
use duolog_base::{ProducerEpoch, ProducerId, TimestampMs};

const ABORT_KIND: i16 = 0;
const COMMIT_KIND: i16 = 1;
const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 0;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    Abort,
    Commit,
}

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    EndTransaction {
        outcome: TransactionOutcome,
        coordinator_epoch: i32,
    },
    /// A kind this version does not know, to be passed over.
    Other {
        kind: i16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlRecordError {
    #[error("control record without a well-formed key")]
    Key,
    #[error("transaction mark without a well-formed value")]
    Value,
}

impl ControlRecord {
    /// Reads a record of a control batch.
    pub fn decode(record: &Record<'_>) -> Result<ControlRecord, ControlRecordError> {
        let [v0, v1, k0, k1] = *record.key.and_then(|key| key.first_chunk()).ok_or(ControlRecordError::Key)?;
        if i16::from_be_bytes([v0, v1]) < KEY_VERSION {
            return Err(ControlRecordError::Key);
        }
        let outcome = match i16::from_be_bytes([k0, k1]) {
            ABORT_KIND => TransactionOutcome::Abort,
            COMMIT_KIND => TransactionOutcome::Commit,
            kind => return Ok(ControlRecord::Other { kind }),
        };
        let [v0, v1, epoch @ ..]: [u8; 6] = *record.value.and_then(|v| v.first_chunk()).ok_or(ControlRecordError::Value)?;
        if i16::from_be_bytes([v0, v1]) < VALUE_VERSION {
            return Err(ControlRecordError::Value);
        }
        Ok(ControlRecord::EndTransaction { outcome, coordinator_epoch: i32::from_be_bytes(epoch) })
    }
}

/// Appends the control batch that ends a transaction of `producer` in one partition.
pub fn encode_end_transaction(
    producer: (ProducerId, ProducerEpoch),
    outcome: TransactionOutcome,
    coordinator_epoch: i32,
    now: TimestampMs,
    out: &mut BytesMut,
) -> Result<(), BuildError> {
    let kind = match outcome {
        TransactionOutcome::Abort => ABORT_KIND,
        TransactionOutcome::Commit => COMMIT_KIND,
    };
    let key = [KEY_VERSION.to_be_bytes(), kind.to_be_bytes()].concat();
    let value = [&VALUE_VERSION.to_be_bytes()[..], &coordinator_epoch.to_be_bytes()].concat();
    let mut builder =
        BatchBuilder::new(Compression::None).producer(producer.0, producer.1, NO_SEQUENCE).transactional().control();
    builder.push(NewRecord { timestamp: now, key: Some(&key), value: Some(&value), headers: &[] })?;
    builder.build(out)?;
    Ok(())
}
