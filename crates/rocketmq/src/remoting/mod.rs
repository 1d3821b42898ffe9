//! RocketMQ's remoting protocol: connections, the table of requests, and one file a request (or a family that shares its code).
//!
//! A request that is not in the table is answered with REQUEST_CODE_NOT_SUPPORTED. The name server's requests and the broker's are
//! in one table, and every listener serves all of it.

mod c011_pull;
mod c014_consumer_offsets;
mod c017_create_topic;
mod c029_queue_offsets;
mod c033_view_message;
mod c034_heartbeat;
mod c035_unregister;
mod c036_send_back;
mod c038_consumer_list;
mod c041_locks;
mod c046_check_client;
mod c105_route;
mod c206_topic_lists;
mod c222_reset_offset;
mod c307_ask_consumers;
mod c321_consume_queue;
mod c324_reply;
mod c400_assignment;
mod call;
mod connection;
mod output;
mod send;
mod unanswered;

pub use call::{Answer, Call, Refusal};
pub(crate) use connection::{Connection, ConnectionError, Shared};

use duolog_wire::remoting::code::{request, request_name, response};
use std::pin::Pin;

/// A handler at work.
type Handling = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>>;

/// A request that is served.
struct Request {
    code: i32,
    handle: fn(Call) -> Handling,
}

/// Every request that is served, by code.
const REQUESTS: &[Request] = &[
    Request { code: request::SEND_MESSAGE, handle: |call| Box::pin(send::handle(call)) },
    Request { code: request::PULL_MESSAGE, handle: |call| Box::pin(c011_pull::handle(call)) },
    Request { code: request::QUERY_CONSUMER_OFFSET, handle: |call| Box::pin(c014_consumer_offsets::query(call)) },
    Request { code: request::UPDATE_CONSUMER_OFFSET, handle: |call| Box::pin(c014_consumer_offsets::update(call)) },
    Request { code: request::UPDATE_AND_CREATE_TOPIC, handle: |call| Box::pin(c017_create_topic::handle(call)) },
    Request { code: request::SEARCH_OFFSET_BY_TIMESTAMP, handle: |call| Box::pin(c029_queue_offsets::search(call)) },
    Request { code: request::GET_MAX_OFFSET, handle: |call| Box::pin(c029_queue_offsets::max(call)) },
    Request { code: request::GET_MIN_OFFSET, handle: |call| Box::pin(c029_queue_offsets::min(call)) },
    Request { code: request::GET_EARLIEST_MSG_STORETIME, handle: |call| Box::pin(c029_queue_offsets::earliest_time(call)) },
    Request { code: request::VIEW_MESSAGE_BY_ID, handle: |call| Box::pin(c033_view_message::handle(call)) },
    Request { code: request::HEART_BEAT, handle: |call| Box::pin(c034_heartbeat::handle(call)) },
    Request { code: request::UNREGISTER_CLIENT, handle: |call| Box::pin(c035_unregister::handle(call)) },
    Request { code: request::CONSUMER_SEND_MSG_BACK, handle: |call| Box::pin(c036_send_back::handle(call)) },
    Request { code: request::GET_CONSUMER_LIST_BY_GROUP, handle: |call| Box::pin(c038_consumer_list::handle(call)) },
    Request { code: request::LOCK_BATCH_MQ, handle: |call| Box::pin(c041_locks::lock(call)) },
    Request { code: request::UNLOCK_BATCH_MQ, handle: |call| Box::pin(c041_locks::unlock(call)) },
    Request { code: request::CHECK_CLIENT_CONFIG, handle: |call| Box::pin(c046_check_client::handle(call)) },
    Request { code: request::GET_ROUTEINFO_BY_TOPIC, handle: |call| Box::pin(c105_route::topic(call)) },
    Request { code: request::GET_BROKER_CLUSTER_INFO, handle: |call| Box::pin(c105_route::cluster(call)) },
    Request { code: request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, handle: |call| Box::pin(c206_topic_lists::all(call)) },
    Request { code: request::INVOKE_BROKER_TO_RESET_OFFSET, handle: |call| Box::pin(c222_reset_offset::handle(call)) },
    Request { code: request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, handle: |call| Box::pin(c307_ask_consumers::status(call)) },
    Request { code: request::GET_TOPICS_BY_CLUSTER, handle: |call| Box::pin(c206_topic_lists::by_cluster(call)) },
    Request { code: request::GET_SYSTEM_TOPIC_LIST_FROM_NS, handle: |call| Box::pin(c206_topic_lists::system(call)) },
    Request { code: request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, handle: |call| Box::pin(c206_topic_lists::system(call)) },
    Request { code: request::GET_CONSUMER_RUNNING_INFO, handle: |call| Box::pin(c307_ask_consumers::running_info(call)) },
    Request { code: request::CONSUME_MESSAGE_DIRECTLY, handle: |call| Box::pin(c307_ask_consumers::consume_directly(call)) },
    Request { code: request::SEND_MESSAGE_V2, handle: |call| Box::pin(send::handle(call)) },
    Request { code: request::SEND_BATCH_MESSAGE, handle: |call| Box::pin(send::handle(call)) },
    Request { code: request::QUERY_CONSUME_QUEUE, handle: |call| Box::pin(c321_consume_queue::handle(call)) },
    Request { code: request::SEND_REPLY_MESSAGE, handle: |call| Box::pin(c324_reply::handle(call)) },
    Request { code: request::SEND_REPLY_MESSAGE_V2, handle: |call| Box::pin(c324_reply::handle(call)) },
    Request { code: request::LITE_PULL_MESSAGE, handle: |call| Box::pin(c011_pull::handle(call)) },
    Request { code: request::QUERY_ASSIGNMENT, handle: |call| Box::pin(c400_assignment::query(call)) },
    Request { code: request::SET_MESSAGE_REQUEST_MODE, handle: |call| Box::pin(c400_assignment::set_mode(call)) },
    Request { code: request::GET_ALL_MESSAGE_REQUEST_MODE, handle: |call| Box::pin(c400_assignment::modes(call)) },
];

/// Begins to answer a request.
fn handle(call: Call) -> Handling {
    let code = call.command.code;
    match REQUESTS.binary_search_by_key(&code, |request| request.code) {
        Ok(at) => (REQUESTS[at].handle)(call),
        Err(_) => Box::pin(std::future::ready(Err(not_served(code)))),
    }
}

pub(crate) fn is_served(code: i32) -> bool {
    REQUESTS.binary_search_by_key(&code, |request| request.code).is_ok()
}

fn not_served(code: i32) -> Refusal {
    let name = request_name(code).unwrap_or("unknown");
    Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, format!("request {code} ({name}) is not served"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_its_codes_have_names() {
        assert!(REQUESTS.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(REQUESTS.iter().all(|request| request_name(request.code).is_some()));
    }
}
