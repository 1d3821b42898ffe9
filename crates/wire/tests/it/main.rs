//! Integration tests of the byte formats, one binary.

mod record_batch;
mod record_compression;
