//! Which messages a subscription wants: by tag, or by an SQL92 expression over properties.
//!
//! * [`subscription`]: a subscription's expression, compiled once and asked about every message.
//! * [`tags`]: Java's hash of a tag, and the word of tag bits that the log keeps with every batch.
//! * [`sql`]: the expression language: text to tokens to a condition, and its value for a message's properties.
//! * [`error`]: why an expression is refused.
//!
//! Synchronous and free of I/O. RocketMQ's pulls, pops and gRPC receives use it; the Kafka front end has no filters.

pub mod error;
pub mod sql;
pub mod subscription;
pub mod tags;

pub use error::FilterError;
pub use subscription::Subscription;
pub use tags::{java_hash, tag_word};

/// Longest expression taken, tags or SQL, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 64 << 10;

/// The properties of one message, as a filter sees them. Names are case-sensitive; the tag is the property `TAGS`.
pub trait Properties {
    fn property(&self, name: &str) -> Option<&str>;
}
