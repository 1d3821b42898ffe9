//! What a request key means: the shape of a line of the generated table, and the way to find one.
//!
//! The table lists all of Kafka's requests, not those that this server answers.

use super::messages::api_keys::APIS;

/// One request of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiInfo {
    pub key: i16,
    /// The name without "Request".
    pub name: &'static str,
    pub min_version: i16,
    /// The newest version whose meaning is settled.
    pub max_version: i16,
    /// The first version with compact lengths and tagged fields; `i16::MAX` if there is none.
    pub flexible_from: i16,
    /// Whether one more version than `max_version` is defined whose meaning may still change.
    pub latest_version_unstable: bool,
    pub listeners: &'static [Listener],
}

/// Where Kafka itself answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Broker,
    Controller,
}

impl ApiInfo {
    /// Whether `version` has compact lengths and tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }
}

/// Finds a request by its key.
pub fn api(key: i16) -> Option<&'static ApiInfo> {
    APIS.binary_search_by_key(&key, |info| info.key).ok().and_then(|at| APIS.get(at))
}
