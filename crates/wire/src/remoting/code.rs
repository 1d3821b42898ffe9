//! The numbers of requests and of outcomes, under the names that RocketMQ's own documents and tools use.

/// What a request asks for. What a server answers is the front end's table.
pub mod request {
    pub const SEND_MESSAGE: i32 = 10;
    pub const PULL_MESSAGE: i32 = 11;
    pub const QUERY_MESSAGE: i32 = 12;
    pub const QUERY_BROKER_OFFSET: i32 = 13;
    pub const QUERY_CONSUMER_OFFSET: i32 = 14;
    pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
    pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
    pub const UPDATE_AND_CREATE_TOPIC_LIST: i32 = 18;
    pub const GET_ALL_TOPIC_CONFIG: i32 = 21;
    pub const GET_TOPIC_CONFIG_LIST: i32 = 22;
    pub const GET_TOPIC_NAME_LIST: i32 = 23;
    pub const UPDATE_BROKER_CONFIG: i32 = 25;
    pub const GET_BROKER_CONFIG: i32 = 26;
    pub const TRIGGER_DELETE_FILES: i32 = 27;
    pub const GET_BROKER_RUNTIME_INFO: i32 = 28;
    pub const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
    pub const GET_MAX_OFFSET: i32 = 30;
    pub const GET_MIN_OFFSET: i32 = 31;
    pub const GET_EARLIEST_MSG_STORETIME: i32 = 32;
    pub const VIEW_MESSAGE_BY_ID: i32 = 33;
    pub const HEART_BEAT: i32 = 34;
    pub const UNREGISTER_CLIENT: i32 = 35;
    pub const CONSUMER_SEND_MSG_BACK: i32 = 36;
    pub const END_TRANSACTION: i32 = 37;
    pub const GET_CONSUMER_LIST_BY_GROUP: i32 = 38;
    pub const CHECK_TRANSACTION_STATE: i32 = 39;
    pub const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;
    pub const LOCK_BATCH_MQ: i32 = 41;
    pub const UNLOCK_BATCH_MQ: i32 = 42;
    pub const GET_ALL_CONSUMER_OFFSET: i32 = 43;
    pub const GET_ALL_DELAY_OFFSET: i32 = 45;
    pub const CHECK_CLIENT_CONFIG: i32 = 46;
    pub const GET_CLIENT_CONFIG: i32 = 47;
    pub const GET_TIMER_CHECK_POINT: i32 = 60;
    pub const GET_TIMER_METRICS: i32 = 61;
    pub const PUT_KV_CONFIG: i32 = 100;
    pub const GET_KV_CONFIG: i32 = 101;
    pub const DELETE_KV_CONFIG: i32 = 102;
    pub const REGISTER_BROKER: i32 = 103;
    pub const UNREGISTER_BROKER: i32 = 104;
    pub const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
    pub const GET_BROKER_CLUSTER_INFO: i32 = 106;
    pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
    pub const GET_ALL_SUBSCRIPTIONGROUP_CONFIG: i32 = 201;
    pub const GET_TOPIC_STATS_INFO: i32 = 202;
    pub const GET_CONSUMER_CONNECTION_LIST: i32 = 203;
    pub const GET_PRODUCER_CONNECTION_LIST: i32 = 204;
    pub const WIPE_WRITE_PERM_OF_BROKER: i32 = 205;
    pub const GET_ALL_TOPIC_LIST_FROM_NAMESERVER: i32 = 206;
    pub const DELETE_SUBSCRIPTIONGROUP: i32 = 207;
    pub const GET_CONSUME_STATS: i32 = 208;
    pub const SUSPEND_CONSUMER: i32 = 209;
    pub const RESUME_CONSUMER: i32 = 210;
    pub const RESET_CONSUMER_OFFSET_IN_CONSUMER: i32 = 211;
    pub const RESET_CONSUMER_OFFSET_IN_BROKER: i32 = 212;
    pub const ADJUST_CONSUMER_THREAD_POOL: i32 = 213;
    pub const WHO_CONSUME_THE_MESSAGE: i32 = 214;
    pub const DELETE_TOPIC_IN_BROKER: i32 = 215;
    pub const DELETE_TOPIC_IN_NAMESRV: i32 = 216;
    pub const REGISTER_TOPIC_IN_NAMESRV: i32 = 217;
    pub const GET_KVLIST_BY_NAMESPACE: i32 = 219;
    pub const RESET_CONSUMER_CLIENT_OFFSET: i32 = 220;
    pub const GET_CONSUMER_STATUS_FROM_CLIENT: i32 = 221;
    pub const INVOKE_BROKER_TO_RESET_OFFSET: i32 = 222;
    pub const INVOKE_BROKER_TO_GET_CONSUMER_STATUS: i32 = 223;
    pub const GET_TOPICS_BY_CLUSTER: i32 = 224;
    pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: i32 = 225;
    pub const QUERY_TOPIC_CONSUME_BY_WHO: i32 = 300;
    pub const REGISTER_FILTER_SERVER: i32 = 301;
    pub const REGISTER_MESSAGE_FILTER_CLASS: i32 = 302;
    pub const QUERY_CONSUME_TIME_SPAN: i32 = 303;
    pub const GET_SYSTEM_TOPIC_LIST_FROM_NS: i32 = 304;
    pub const GET_SYSTEM_TOPIC_LIST_FROM_BROKER: i32 = 305;
    pub const CLEAN_EXPIRED_CONSUMEQUEUE: i32 = 306;
    pub const GET_CONSUMER_RUNNING_INFO: i32 = 307;
    pub const QUERY_CORRECTION_OFFSET: i32 = 308;
    pub const CONSUME_MESSAGE_DIRECTLY: i32 = 309;
    pub const SEND_MESSAGE_V2: i32 = 310;
    pub const GET_UNIT_TOPIC_LIST: i32 = 311;
    pub const GET_HAS_UNIT_SUB_TOPIC_LIST: i32 = 312;
    pub const GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: i32 = 313;
    pub const CLONE_GROUP_OFFSET: i32 = 314;
    pub const VIEW_BROKER_STATS_DATA: i32 = 315;
    pub const CLEAN_UNUSED_TOPIC: i32 = 316;
    pub const GET_BROKER_CONSUME_STATS: i32 = 317;
    pub const UPDATE_NAMESRV_CONFIG: i32 = 318;
    pub const GET_NAMESRV_CONFIG: i32 = 319;
    pub const SEND_BATCH_MESSAGE: i32 = 320;
    pub const QUERY_CONSUME_QUEUE: i32 = 321;
    pub const QUERY_DATA_VERSION: i32 = 322;
    pub const RESUME_CHECK_HALF_MESSAGE: i32 = 323;
    pub const SEND_REPLY_MESSAGE: i32 = 324;
    pub const SEND_REPLY_MESSAGE_V2: i32 = 325;
    pub const PUSH_REPLY_MESSAGE_TO_CLIENT: i32 = 326;
    pub const ADD_WRITE_PERM_OF_BROKER: i32 = 327;
    pub const GET_ALL_PRODUCER_INFO: i32 = 328;
    pub const DELETE_EXPIRED_COMMITLOG: i32 = 329;
    pub const QUERY_TOPICS_BY_CONSUMER: i32 = 343;
    pub const QUERY_SUBSCRIPTION_BY_CONSUMER: i32 = 345;
    pub const GET_TOPIC_CONFIG: i32 = 351;
    pub const GET_SUBSCRIPTIONGROUP_CONFIG: i32 = 352;
    pub const UPDATE_AND_GET_GROUP_FORBIDDEN: i32 = 353;
    pub const CHECK_ROCKSDB_CQ_WRITE_PROGRESS: i32 = 354;
    pub const EXPORT_ROCKSDB_CONFIG_TO_JSON: i32 = 355;
    pub const LITE_PULL_MESSAGE: i32 = 361;
    pub const RECALL_MESSAGE: i32 = 370;
    pub const QUERY_ASSIGNMENT: i32 = 400;
    pub const SET_MESSAGE_REQUEST_MODE: i32 = 401;
    pub const GET_ALL_MESSAGE_REQUEST_MODE: i32 = 402;
    pub const UPDATE_AND_CREATE_STATIC_TOPIC: i32 = 513;
    pub const GET_BROKER_MEMBER_GROUP: i32 = 901;
    pub const ADD_BROKER: i32 = 902;
    pub const REMOVE_BROKER: i32 = 903;
    pub const BROKER_HEARTBEAT: i32 = 904;
    pub const NOTIFY_MIN_BROKER_ID_CHANGE: i32 = 905;
    pub const EXCHANGE_BROKER_HA_INFO: i32 = 906;
    pub const GET_BROKER_HA_STATUS: i32 = 907;
    pub const RESET_MASTER_FLUSH_OFFSET: i32 = 908;
    pub const CONTROLLER_ALTER_SYNC_STATE_SET: i32 = 1001;
    pub const CONTROLLER_ELECT_MASTER: i32 = 1002;
    pub const CONTROLLER_REGISTER_BROKER: i32 = 1003;
    pub const CONTROLLER_GET_REPLICA_INFO: i32 = 1004;
    pub const CONTROLLER_GET_METADATA_INFO: i32 = 1005;
    pub const CONTROLLER_GET_SYNC_STATE_DATA: i32 = 1006;
    pub const GET_BROKER_EPOCH_CACHE: i32 = 1007;
    pub const NOTIFY_BROKER_ROLE_CHANGED: i32 = 1008;
    pub const UPDATE_CONTROLLER_CONFIG: i32 = 1009;
    pub const GET_CONTROLLER_CONFIG: i32 = 1010;
    pub const CLEAN_BROKER_DATA: i32 = 1011;
    pub const CONTROLLER_GET_NEXT_BROKER_ID: i32 = 1012;
    pub const CONTROLLER_APPLY_BROKER_ID: i32 = 1013;
    pub const UPDATE_COLD_DATA_FLOW_CTR_CONFIG: i32 = 2001;
    pub const REMOVE_COLD_DATA_FLOW_CTR_CONFIG: i32 = 2002;
    pub const GET_COLD_DATA_FLOW_CTR_INFO: i32 = 2003;
    pub const SET_COMMITLOG_READ_MODE: i32 = 2004;
    pub const AUTH_CREATE_USER: i32 = 3001;
    pub const AUTH_UPDATE_USER: i32 = 3002;
    pub const AUTH_DELETE_USER: i32 = 3003;
    pub const AUTH_GET_USER: i32 = 3004;
    pub const AUTH_LIST_USER: i32 = 3005;
    pub const AUTH_CREATE_ACL: i32 = 3006;
    pub const AUTH_UPDATE_ACL: i32 = 3007;
    pub const AUTH_DELETE_ACL: i32 = 3008;
    pub const AUTH_GET_ACL: i32 = 3009;
    pub const AUTH_LIST_ACL: i32 = 3010;
    pub const POP_MESSAGE: i32 = 200_050;
    pub const ACK_MESSAGE: i32 = 200_051;
    pub const PEEK_MESSAGE: i32 = 200_052;
    pub const CHANGE_MESSAGE_INVISIBLETIME: i32 = 200_053;
    pub const NOTIFICATION: i32 = 200_054;
    pub const POLLING_INFO: i32 = 200_055;
    pub const POP_ROLLBACK: i32 = 200_056;
    pub const POP_LITE_MESSAGE: i32 = 200_070;
    pub const NOTIFY_UNSUBSCRIBE_LITE: i32 = 200_073;
    pub const BATCH_ACK_MESSAGE: i32 = 200_151;
}

/// How a request went.
pub mod response {
    pub const SUCCESS: i32 = 0;
    pub const SYSTEM_ERROR: i32 = 1;
    pub const SYSTEM_BUSY: i32 = 2;
    pub const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;
    pub const TRANSACTION_FAILED: i32 = 4;
    pub const FLUSH_DISK_TIMEOUT: i32 = 10;
    pub const SLAVE_NOT_AVAILABLE: i32 = 11;
    pub const FLUSH_SLAVE_TIMEOUT: i32 = 12;
    pub const MESSAGE_ILLEGAL: i32 = 13;
    pub const SERVICE_NOT_AVAILABLE: i32 = 14;
    pub const VERSION_NOT_SUPPORTED: i32 = 15;
    pub const NO_PERMISSION: i32 = 16;
    pub const TOPIC_NOT_EXIST: i32 = 17;
    pub const TOPIC_EXIST_ALREADY: i32 = 18;
    pub const PULL_NOT_FOUND: i32 = 19;
    pub const PULL_RETRY_IMMEDIATELY: i32 = 20;
    pub const PULL_OFFSET_MOVED: i32 = 21;
    pub const QUERY_NOT_FOUND: i32 = 22;
    pub const SUBSCRIPTION_PARSE_FAILED: i32 = 23;
    pub const SUBSCRIPTION_NOT_EXIST: i32 = 24;
    pub const SUBSCRIPTION_NOT_LATEST: i32 = 25;
    pub const SUBSCRIPTION_GROUP_NOT_EXIST: i32 = 26;
    pub const FILTER_DATA_NOT_EXIST: i32 = 27;
    pub const FILTER_DATA_NOT_LATEST: i32 = 28;
    pub const INVALID_PARAMETER: i32 = 29;
    pub const TRANSACTION_SHOULD_COMMIT: i32 = 200;
    pub const TRANSACTION_SHOULD_ROLLBACK: i32 = 201;
    pub const TRANSACTION_STATE_UNKNOW: i32 = 202;
    pub const TRANSACTION_STATE_GROUP_WRONG: i32 = 203;
    pub const NO_BUYER_ID: i32 = 204;
    pub const NOT_IN_CURRENT_UNIT: i32 = 205;
    pub const CONSUMER_NOT_ONLINE: i32 = 206;
    pub const CONSUME_MSG_TIMEOUT: i32 = 207;
    pub const NO_MESSAGE: i32 = 208;
    pub const POLLING_FULL: i32 = 209;
    pub const POLLING_TIMEOUT: i32 = 210;
    pub const BROKER_NOT_EXIST: i32 = 211;
    pub const BROKER_DISPATCH_NOT_COMPLETE: i32 = 212;
    pub const BROADCAST_CONSUMPTION: i32 = 213;
    pub const FLOW_CONTROL: i32 = 215;
    pub const NOT_LEADER_FOR_QUEUE: i32 = 501;
    pub const ILLEGAL_OPERATION: i32 = 604;
    pub const GO_AWAY: i32 = 1500;
    pub const USER_NOT_EXIST: i32 = 3001;
    pub const POLICY_NOT_EXIST: i32 = 3002;
}

/// The binary header has 16 bits for a code. Codes from 200 000 on lose this upper part.
const UPPER: i32 = 3 << 16;

/// The code of a request that came in 16 bits. Those that were cut are restored where that is the only code they can be.
pub(super) fn widened(code: i16) -> i32 {
    let plain = i32::from(code);
    let restored = UPPER | i32::from(code as u16);
    if request_name(plain).is_none() && request_name(restored).is_some() { restored } else { plain }
}

/// The name of a request's code, if it has one in any release.
pub fn request_name(code: i32) -> Option<&'static str> {
    Some(match code {
        request::SEND_MESSAGE => "SEND_MESSAGE",
        request::PULL_MESSAGE => "PULL_MESSAGE",
        request::QUERY_MESSAGE => "QUERY_MESSAGE",
        request::QUERY_BROKER_OFFSET => "QUERY_BROKER_OFFSET",
        request::QUERY_CONSUMER_OFFSET => "QUERY_CONSUMER_OFFSET",
        request::UPDATE_CONSUMER_OFFSET => "UPDATE_CONSUMER_OFFSET",
        request::UPDATE_AND_CREATE_TOPIC => "UPDATE_AND_CREATE_TOPIC",
        request::UPDATE_AND_CREATE_TOPIC_LIST => "UPDATE_AND_CREATE_TOPIC_LIST",
        request::GET_ALL_TOPIC_CONFIG => "GET_ALL_TOPIC_CONFIG",
        request::GET_TOPIC_CONFIG_LIST => "GET_TOPIC_CONFIG_LIST",
        request::GET_TOPIC_NAME_LIST => "GET_TOPIC_NAME_LIST",
        request::UPDATE_BROKER_CONFIG => "UPDATE_BROKER_CONFIG",
        request::GET_BROKER_CONFIG => "GET_BROKER_CONFIG",
        request::TRIGGER_DELETE_FILES => "TRIGGER_DELETE_FILES",
        request::GET_BROKER_RUNTIME_INFO => "GET_BROKER_RUNTIME_INFO",
        request::SEARCH_OFFSET_BY_TIMESTAMP => "SEARCH_OFFSET_BY_TIMESTAMP",
        request::GET_MAX_OFFSET => "GET_MAX_OFFSET",
        request::GET_MIN_OFFSET => "GET_MIN_OFFSET",
        request::GET_EARLIEST_MSG_STORETIME => "GET_EARLIEST_MSG_STORETIME",
        request::VIEW_MESSAGE_BY_ID => "VIEW_MESSAGE_BY_ID",
        request::HEART_BEAT => "HEART_BEAT",
        request::UNREGISTER_CLIENT => "UNREGISTER_CLIENT",
        request::CONSUMER_SEND_MSG_BACK => "CONSUMER_SEND_MSG_BACK",
        request::END_TRANSACTION => "END_TRANSACTION",
        request::GET_CONSUMER_LIST_BY_GROUP => "GET_CONSUMER_LIST_BY_GROUP",
        request::CHECK_TRANSACTION_STATE => "CHECK_TRANSACTION_STATE",
        request::NOTIFY_CONSUMER_IDS_CHANGED => "NOTIFY_CONSUMER_IDS_CHANGED",
        request::LOCK_BATCH_MQ => "LOCK_BATCH_MQ",
        request::UNLOCK_BATCH_MQ => "UNLOCK_BATCH_MQ",
        request::GET_ALL_CONSUMER_OFFSET => "GET_ALL_CONSUMER_OFFSET",
        request::GET_ALL_DELAY_OFFSET => "GET_ALL_DELAY_OFFSET",
        request::CHECK_CLIENT_CONFIG => "CHECK_CLIENT_CONFIG",
        request::GET_CLIENT_CONFIG => "GET_CLIENT_CONFIG",
        request::GET_TIMER_CHECK_POINT => "GET_TIMER_CHECK_POINT",
        request::GET_TIMER_METRICS => "GET_TIMER_METRICS",
        request::PUT_KV_CONFIG => "PUT_KV_CONFIG",
        request::GET_KV_CONFIG => "GET_KV_CONFIG",
        request::DELETE_KV_CONFIG => "DELETE_KV_CONFIG",
        request::REGISTER_BROKER => "REGISTER_BROKER",
        request::UNREGISTER_BROKER => "UNREGISTER_BROKER",
        request::GET_ROUTEINFO_BY_TOPIC => "GET_ROUTEINFO_BY_TOPIC",
        request::GET_BROKER_CLUSTER_INFO => "GET_BROKER_CLUSTER_INFO",
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP",
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => "GET_ALL_SUBSCRIPTIONGROUP_CONFIG",
        request::GET_TOPIC_STATS_INFO => "GET_TOPIC_STATS_INFO",
        request::GET_CONSUMER_CONNECTION_LIST => "GET_CONSUMER_CONNECTION_LIST",
        request::GET_PRODUCER_CONNECTION_LIST => "GET_PRODUCER_CONNECTION_LIST",
        request::WIPE_WRITE_PERM_OF_BROKER => "WIPE_WRITE_PERM_OF_BROKER",
        request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => "GET_ALL_TOPIC_LIST_FROM_NAMESERVER",
        request::DELETE_SUBSCRIPTIONGROUP => "DELETE_SUBSCRIPTIONGROUP",
        request::GET_CONSUME_STATS => "GET_CONSUME_STATS",
        request::SUSPEND_CONSUMER => "SUSPEND_CONSUMER",
        request::RESUME_CONSUMER => "RESUME_CONSUMER",
        request::RESET_CONSUMER_OFFSET_IN_CONSUMER => "RESET_CONSUMER_OFFSET_IN_CONSUMER",
        request::RESET_CONSUMER_OFFSET_IN_BROKER => "RESET_CONSUMER_OFFSET_IN_BROKER",
        request::ADJUST_CONSUMER_THREAD_POOL => "ADJUST_CONSUMER_THREAD_POOL",
        request::WHO_CONSUME_THE_MESSAGE => "WHO_CONSUME_THE_MESSAGE",
        request::DELETE_TOPIC_IN_BROKER => "DELETE_TOPIC_IN_BROKER",
        request::DELETE_TOPIC_IN_NAMESRV => "DELETE_TOPIC_IN_NAMESRV",
        request::REGISTER_TOPIC_IN_NAMESRV => "REGISTER_TOPIC_IN_NAMESRV",
        request::GET_KVLIST_BY_NAMESPACE => "GET_KVLIST_BY_NAMESPACE",
        request::RESET_CONSUMER_CLIENT_OFFSET => "RESET_CONSUMER_CLIENT_OFFSET",
        request::GET_CONSUMER_STATUS_FROM_CLIENT => "GET_CONSUMER_STATUS_FROM_CLIENT",
        request::INVOKE_BROKER_TO_RESET_OFFSET => "INVOKE_BROKER_TO_RESET_OFFSET",
        request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => "INVOKE_BROKER_TO_GET_CONSUMER_STATUS",
        request::GET_TOPICS_BY_CLUSTER => "GET_TOPICS_BY_CLUSTER",
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST",
        request::QUERY_TOPIC_CONSUME_BY_WHO => "QUERY_TOPIC_CONSUME_BY_WHO",
        request::REGISTER_FILTER_SERVER => "REGISTER_FILTER_SERVER",
        request::REGISTER_MESSAGE_FILTER_CLASS => "REGISTER_MESSAGE_FILTER_CLASS",
        request::QUERY_CONSUME_TIME_SPAN => "QUERY_CONSUME_TIME_SPAN",
        request::GET_SYSTEM_TOPIC_LIST_FROM_NS => "GET_SYSTEM_TOPIC_LIST_FROM_NS",
        request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => "GET_SYSTEM_TOPIC_LIST_FROM_BROKER",
        request::CLEAN_EXPIRED_CONSUMEQUEUE => "CLEAN_EXPIRED_CONSUMEQUEUE",
        request::GET_CONSUMER_RUNNING_INFO => "GET_CONSUMER_RUNNING_INFO",
        request::QUERY_CORRECTION_OFFSET => "QUERY_CORRECTION_OFFSET",
        request::CONSUME_MESSAGE_DIRECTLY => "CONSUME_MESSAGE_DIRECTLY",
        request::SEND_MESSAGE_V2 => "SEND_MESSAGE_V2",
        request::GET_UNIT_TOPIC_LIST => "GET_UNIT_TOPIC_LIST",
        request::GET_HAS_UNIT_SUB_TOPIC_LIST => "GET_HAS_UNIT_SUB_TOPIC_LIST",
        request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST",
        request::CLONE_GROUP_OFFSET => "CLONE_GROUP_OFFSET",
        request::VIEW_BROKER_STATS_DATA => "VIEW_BROKER_STATS_DATA",
        request::CLEAN_UNUSED_TOPIC => "CLEAN_UNUSED_TOPIC",
        request::GET_BROKER_CONSUME_STATS => "GET_BROKER_CONSUME_STATS",
        request::UPDATE_NAMESRV_CONFIG => "UPDATE_NAMESRV_CONFIG",
        request::GET_NAMESRV_CONFIG => "GET_NAMESRV_CONFIG",
        request::SEND_BATCH_MESSAGE => "SEND_BATCH_MESSAGE",
        request::QUERY_CONSUME_QUEUE => "QUERY_CONSUME_QUEUE",
        request::QUERY_DATA_VERSION => "QUERY_DATA_VERSION",
        request::RESUME_CHECK_HALF_MESSAGE => "RESUME_CHECK_HALF_MESSAGE",
        request::SEND_REPLY_MESSAGE => "SEND_REPLY_MESSAGE",
        request::SEND_REPLY_MESSAGE_V2 => "SEND_REPLY_MESSAGE_V2",
        request::PUSH_REPLY_MESSAGE_TO_CLIENT => "PUSH_REPLY_MESSAGE_TO_CLIENT",
        request::ADD_WRITE_PERM_OF_BROKER => "ADD_WRITE_PERM_OF_BROKER",
        request::GET_ALL_PRODUCER_INFO => "GET_ALL_PRODUCER_INFO",
        request::DELETE_EXPIRED_COMMITLOG => "DELETE_EXPIRED_COMMITLOG",
        request::QUERY_TOPICS_BY_CONSUMER => "QUERY_TOPICS_BY_CONSUMER",
        request::QUERY_SUBSCRIPTION_BY_CONSUMER => "QUERY_SUBSCRIPTION_BY_CONSUMER",
        request::GET_TOPIC_CONFIG => "GET_TOPIC_CONFIG",
        request::GET_SUBSCRIPTIONGROUP_CONFIG => "GET_SUBSCRIPTIONGROUP_CONFIG",
        request::UPDATE_AND_GET_GROUP_FORBIDDEN => "UPDATE_AND_GET_GROUP_FORBIDDEN",
        request::CHECK_ROCKSDB_CQ_WRITE_PROGRESS => "CHECK_ROCKSDB_CQ_WRITE_PROGRESS",
        request::EXPORT_ROCKSDB_CONFIG_TO_JSON => "EXPORT_ROCKSDB_CONFIG_TO_JSON",
        request::LITE_PULL_MESSAGE => "LITE_PULL_MESSAGE",
        request::RECALL_MESSAGE => "RECALL_MESSAGE",
        request::QUERY_ASSIGNMENT => "QUERY_ASSIGNMENT",
        request::SET_MESSAGE_REQUEST_MODE => "SET_MESSAGE_REQUEST_MODE",
        request::GET_ALL_MESSAGE_REQUEST_MODE => "GET_ALL_MESSAGE_REQUEST_MODE",
        request::UPDATE_AND_CREATE_STATIC_TOPIC => "UPDATE_AND_CREATE_STATIC_TOPIC",
        request::GET_BROKER_MEMBER_GROUP => "GET_BROKER_MEMBER_GROUP",
        request::ADD_BROKER => "ADD_BROKER",
        request::REMOVE_BROKER => "REMOVE_BROKER",
        request::BROKER_HEARTBEAT => "BROKER_HEARTBEAT",
        request::NOTIFY_MIN_BROKER_ID_CHANGE => "NOTIFY_MIN_BROKER_ID_CHANGE",
        request::EXCHANGE_BROKER_HA_INFO => "EXCHANGE_BROKER_HA_INFO",
        request::GET_BROKER_HA_STATUS => "GET_BROKER_HA_STATUS",
        request::RESET_MASTER_FLUSH_OFFSET => "RESET_MASTER_FLUSH_OFFSET",
        request::CONTROLLER_ALTER_SYNC_STATE_SET => "CONTROLLER_ALTER_SYNC_STATE_SET",
        request::CONTROLLER_ELECT_MASTER => "CONTROLLER_ELECT_MASTER",
        request::CONTROLLER_REGISTER_BROKER => "CONTROLLER_REGISTER_BROKER",
        request::CONTROLLER_GET_REPLICA_INFO => "CONTROLLER_GET_REPLICA_INFO",
        request::CONTROLLER_GET_METADATA_INFO => "CONTROLLER_GET_METADATA_INFO",
        request::CONTROLLER_GET_SYNC_STATE_DATA => "CONTROLLER_GET_SYNC_STATE_DATA",
        request::GET_BROKER_EPOCH_CACHE => "GET_BROKER_EPOCH_CACHE",
        request::NOTIFY_BROKER_ROLE_CHANGED => "NOTIFY_BROKER_ROLE_CHANGED",
        request::UPDATE_CONTROLLER_CONFIG => "UPDATE_CONTROLLER_CONFIG",
        request::GET_CONTROLLER_CONFIG => "GET_CONTROLLER_CONFIG",
        request::CLEAN_BROKER_DATA => "CLEAN_BROKER_DATA",
        request::CONTROLLER_GET_NEXT_BROKER_ID => "CONTROLLER_GET_NEXT_BROKER_ID",
        request::CONTROLLER_APPLY_BROKER_ID => "CONTROLLER_APPLY_BROKER_ID",
        request::UPDATE_COLD_DATA_FLOW_CTR_CONFIG => "UPDATE_COLD_DATA_FLOW_CTR_CONFIG",
        request::REMOVE_COLD_DATA_FLOW_CTR_CONFIG => "REMOVE_COLD_DATA_FLOW_CTR_CONFIG",
        request::GET_COLD_DATA_FLOW_CTR_INFO => "GET_COLD_DATA_FLOW_CTR_INFO",
        request::SET_COMMITLOG_READ_MODE => "SET_COMMITLOG_READ_MODE",
        request::AUTH_CREATE_USER => "AUTH_CREATE_USER",
        request::AUTH_UPDATE_USER => "AUTH_UPDATE_USER",
        request::AUTH_DELETE_USER => "AUTH_DELETE_USER",
        request::AUTH_GET_USER => "AUTH_GET_USER",
        request::AUTH_LIST_USER => "AUTH_LIST_USER",
        request::AUTH_CREATE_ACL => "AUTH_CREATE_ACL",
        request::AUTH_UPDATE_ACL => "AUTH_UPDATE_ACL",
        request::AUTH_DELETE_ACL => "AUTH_DELETE_ACL",
        request::AUTH_GET_ACL => "AUTH_GET_ACL",
        request::AUTH_LIST_ACL => "AUTH_LIST_ACL",
        request::POP_MESSAGE => "POP_MESSAGE",
        request::ACK_MESSAGE => "ACK_MESSAGE",
        request::PEEK_MESSAGE => "PEEK_MESSAGE",
        request::CHANGE_MESSAGE_INVISIBLETIME => "CHANGE_MESSAGE_INVISIBLETIME",
        request::NOTIFICATION => "NOTIFICATION",
        request::POLLING_INFO => "POLLING_INFO",
        request::POP_ROLLBACK => "POP_ROLLBACK",
        request::POP_LITE_MESSAGE => "POP_LITE_MESSAGE",
        request::NOTIFY_UNSUBSCRIBE_LITE => "NOTIFY_UNSUBSCRIBE_LITE",
        request::BATCH_ACK_MESSAGE => "BATCH_ACK_MESSAGE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_named_as_its_constant() {
        let source = include_str!("code.rs");
        let (requests, _) = source.split_once("pub mod response").unwrap();
        let mut count = 0;
        for line in requests.lines().filter_map(|line| line.trim().strip_prefix("pub const ")) {
            let (name, number) = line.trim_end_matches(';').split_once(": i32 = ").unwrap();
            assert_eq!(request_name(number.replace('_', "").parse().unwrap()), Some(name));
            count += 1;
        }
        assert_eq!(count, 155);
    }

    #[test]
    fn a_cut_code_is_restored_if_no_other_has_that_number() {
        assert_eq!(widened((request::POP_MESSAGE & 0xffff) as i16), request::POP_MESSAGE);
        assert_eq!(widened((request::BATCH_ACK_MESSAGE & 0xffff) as i16), request::BATCH_ACK_MESSAGE);
        assert_eq!(widened(310), request::SEND_MESSAGE_V2);
        assert_eq!(widened(-1), -1);
    }
}
