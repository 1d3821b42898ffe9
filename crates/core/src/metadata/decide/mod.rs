//! The controller's decisions: a request and the image go in, records or a refusal come out. Pure.
//!
//! Nothing here reads a clock, draws a random number of its own, or waits. [`super::Metadata`] commits the records.

mod configs;
mod placement;
mod topics;

pub(super) use configs::decide_configs;
pub use configs::{ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate};
pub(super) use placement::FreeSpace;
pub use topics::{MAX_NEW_PARTITIONS, NewPartitions, NewTopic, TopicReference};
pub(super) use topics::{decide_create_partitions, decide_create_topics, decide_delete_topics};

use super::record::MetadataRecord;

/// An answer for each item of a request, and the records that make the good ones true.
pub(super) struct Decision<T, E> {
    pub(super) results: Vec<Result<T, E>>,
    pub(super) records: Vec<MetadataRecord>,
}

impl<T, E> Decision<T, E> {
    fn new() -> Decision<T, E> {
        Decision { results: Vec::new(), records: Vec::new() }
    }
}
