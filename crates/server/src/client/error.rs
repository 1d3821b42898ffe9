//! Why a client call failed.

use duolog_wire::kafka::error_code::ErrorCode;
use duolog_wire::kafka::{DecodeError, EncodeError};
use duolog_wire::record::{BatchError, BuildError, RecordError};
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("nobody answers at {address}: {error} (is `duolog serve` running there?)")]
    Connect { address: String, error: io::Error },
    #[error("none of the bootstrap addresses is of the form HOST:PORT")]
    NoBootstrap,
    #[error("{address}: {error}")]
    Io { address: String, error: io::Error },
    #[error("{address} did not answer {api} within {seconds} s")]
    Timeout { address: String, api: &'static str, seconds: u64 },
    #[error("{address} sent {bytes} bytes as one answer; the limit is {limit}")]
    TooLarge { address: String, bytes: i64, limit: usize },
    #[error("{address} answered request {got} instead of {expected}")]
    Correlation { address: String, expected: i32, got: i32 },
    #[error("answer of {address} to {api}: {error}")]
    Decode { address: String, api: &'static str, error: DecodeError },
    #[error("request {api}: {error}")]
    Encode { api: &'static str, error: EncodeError },
    #[error("{address} serves no version of {api} that this client speaks")]
    Unsupported { address: String, api: &'static str },
    /// The server's own answer.
    #[error("{}: {}", subject, describe(code, message.as_deref()))]
    Refused { subject: String, code: ErrorCode, message: Option<String> },
    #[error("topic {topic} has no leader for partition {partition}")]
    NoLeader { topic: String, partition: i32 },
    #[error("topic {topic} was left out of the answer")]
    Incomplete { topic: String },
    #[error("node {node} is not part of the cluster")]
    NoNode { node: i32 },
    #[error("batch of {topic}-{partition}: {error}")]
    Build { topic: String, partition: i32, error: BuildError },
    #[error("{topic}-{partition} at offset {offset}: {error}")]
    Batch { topic: String, partition: i32, offset: i64, error: BatchFault },
    #[error("group {group}: the leader's assignment is malformed")]
    Assignment { group: String },
}

/// What is wrong with a batch that the server sent.
#[derive(Debug, thiserror::Error)]
pub enum BatchFault {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Decode(#[from] duolog_wire::record::DecodeError),
    #[error(transparent)]
    Record(#[from] RecordError),
}

fn describe(code: &ErrorCode, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{message} ({})", code.name()),
        _ => format!("{} ({})", code.message(), code.name()),
    }
}

impl ClientError {
    /// The server's code, if it is the server that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether another attempt, perhaps over a new connection, may succeed.
    pub fn is_passing(&self) -> bool {
        match self {
            // A node that is gone may lead for a moment longer.
            ClientError::Io { .. }
            | ClientError::Timeout { .. }
            | ClientError::NoLeader { .. }
            | ClientError::NoNode { .. }
            | ClientError::Connect { .. } => true,
            ClientError::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }
}

/// A code that Kafka has not defined is an unknown error.
pub(super) fn known(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}

/// Turns an error code of the server's into an error about `subject`.
pub(super) fn accept(code: i16, message: Option<&str>, subject: impl FnOnce() -> String) -> Result<(), ClientError> {
    match known(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::Refused { subject: subject(), code, message: message.map(str::to_owned) }),
    }
}
