//! What nodes say to each other about RocketMQ's clients as the fuzz targets reach it. Not part of the interface.

use bytes::Bytes;

/// The bytes as each call between nodes, and each answer to one, that they are; written again.
pub fn recode_calls(bytes: &[u8]) -> Vec<Bytes> {
    crate::cluster::recode_calls(bytes)
}
