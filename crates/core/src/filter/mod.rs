//! Which messages a subscription wants: by tag, or by an SQL92 expression over properties.
//!
//! * [`tags`]: Java's hash of a tag, and the word of tag bits that the log keeps with every batch.
//!
//! RocketMQ's pulls, pops and gRPC receives use it; the Kafka front end has no filters.

pub mod tags;

pub use tags::{java_hash, tag_word};

/// The properties of one message, as a filter sees them.
pub trait Properties {
    fn property(&self, name: &str) -> Option<&str>;
}
