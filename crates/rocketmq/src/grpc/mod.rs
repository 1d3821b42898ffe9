//! RocketMQ 5's gRPC protocol (`apache.rocketmq.v2`), on the same topics, groups and offsets as remoting.
//!
//! HTTP/2 -> [`service`] (the table) -> one file an RPC, or a few that belong together -> the same state and the same functions
//! as remoting. What consumers were given and have not acknowledged is in [`crate::deliveries`].
//!
//! Not served: transactions, lite topics; each is answered with UNSUPPORTED.

mod acknowledge;
mod authority;
mod body;
mod call;
mod clients;
mod convert;
mod end_transaction;
mod heartbeat;
mod limits;
mod offsets;
mod pull_message;
mod query_route;
mod recall_message;
mod receive_message;
mod send_message;
mod server;
mod service;
mod settings;
mod status;
mod telemetry;
mod tls;

pub use server::{GrpcBindError, GrpcServer};
pub use tls::TlsError;
