//! Integration tests of the byte formats, one binary.

mod kafka_codecs;
mod kafka_hostile;
mod kafka_messages;
mod kafka_oracle;
mod kafka_primitives;
mod kafka_second_oracle;
mod record_batch;
mod record_compression;
mod remoting_frames;
mod remoting_headers;
mod remoting_types;
