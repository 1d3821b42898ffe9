//! RocketMQ's remoting protocol: frames with a JSON or binary header, the typed headers and JSON bodies of each request, and the
//! encoding of messages. No I/O and no state; everything from outside is checked and bounded.

pub mod batch;
pub mod message;
pub mod properties;
