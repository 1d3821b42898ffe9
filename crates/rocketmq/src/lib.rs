//! The RocketMQ front end: remoting (broker and name server) on the same topics that Kafka clients use.
//!
//! bytes -> frame -> typed header -> `remoting/cNNN_name.rs` -> `duolog_core` -> answer. A queue is a partition, with the same
//! number and the same offsets. What a RocketMQ message is as a record, and a record as a message, is said in [`message`] only.

pub mod compact;
pub mod locator;
pub mod message;
pub mod transcode;
