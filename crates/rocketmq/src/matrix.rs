//! The matrix of requests for `docs/protocol-rocketmq.md`, from the table.

use crate::remoting::is_served;
use duolog_wire::remoting::code::{request, request_name};
use std::fmt::Write;
use std::ops::RangeInclusive;

const INTRODUCTION: &str = "# RocketMQ requests

Generated from the table of remoting requests. Name server and broker answer the same requests at every listener, in the form of
header (JSON or binary) that the request has. A request that is not served is answered with code 3 (REQUEST_CODE_NOT_SUPPORTED) and
the reason that stands here.

";

/// Where the codes of requests lie.
const CODES: [RangeInclusive<i32>; 2] = [0..=9_999, 200_000..=200_999];

/// Every request that has a name in some release of RocketMQ, and whether it is served.
pub fn protocol_matrix() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("| code | request | served |\n|---|---|---|\n");
    for code in CODES.into_iter().flatten() {
        let Some(name) = request_name(code) else { continue };
        let served = if is_served(code) { how_served(code).unwrap_or("yes") } else { &format!("no: {}", why_not(code)) };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| {code} | {name} | {served} |");
    }
    text
}

/// Where a request is served otherwise than by the original.
fn how_served(code: i32) -> Option<&'static str> {
    Some(match code {
        request::UPDATE_AND_CREATE_TOPIC | request::UPDATE_AND_CREATE_TOPIC_LIST => {
            "yes: as many queues to write as to read, never fewer than before; attributes `message.type` and `cleanup.policy`"
        }
        request::UPDATE_BROKER_CONFIG => "yes: keys of docs/config.md that can change at run time; 16 for all others",
        request::GET_BROKER_CONFIG | request::GET_NAMESRV_CONFIG => "yes: the keys of docs/config.md",
        request::UPDATE_NAMESRV_CONFIG => "yes: 16 for every key, since none can change",
        request::CLEAN_EXPIRED_CONSUMEQUEUE | request::CLEAN_UNUSED_TOPIC => "yes: there is never anything left to clean",
        request::TRIGGER_DELETE_FILES | request::DELETE_EXPIRED_COMMITLOG => "yes: gives up what is past its retention",
        request::DELETE_TOPIC_IN_NAMESRV => "yes: for a topic that is gone; routes follow from the topics",
        request::UPDATE_AND_GET_GROUP_FORBIDDEN => "yes: says that nothing is forbidden; 3 to forbid",
        request::VIEW_BROKER_STATS_DATA => "yes: 1 for all of them, since none are kept by topic or group",
        request::END_TRANSACTION => "yes: a transaction that is over is no error; 1 for another group's",
        request::INVOKE_BROKER_TO_RESET_OFFSET => "yes: stored by the server, which holds members to it",
        request::QUERY_ASSIGNMENT => "yes: strategies `AVG` and `AVG_BY_CIRCLE`",
        request::POP_MESSAGE => "yes: a message that was not acknowledged comes again from its own queue",
        request::ACK_MESSAGE | request::CHANGE_MESSAGE_INVISIBLETIME => "yes: 208 when the message was delivered again meanwhile",
        request::BATCH_ACK_MESSAGE => "yes: 208 when none of the messages waits for it any more",
        request::POLLING_INFO => "yes: requests that are held by the node that is asked",
        _ => return None,
    })
}

/// Why a request is not served, for people.
pub(crate) fn why_not(code: i32) -> &'static str {
    match code {
        request::NOTIFY_CONSUMER_IDS_CHANGED
        | request::CHECK_TRANSACTION_STATE
        | request::RESET_CONSUMER_CLIENT_OFFSET
        | request::GET_CONSUMER_STATUS_FROM_CLIENT
        | request::PUSH_REPLY_MESSAGE_TO_CLIENT
        | request::NOTIFY_UNSUBSCRIBE_LITE => "servers send it to clients",
        request::REGISTER_BROKER
        | request::UNREGISTER_BROKER
        | request::QUERY_DATA_VERSION
        | request::REGISTER_TOPIC_IN_NAMESRV
        | request::GET_ALL_CONSUMER_OFFSET
        | request::GET_ALL_DELAY_OFFSET
        | 901..=908
        | 1001..=1013 => "between brokers, name servers and controllers of the original",
        request::REGISTER_FILTER_SERVER | request::REGISTER_MESSAGE_FILTER_CLASS => "runs code of clients on the server",
        request::CHECK_ROCKSDB_CQ_WRITE_PROGRESS | request::EXPORT_ROCKSDB_CONFIG_TO_JSON | 2001..=2004 => {
            "about files that are not there"
        }
        request::UPDATE_AND_CREATE_STATIC_TOPIC => "queues are not moved between brokers by tools",
        request::GET_UNIT_TOPIC_LIST | request::GET_HAS_UNIT_SUB_TOPIC_LIST | request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
            "there are no units"
        }
        request::QUERY_BROKER_OFFSET
        | request::GET_TOPIC_CONFIG_LIST
        | request::GET_TOPIC_NAME_LIST
        | request::GET_CLIENT_CONFIG
        | 209..=214 => "no client sends it any more",
        request::AUTH_CREATE_USER..=request::AUTH_LIST_ACL => "there are no users and rights yet",
        request::GET_TIMER_CHECK_POINT | request::GET_TIMER_METRICS => "timers are not kept in files of their own",
        request::RESUME_CHECK_HALF_MESSAGE => "what is in TRANS_CHECK_MAX_TIME_TOPIC stays there",
        request::POP_ROLLBACK => "no client sends it",
        request::POP_LITE_MESSAGE => "there are no lite topics yet",
        _ => "not yet",
    }
}
