//! Finding messages by what is in them: by key or unique id.
//!
//! The log's key index answers with places to look at; whoever asks reads the messages there, and takes those that have the key, and
//! are of the right time. Called by the RocketMQ front end.

mod keys;

pub use keys::{MAX_KEYS_PER_MESSAGE, extract_keys, key_hash};

use crate::broker::Broker;
use crate::metadata::TopicImage;
use duolog_base::{Offset, PartitionIndex, PartitionNumber};
use duolog_log::KeyPlaces;
use std::collections::HashMap;
use std::ops::Range;

/// Where messages with a key may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundKeys {
    /// Newest first, as far as the index knows: by ranges of the log, and by offset within a partition. All of them are between the
    /// log start and the high watermark.
    pub places: Vec<(PartitionIndex, Offset)>,
    /// False while part of the index is being built: there may be more.
    pub complete: bool,
}

impl Broker {
    /// Up to `limit` places of messages that RocketMQ clients have sent with this key or unique id. Partitions in the dedicated
    /// layout have no index: nothing of them is found.
    pub async fn find_by_key(&self, topic: &TopicImage, key: &[u8], limit: usize) -> FoundKeys {
        let mut partitions: HashMap<PartitionNumber, (PartitionIndex, Range<Offset>)> = HashMap::new();
        for (index, partition) in topic.partitions.iter().enumerate() {
            let index = PartitionIndex(index as i32);
            if let Some(ends) = self.ends(topic, index) {
                partitions.insert(partition.number, (index, ends.log_start..ends.high_watermark));
            }
        }
        let log = self.log().clone();
        let hash = key_hash(key);
        // A part of the index is a mapped file: looking at it may wait for the disk.
        let search = tokio::task::spawn_blocking(move || {
            let is_live = |number, offset| partitions.get(&number).is_some_and(|(_, live)| live.contains(&offset));
            let KeyPlaces { places, complete } = log.find_key(hash, limit, &mut |number, offset| is_live(number, offset));
            let places = places.into_iter().map(|(number, offset)| (partitions[&number].0, offset)).collect();
            FoundKeys { places, complete }
        });
        // A search that was interrupted has found nothing and knows that.
        search.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
