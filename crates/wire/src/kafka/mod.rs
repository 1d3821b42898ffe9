//! Kafka's protocol as bytes: requests, responses and coordinator records, at every version of Kafka 4.4.
//!
//! [`messages`] is generated from Kafka's own descriptors; what it stands on ([`Decoder`], [`Encoder`]) and what
//! frames it ([`frame`]) is written by hand. Decoded messages borrow from the frame they came from. Nothing here
//! panics on bytes from a peer. The Kafka front end and the coordinators call it.

pub mod api;
mod decoder;
mod encoder;
pub mod error_code;
pub mod frame;
pub mod messages;

pub use decoder::{DecodeError, Decoder, MEMORY_FREE_BYTES, MEMORY_RATIO, RESPONSE_MEMORY_RATIO};
pub use encoder::{Cut, EncodeError, Encoder};
pub(crate) use encoder::{required, unsupported};
pub use error_code::ErrorCode;

/// The value of a field that holds record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records<'a> {
    /// The batches themselves. Decoding always gives this; encoding copies them.
    Borrowed(&'a [u8]),
    /// So many bytes that the caller sends itself at the place an encoder's [`Cut`] names.
    External(usize),
}

impl<'a> Records<'a> {
    /// The batches, if they are here; decoded records always are.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Records::Borrowed(bytes) => Some(bytes),
            Records::External(_) => None,
        }
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        match self {
            Records::Borrowed(bytes) => bytes.len(),
            Records::External(size) => *size,
        }
    }
}
