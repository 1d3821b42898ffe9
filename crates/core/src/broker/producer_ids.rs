//! Producer ids: handed out one by one from blocks that the metadata log has granted for good.
//!
//! A block is committed before its first id is used, so no id is ever given twice, whatever crashes. The rest of a
//! block is lost on restart.

use super::Broker;
use duolog_base::ProducerId;
use std::ops::Range;
use tokio::sync::Mutex;

/// Ids asked for at once; Kafka's block size.
const BLOCK_IDS: i64 = 1_000;

/// Why no id could be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata log granted no producer ids")]
pub struct ProducerIdError;

/// What is left of the present block. The lock is held while a new block is asked for.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl Broker {
    /// An id that was never given before.
    pub async fn next_producer_id(&self) -> Result<ProducerId, ProducerIdError> {
        let mut block = self.producer_ids.block.lock().await;
        if block.is_empty() {
            *block = self.metadata.allocate_producer_ids(BLOCK_IDS).await.map_err(|error| {
                tracing::warn!(%error, "no producer ids");
                ProducerIdError
            })?;
        }
        block.next().map(ProducerId).ok_or(ProducerIdError)
    }
}
