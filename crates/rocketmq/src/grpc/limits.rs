//! What gRPC clients may take up: every bound by name.

use std::time::Duration;

/// Largest request, in bytes; `socket.request.max.bytes` holds, too.
pub(super) const REQUEST_BYTES: usize = 16 << 20;
/// Largest answer, in bytes: one message and its properties.
pub(super) const ANSWER_BYTES: usize = 64 << 20;
/// Requests of one connection at a time; a consumer has one receive for each of its assignments open.
pub(super) const STREAMS: u32 = 1024;
/// Bytes of one HTTP/2 frame.
pub(super) const FRAME_BYTES: u32 = 1 << 20;
/// Bytes of a request's metadata.
pub(super) const METADATA_BYTES: u32 = 16 << 10;
/// Bytes that are sent ahead of the reader's leave, on one stream and on the connection.
pub(super) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Bytes of answers that wait to be sent, on one stream.
pub(super) const SEND_BUFFER_BYTES: usize = 1 << 20;
/// How often a silent connection is asked whether it is there, and how long it may take to say so.
pub(super) const PING_PERIOD: Duration = Duration::from_secs(60);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the beginning of a connection, and its TLS handshake, may take.
pub(super) const OPENING: Duration = Duration::from_secs(10);

/// Clients that have said what they are.
pub(super) const CLIENTS: usize = 100_000;
/// Topics that one client publishes, or subscriptions that it has.
pub(super) const TOPICS_OF_CLIENT: usize = 4096;
/// Properties that a client's settings may have, and the length of its id, in bytes.
pub(super) const CLIENT_PROPERTIES: usize = 256;
pub(super) const CLIENT_ID_BYTES: usize = 1024;
/// Commands that wait to be sent to one client.
pub(super) const COMMANDS: usize = 16;

/// Messages of one send, of one receive and of one pull.
pub(super) const SENT_MESSAGES: usize = 1024;
pub(super) const RECEIVED_MESSAGES: usize = 32;
pub(super) const PULLED_MESSAGES: usize = 1024;
/// Acknowledgements of one request.
pub(super) const ACKNOWLEDGED: usize = 4096;
/// User properties of one message, and the bytes of all of them.
pub(super) const USER_PROPERTIES: usize = 128;
pub(super) const USER_PROPERTIES_BYTES: usize = 16 << 10;
/// Bytes of a message group.
pub(super) const MESSAGE_GROUP_BYTES: usize = 64;

/// How long a message must be hidden from the others of its group when it is received.
pub(super) const LEAST_HIDDEN: Duration = Duration::from_secs(10);
/// How long a receive or pull is held at most, and if the client does not say.
pub(super) const MOST_POLLING: Duration = Duration::from_secs(60);
pub(super) const POLLING: Duration = Duration::from_secs(20);
/// Kept of a request's deadline for the way back.
pub(super) const DEADLINE_RESERVE: Duration = Duration::from_millis(500);
