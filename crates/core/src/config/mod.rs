//! Configuration: one declarative table of keys, and the typed values resolved from it.
//!
//! [`KEYS`] names every key once: its type, default, where it may be set, whether it can change while the server
//! runs, and its explanation. Parsing, validation, `docs/config.md` and Kafka's DescribeConfigs answers come from it.
//! [`BrokerConfig`] is what a node runs with, [`TopicConfig`] what one topic runs with; both know nothing of files,
//! the environment or flags, whose values arrive here as strings with a [`Source`].

mod broker;
mod describe;
mod error;
mod group;
mod key;
mod markdown;
mod nearest;
mod share;
mod table;
mod throttled;
mod topic;
mod value;

pub use broker::BrokerConfig;
pub use describe::{ConfigEntry, ConfigSynonym, describe_broker, describe_group, describe_topic};
pub use error::ConfigError;
pub use group::GroupConfig;
pub use key::{Effect, Key, Kind, Scope, Source, Synonym};
pub use markdown::config_markdown;
pub use share::{ShareGroupConfig, StartOffset};
pub use table::{KEYS, find};
pub use throttled::ThrottledReplicas;
pub use topic::{CompressionType, FlushMode, LAYOUT, Perm, TimestampType, TopicConfig};
pub use value::{unknown_key, validate_broker_change, validate_group_values, validate_topic_overrides};
