//! RocketMQ's remoting protocol: connections, the table of requests, and one file a request (or a family that shares its code).
//!
//! A request that is not in the table is answered with REQUEST_CODE_NOT_SUPPORTED. The name server's requests and the broker's are
//! in one table, and every listener serves all of it.

mod admin;
mod c011_pull;
mod c012_query_message;
mod c014_consumer_offsets;
mod c017_topics;
mod c025_configs;
mod c028_runtime;
mod c029_queue_offsets;
mod c033_view_message;
mod c034_heartbeat;
mod c035_unregister;
mod c036_send_back;
mod c037_end_transaction;
mod c038_consumer_list;
mod c041_locks;
mod c046_check_client;
mod c100_key_values;
mod c105_route;
mod c200050_pop;
mod c200051_acknowledge;
mod c200052_peek;
mod c200053_invisible_time;
mod c200054_notification;
mod c200_groups;
mod c203_connections;
mod c205_write_permission;
mod c206_topic_lists;
mod c208_stats;
mod c222_reset_offset;
mod c300_lookups;
mod c306_clean_ups;
mod c307_ask_consumers;
mod c314_clone_offsets;
mod c321_consume_queue;
mod c324_reply;
mod c370_recall;
mod c400_assignment;
mod call;
mod concerns;
mod connection;
mod output;
mod pop;
mod send;
mod unanswered;

pub(crate) use c011_pull::complete as complete_pull;
pub(crate) use c203_connections::producers_here;
pub(crate) use call::encoded;
pub use call::{Answer, Call, Refusal};
pub(crate) use concerns::{Concern, QueueOf, concern};
pub(crate) use connection::{Connection, ConnectionError, Shared};
pub(crate) use send::{is_send, send_target, store_all};
pub(crate) use unanswered::{Held, Waiting};

use crate::cluster::carry;
use crate::matrix::why_not;
use duolog_wire::remoting::code::{request, request_name, response};
use std::pin::Pin;

/// A handler at work.
pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>>;

/// Begins to answer a request at this node.
pub(crate) type Handler = fn(Call) -> Handling;

/// A request that is served.
struct Request {
    code: i32,
    handle: Handler,
}

/// Every request that is served, by code.
const REQUESTS: &[Request] = &[
    Request { code: request::SEND_MESSAGE, handle: |call| Box::pin(send::handle(call)) },
    Request { code: request::PULL_MESSAGE, handle: |call| Box::pin(c011_pull::handle(call)) },
    Request { code: request::QUERY_MESSAGE, handle: |call| Box::pin(c012_query_message::handle(call)) },
    Request { code: request::QUERY_CONSUMER_OFFSET, handle: |call| Box::pin(c014_consumer_offsets::query(call)) },
    Request { code: request::UPDATE_CONSUMER_OFFSET, handle: |call| Box::pin(c014_consumer_offsets::update(call)) },
    Request { code: request::UPDATE_AND_CREATE_TOPIC, handle: |call| Box::pin(c017_topics::update(call)) },
    Request { code: request::UPDATE_AND_CREATE_TOPIC_LIST, handle: |call| Box::pin(c017_topics::update_list(call)) },
    Request { code: request::GET_ALL_TOPIC_CONFIG, handle: |call| Box::pin(c017_topics::all(call)) },
    Request { code: request::UPDATE_BROKER_CONFIG, handle: |call| Box::pin(c025_configs::update(call)) },
    Request { code: request::GET_BROKER_CONFIG, handle: |call| Box::pin(c025_configs::get(call)) },
    Request { code: request::TRIGGER_DELETE_FILES, handle: |call| Box::pin(c306_clean_ups::retain(call)) },
    Request { code: request::GET_BROKER_RUNTIME_INFO, handle: |call| Box::pin(c028_runtime::handle(call)) },
    Request { code: request::SEARCH_OFFSET_BY_TIMESTAMP, handle: |call| Box::pin(c029_queue_offsets::search(call)) },
    Request { code: request::GET_MAX_OFFSET, handle: |call| Box::pin(c029_queue_offsets::max(call)) },
    Request { code: request::GET_MIN_OFFSET, handle: |call| Box::pin(c029_queue_offsets::min(call)) },
    Request { code: request::GET_EARLIEST_MSG_STORETIME, handle: |call| Box::pin(c029_queue_offsets::earliest_time(call)) },
    Request { code: request::VIEW_MESSAGE_BY_ID, handle: |call| Box::pin(c033_view_message::handle(call)) },
    Request { code: request::HEART_BEAT, handle: |call| Box::pin(c034_heartbeat::handle(call)) },
    Request { code: request::UNREGISTER_CLIENT, handle: |call| Box::pin(c035_unregister::handle(call)) },
    Request { code: request::CONSUMER_SEND_MSG_BACK, handle: |call| Box::pin(c036_send_back::handle(call)) },
    Request { code: request::END_TRANSACTION, handle: |call| Box::pin(c037_end_transaction::handle(call)) },
    Request { code: request::GET_CONSUMER_LIST_BY_GROUP, handle: |call| Box::pin(c038_consumer_list::handle(call)) },
    Request { code: request::LOCK_BATCH_MQ, handle: |call| Box::pin(c041_locks::lock(call)) },
    Request { code: request::UNLOCK_BATCH_MQ, handle: |call| Box::pin(c041_locks::unlock(call)) },
    Request { code: request::CHECK_CLIENT_CONFIG, handle: |call| Box::pin(c046_check_client::handle(call)) },
    Request { code: request::PUT_KV_CONFIG, handle: |call| Box::pin(c100_key_values::put(call)) },
    Request { code: request::GET_KV_CONFIG, handle: |call| Box::pin(c100_key_values::get(call)) },
    Request { code: request::DELETE_KV_CONFIG, handle: |call| Box::pin(c100_key_values::delete(call)) },
    Request { code: request::GET_ROUTEINFO_BY_TOPIC, handle: |call| Box::pin(c105_route::topic(call)) },
    Request { code: request::GET_BROKER_CLUSTER_INFO, handle: |call| Box::pin(c105_route::cluster(call)) },
    Request { code: request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, handle: |call| Box::pin(c200_groups::update(call)) },
    Request { code: request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, handle: |call| Box::pin(c200_groups::all(call)) },
    Request { code: request::GET_TOPIC_STATS_INFO, handle: |call| Box::pin(c208_stats::topic(call)) },
    Request { code: request::GET_CONSUMER_CONNECTION_LIST, handle: |call| Box::pin(c203_connections::consumers(call)) },
    Request { code: request::GET_PRODUCER_CONNECTION_LIST, handle: |call| Box::pin(c203_connections::producers(call)) },
    Request { code: request::WIPE_WRITE_PERM_OF_BROKER, handle: |call| Box::pin(c205_write_permission::wipe(call)) },
    Request { code: request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, handle: |call| Box::pin(c206_topic_lists::all(call)) },
    Request { code: request::DELETE_SUBSCRIPTIONGROUP, handle: |call| Box::pin(c200_groups::delete(call)) },
    Request { code: request::GET_CONSUME_STATS, handle: |call| Box::pin(c208_stats::group(call)) },
    Request { code: request::DELETE_TOPIC_IN_BROKER, handle: |call| Box::pin(c017_topics::delete(call)) },
    Request { code: request::DELETE_TOPIC_IN_NAMESRV, handle: |call| Box::pin(c017_topics::delete_in_name_server(call)) },
    Request { code: request::GET_KVLIST_BY_NAMESPACE, handle: |call| Box::pin(c100_key_values::list(call)) },
    Request { code: request::INVOKE_BROKER_TO_RESET_OFFSET, handle: |call| Box::pin(c222_reset_offset::handle(call)) },
    Request { code: request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, handle: |call| Box::pin(c307_ask_consumers::status(call)) },
    Request { code: request::GET_TOPICS_BY_CLUSTER, handle: |call| Box::pin(c206_topic_lists::by_cluster(call)) },
    Request { code: request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, handle: |call| Box::pin(c200_groups::update_list(call)) },
    Request { code: request::QUERY_TOPIC_CONSUME_BY_WHO, handle: |call| Box::pin(c300_lookups::groups_of_topic(call)) },
    Request { code: request::QUERY_CONSUME_TIME_SPAN, handle: |call| Box::pin(c208_stats::time_span(call)) },
    Request { code: request::GET_SYSTEM_TOPIC_LIST_FROM_NS, handle: |call| Box::pin(c206_topic_lists::system(call)) },
    Request { code: request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, handle: |call| Box::pin(c206_topic_lists::system(call)) },
    Request { code: request::CLEAN_EXPIRED_CONSUMEQUEUE, handle: |call| Box::pin(c306_clean_ups::nothing_to_do(call)) },
    Request { code: request::GET_CONSUMER_RUNNING_INFO, handle: |call| Box::pin(c307_ask_consumers::running_info(call)) },
    Request { code: request::QUERY_CORRECTION_OFFSET, handle: |call| Box::pin(c300_lookups::correction(call)) },
    Request { code: request::CONSUME_MESSAGE_DIRECTLY, handle: |call| Box::pin(c307_ask_consumers::consume_directly(call)) },
    Request { code: request::SEND_MESSAGE_V2, handle: |call| Box::pin(send::handle(call)) },
    Request { code: request::CLONE_GROUP_OFFSET, handle: |call| Box::pin(c314_clone_offsets::handle(call)) },
    Request { code: request::VIEW_BROKER_STATS_DATA, handle: |call| Box::pin(c208_stats::statistics(call)) },
    Request { code: request::CLEAN_UNUSED_TOPIC, handle: |call| Box::pin(c306_clean_ups::nothing_to_do(call)) },
    Request { code: request::GET_BROKER_CONSUME_STATS, handle: |call| Box::pin(c208_stats::all_groups(call)) },
    Request { code: request::UPDATE_NAMESRV_CONFIG, handle: |call| Box::pin(c025_configs::update_name_server(call)) },
    Request { code: request::GET_NAMESRV_CONFIG, handle: |call| Box::pin(c025_configs::get(call)) },
    Request { code: request::SEND_BATCH_MESSAGE, handle: |call| Box::pin(send::handle(call)) },
    Request { code: request::QUERY_CONSUME_QUEUE, handle: |call| Box::pin(c321_consume_queue::handle(call)) },
    Request { code: request::SEND_REPLY_MESSAGE, handle: |call| Box::pin(c324_reply::handle(call)) },
    Request { code: request::SEND_REPLY_MESSAGE_V2, handle: |call| Box::pin(c324_reply::handle(call)) },
    Request { code: request::ADD_WRITE_PERM_OF_BROKER, handle: |call| Box::pin(c205_write_permission::add(call)) },
    Request { code: request::GET_ALL_PRODUCER_INFO, handle: |call| Box::pin(c203_connections::all_producers(call)) },
    Request { code: request::DELETE_EXPIRED_COMMITLOG, handle: |call| Box::pin(c306_clean_ups::retain(call)) },
    Request { code: request::QUERY_TOPICS_BY_CONSUMER, handle: |call| Box::pin(c300_lookups::topics_of_group(call)) },
    Request { code: request::QUERY_SUBSCRIPTION_BY_CONSUMER, handle: |call| Box::pin(c300_lookups::subscription(call)) },
    Request { code: request::GET_TOPIC_CONFIG, handle: |call| Box::pin(c017_topics::get(call)) },
    Request { code: request::GET_SUBSCRIPTIONGROUP_CONFIG, handle: |call| Box::pin(c200_groups::get(call)) },
    Request { code: request::UPDATE_AND_GET_GROUP_FORBIDDEN, handle: |call| Box::pin(c200_groups::forbidden(call)) },
    Request { code: request::LITE_PULL_MESSAGE, handle: |call| Box::pin(c011_pull::handle(call)) },
    Request { code: request::RECALL_MESSAGE, handle: |call| Box::pin(c370_recall::handle(call)) },
    Request { code: request::QUERY_ASSIGNMENT, handle: |call| Box::pin(c400_assignment::query(call)) },
    Request { code: request::SET_MESSAGE_REQUEST_MODE, handle: |call| Box::pin(c400_assignment::set_mode(call)) },
    Request { code: request::GET_ALL_MESSAGE_REQUEST_MODE, handle: |call| Box::pin(c400_assignment::modes(call)) },
    Request { code: request::GET_BROKER_HA_STATUS, handle: |call| Box::pin(c028_runtime::copies(call)) },
    Request { code: request::POP_MESSAGE, handle: |call| Box::pin(c200050_pop::handle(call)) },
    Request { code: request::ACK_MESSAGE, handle: |call| Box::pin(c200051_acknowledge::handle(call)) },
    Request { code: request::PEEK_MESSAGE, handle: |call| Box::pin(c200052_peek::handle(call)) },
    Request { code: request::CHANGE_MESSAGE_INVISIBLETIME, handle: |call| Box::pin(c200053_invisible_time::handle(call)) },
    Request { code: request::NOTIFICATION, handle: |call| Box::pin(c200054_notification::handle(call)) },
    Request { code: request::POLLING_INFO, handle: |call| Box::pin(c200054_notification::held(call)) },
    Request { code: request::BATCH_ACK_MESSAGE, handle: |call| Box::pin(c200051_acknowledge::batch(call)) },
];

/// Begins to answer a client of this node, wherever the request is done.
fn answer(call: Call) -> Handling {
    match call.node.cluster {
        Some(_) => Box::pin(carry(call, handle)),
        None => handle(call),
    }
}

/// Begins to answer a request at this node.
pub(crate) fn handle(call: Call) -> Handling {
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
    Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, format!("request {code} ({name}) is not served: {}", why_not(code)))
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
