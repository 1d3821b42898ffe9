//! RocketMQ 5's gRPC messages, and the service as a trait to implement and as a client for tests: generated from
//! `proto/messaging.proto`. A crate of its own, so that it is compiled once.

#![allow(clippy::doc_markdown, clippy::large_enum_variant)]

tonic::include_proto!("apache.rocketmq.v2");
