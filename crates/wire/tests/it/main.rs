//! Integration tests of the byte formats, one binary.

mod kafka_codecs;
mod kafka_oracle;
mod record_batch;
mod record_compression;
