//! RocketMQ's remoting protocol: frames with a JSON or binary header, the typed headers and JSON bodies of each request, and the
//! encoding of messages. No I/O and no state; everything from outside is checked and bounded.

pub mod batch;
pub mod body;
pub mod body_compression;
pub mod checkpoint;
pub mod code;
mod fields;
mod frame;
pub mod header;
mod json;
pub mod language;
pub mod message;
pub mod message_id;
pub mod properties;

pub use fields::Fields;
pub use frame::{
    Command, FIELDS_LIMIT, FLAG_ONE_WAY, FLAG_RESPONSE, FrameError, HEADER_BYTES_LIMIT, HeaderForm, LENGTH_BYTES,
    NAME_BYTES_LIMIT, SERVER_VERSION, frame_length,
};
pub use json::{JSON_DEPTH_LIMIT, JsonError};
