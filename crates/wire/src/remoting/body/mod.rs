//! The JSON bodies of requests and answers, one struct each, by RocketMQ's names.
//!
//! What Java's clients write is not always JSON: keys of maps may be objects or bare numbers. Reading takes that, as well as
//! `null` for what is absent, keys nobody knows, and numbers for names. Writing gives the same object keys, since that is what
//! clients parse, but quotes every number that is a key.

mod auth;
mod client;
mod config;
mod names;
mod object_map;
mod pop;
mod queue;
mod route;
mod standard;
mod stats;

pub use auth::*;
pub use client::*;
pub use config::*;
pub use names::*;
pub use object_map::ObjectMap;
pub use pop::*;
pub use queue::*;
pub use route::*;
pub use stats::*;

use super::json::JsonError;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// A body of JSON at most, in bytes: what a frame may be by default.
pub const BODY_BYTES_LIMIT: usize = 16 << 20;
/// Values in a body at most, which bounds what reading it takes to some hundred bytes each.
pub const BODY_VALUES_LIMIT: usize = 1 << 18;

/// Why bytes are not the body that a request needs.
#[derive(Debug, Error)]
pub enum BodyError {
    #[error("a body of {bytes} bytes, where {limit} are allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("more than {limit} values")]
    TooManyValues { limit: usize },
    #[error("text that is not UTF-8 at byte {at}")]
    Utf8 { at: usize },
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("a value of another kind: {0}")]
    Kind(#[from] serde_json::Error),
}

/// Reads a body.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    if body.len() > BODY_BYTES_LIMIT {
        return Err(BodyError::TooLarge { bytes: body.len(), limit: BODY_BYTES_LIMIT });
    }
    let text = std::str::from_utf8(body).map_err(|error| BodyError::Utf8 { at: error.valid_up_to() })?;
    Ok(serde_json::from_str(&standard::standard(text)?)?)
}

/// Writes a body.
pub fn to_json<T: Serialize>(body: &T) -> Bytes {
    object_map::render(body).into()
}

#[cfg(test)]
mod tests;
