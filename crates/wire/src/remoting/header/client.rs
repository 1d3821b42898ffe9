//! Headers of what clients say of themselves and what they are told or asked, by the server or through it.

use serde::{Deserialize, Serialize};

/// UNREGISTER_CLIENT (35).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnregisterClientRequest<'a> {
    #[serde(rename = "clientID")]
    pub client_id: &'a str,
    pub producer_group: Option<&'a str>,
    pub consumer_group: Option<&'a str>,
}

/// GET_CONSUMER_LIST_BY_GROUP (38), GET_CONSUMER_CONNECTION_LIST (203), and NOTIFY_CONSUMER_IDS_CHANGED (40), which the server
/// sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupRequest<'a> {
    pub consumer_group: &'a str,
}

/// GET_PRODUCER_CONNECTION_LIST (204).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerGroupRequest<'a> {
    pub producer_group: &'a str,
}

/// Answer to HEART_BEAT (34).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatResponse {
    #[serde(rename = "IS_SUPPORT_HEART_BEAT_V2")]
    pub supports_fingerprints: bool,
    #[serde(rename = "IS_SUB_CHANGE")]
    pub subscription_changed: bool,
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223), and GET_CONSUMER_STATUS_FROM_CLIENT (221), which the server sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerStatusRequest<'a> {
    pub topic: &'a str,
    pub group: &'a str,
    pub client_addr: Option<&'a str>,
}

/// GET_CONSUMER_RUNNING_INFO (307), relayed to a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerRunningInfoRequest<'a> {
    pub consumer_group: &'a str,
    pub client_id: &'a str,
    #[serde(default)]
    pub jstack_enable: bool,
}

/// CONSUME_MESSAGE_DIRECTLY (309), relayed to a client with the message as its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeMessageDirectlyRequest<'a> {
    pub consumer_group: &'a str,
    pub client_id: Option<&'a str>,
    pub msg_id: Option<&'a str>,
    pub broker_name: Option<&'a str>,
    pub topic: Option<&'a str>,
    pub topic_sys_flag: Option<i32>,
    pub group_sys_flag: Option<i32>,
}
