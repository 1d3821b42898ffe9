//! The Kafka front end: connections, and one file for each request kind.
//!
//! bytes -> frame -> typed request -> `api/pNN_name.rs` -> `duolog_core` -> reply. Nothing here keeps state of its
//! own except what belongs to clients' connections (fetch and share sessions, identity). Core errors become Kafka's codes in
//! `error` only.

mod api;
mod call;
mod check;
mod connection;
mod damage;
mod error;
mod matrix;
mod output;
mod pending;
mod ranges;
mod server;
mod session;
mod sessions;
mod share_fetch;
mod share_keys;
mod share_sessions;

pub use matrix::protocol_matrix;
pub use server::KafkaServer;

use duolog_core::broker::Broker;
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::share::ShareGroups;
use std::sync::Arc;

/// What requests are answered from.
pub struct Services {
    pub broker: Arc<Broker>,
    pub groups: Arc<GroupCoordinator>,
    pub share: Arc<ShareGroups>,
    pub delays: Arc<Delays>,
}
