//! The matrix of requests for `docs/protocol-rocketmq.md`, from the table.

use crate::remoting::is_served;
use duolog_wire::remoting::code::{request, request_name};
use std::fmt::Write;
use std::ops::RangeInclusive;

const INTRODUCTION: &str = "# RocketMQ requests

Generated from the table of remoting requests. Name server and broker answer the same requests at every listener, in the form of
header (JSON or binary) that the request has. A request that is not served is answered with code 3 (REQUEST_CODE_NOT_SUPPORTED) and
a remark that names it.

";

/// Where the codes of requests lie.
const CODES: [RangeInclusive<i32>; 2] = [0..=9_999, 200_000..=200_999];

/// Every request that has a name in some release of RocketMQ, and whether it is served.
pub fn protocol_matrix() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("| code | request | served |\n|---|---|---|\n");
    for code in CODES.into_iter().flatten() {
        let Some(name) = request_name(code) else { continue };
        let served = if is_served(code) { "yes" } else { why_not(code) };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| {code} | {name} | {served} |");
    }
    text
}

fn why_not(code: i32) -> &'static str {
    match code {
        request::NOTIFY_CONSUMER_IDS_CHANGED => "sent by the server",
        request::CHECK_TRANSACTION_STATE
        | request::RESET_CONSUMER_CLIENT_OFFSET
        | request::GET_CONSUMER_STATUS_FROM_CLIENT
        | request::PUSH_REPLY_MESSAGE_TO_CLIENT
        | request::NOTIFY_UNSUBSCRIBE_LITE => "no: a client's request to answer",
        request::REGISTER_BROKER
        | request::UNREGISTER_BROKER
        | request::QUERY_DATA_VERSION
        | request::REGISTER_TOPIC_IN_NAMESRV
        | 901..=908
        | 1001..=1013 => "no: between RocketMQ's own brokers, name servers and controllers",
        request::REGISTER_FILTER_SERVER | request::REGISTER_MESSAGE_FILTER_CLASS => "no: runs code of clients on the server",
        request::CHECK_ROCKSDB_CQ_WRITE_PROGRESS | request::EXPORT_ROCKSDB_CONFIG_TO_JSON | 2001..=2004 => {
            "no: about files that are not there"
        }
        _ => "no",
    }
}
