//! Configuration: one declarative table of keys, and the typed values resolved from it.
//!
//! Parsing, validation, `docs/config.md` and Kafka's DescribeConfigs answers all come from the table.

mod topic;

pub use topic::{CompressionType, FlushMode, TimestampType, TopicConfig};
