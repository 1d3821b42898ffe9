//! The matrix of APIs and versions for `docs/protocol-kafka.md`, from the table.

use crate::api;
use duolog_wire::kafka::api::Listener;
use duolog_wire::kafka::messages::api_keys::APIS;
use std::fmt::Write;

const INTRODUCTION: &str = "# Kafka requests and versions

Generated from the table of APIs. ApiVersions answers exactly what stands under *served*, with one exception: it names Produce
from version 0 on, because librdkafka looks for it (KAFKA-18659), and refuses 0 to 2 as Apache Kafka 4 does. A request that is
not served closes the connection, as an unknown one does in Kafka.

";

/// Every request that Kafka's brokers answer to clients, with the versions Kafka defines and those served here.
pub fn protocol_matrix() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("| key | request | Kafka 4.4 | served |\n|---|---|---|---|\n");
    for info in APIS.iter().filter(|info| info.listeners.contains(&Listener::Broker)) {
        let served = match api::find(info.key) {
            Some(api) => format!("{}-{}", api.min, api.max),
            None => "no".to_owned(),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| {} | {} | {}-{} | {served} |", info.key, info.name, info.min_version, info.max_version);
    }
    text
}
