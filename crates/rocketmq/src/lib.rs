//! The RocketMQ front end: remoting (broker and name server) and gRPC, on the same topics that Kafka clients use.
//!
//! bytes -> frame -> typed header -> `remoting/cNNN_name.rs` -> `duolog_core` -> answer. A queue is a partition, with the same
//! number and the same offsets. gRPC requests are answered by `grpc/rpc_name.rs` from the same state. What a RocketMQ message is
//! as a record, and a record as a message, is said in [`message`] only. What belongs to clients' connections (who
//! is a member of which group, who holds which lock) is in memory, on a cluster at one node for each group ([`cluster`]).

mod ahead;
mod append;
pub mod clients;
mod cluster;
mod collect;
pub mod compact;
pub mod dead_letters;
mod delay;
mod deliveries;
pub mod fuzzing;
mod group_config;
mod grpc;
pub mod locator;
mod matrix;
pub mod message;
pub mod names;
mod node;
mod offsets;
mod polls;
mod priority;
mod progress;
mod pull;
mod queues;
mod rates;
pub mod remoting;
mod request_modes;
mod resets;
mod send_back;
mod server;
mod topic_config;
mod topics;
mod transactions;
pub mod transcode;

pub use grpc::{GrpcBindError, GrpcServer, TlsError};
pub use matrix::protocol_matrix;
pub use node::Node;
pub use server::RocketMqServer;
