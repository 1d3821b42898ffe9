//! The Kafka front end: connections, and one file for each request kind.
//!
//! bytes -> frame -> typed request -> `api/pNN_name.rs` -> `duolog_core` -> reply. Nothing here keeps state of its
//! own except what belongs to a connection (fetch sessions, identity). Core errors become Kafka's codes in `error` only.

mod api;
mod call;
