//! Headers of the requests that carry messages: sending, replying, pulling and giving back.

use super::super::fields::Fields;
use super::{Header, HeaderError};
use serde::{Deserialize, Serialize};

/// SEND_MESSAGE (10), SEND_BATCH_MESSAGE (320 in this form) and SEND_REPLY_MESSAGE (324).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessageRequest<'a> {
    pub producer_group: &'a str,
    pub topic: &'a str,
    pub default_topic: &'a str,
    pub default_topic_queue_nums: i32,
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    pub properties: Option<&'a str>,
    pub reconsume_times: Option<i32>,
    #[serde(default)]
    pub unit_mode: bool,
    #[serde(default)]
    pub batch: bool,
    pub max_reconsume_times: Option<i32>,
}

/// The same with names of one letter: SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320) and SEND_REPLY_MESSAGE_V2 (325).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessageRequestV2<'a> {
    #[serde(rename = "a")]
    pub producer_group: &'a str,
    #[serde(rename = "b")]
    pub topic: &'a str,
    #[serde(rename = "c")]
    pub default_topic: &'a str,
    #[serde(rename = "d")]
    pub default_topic_queue_nums: i32,
    #[serde(rename = "e")]
    pub queue_id: i32,
    #[serde(rename = "f")]
    pub sys_flag: i32,
    #[serde(rename = "g")]
    pub born_timestamp: i64,
    #[serde(rename = "h")]
    pub flag: i32,
    #[serde(rename = "i")]
    pub properties: Option<&'a str>,
    #[serde(rename = "j")]
    pub reconsume_times: Option<i32>,
    #[serde(rename = "k", default)]
    pub unit_mode: bool,
    #[serde(rename = "l")]
    pub max_reconsume_times: Option<i32>,
    #[serde(rename = "m", default)]
    pub batch: bool,
    #[serde(rename = "n")]
    pub broker_name: Option<&'a str>,
}

/// Answer to every kind of sending. The ids of a batch are joined by commas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessageResponse<'a> {
    pub msg_id: &'a str,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub transaction_id: Option<&'a str>,
    pub batch_uniq_id: Option<&'a str>,
    pub recall_handle: Option<&'a str>,
}

/// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullMessageRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub lite_topic: Option<&'a str>,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub max_msg_nums: i32,
    pub sys_flag: i32,
    pub commit_offset: i64,
    pub suspend_timeout_millis: i64,
    pub subscription: Option<&'a str>,
    pub sub_version: i64,
    pub expression_type: Option<&'a str>,
    pub max_msg_bytes: Option<i32>,
    pub request_source: Option<i32>,
    pub proxy_froward_client_id: Option<&'a str>,
}

/// Answer to a pull, whatever its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullMessageResponse {
    pub suggest_which_broker_id: i64,
    pub next_begin_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    pub offset_delta: Option<i64>,
    pub topic_sys_flag: Option<i32>,
    pub group_sys_flag: Option<i32>,
    pub forbidden_type: Option<i32>,
}

/// CONSUMER_SEND_MSG_BACK (36). A `delay_level` of -1 means the dead letters at once, 0 that the server chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerSendMessageBackRequest<'a> {
    pub offset: i64,
    pub group: &'a str,
    pub delay_level: i32,
    pub origin_msg_id: Option<&'a str>,
    pub origin_topic: Option<&'a str>,
    #[serde(default)]
    pub unit_mode: bool,
    pub max_reconsume_times: Option<i32>,
}

/// PUSH_REPLY_MESSAGE_TO_CLIENT (326), which the server sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushReplyMessageRequest<'a> {
    pub producer_group: &'a str,
    pub topic: &'a str,
    pub default_topic: &'a str,
    pub default_topic_queue_nums: i32,
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub flag: i32,
    pub properties: Option<&'a str>,
    pub reconsume_times: Option<i32>,
    #[serde(default)]
    pub unit_mode: bool,
    pub born_host: &'a str,
    pub store_host: &'a str,
    pub store_timestamp: i64,
}

/// RECALL_MESSAGE (370).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecallMessageRequest<'a> {
    pub producer_group: Option<&'a str>,
    pub topic: &'a str,
    pub recall_handle: &'a str,
}

/// Answer to RECALL_MESSAGE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecallMessageResponse<'a> {
    pub msg_id: &'a str,
}

impl<'a> SendMessageRequest<'a> {
    /// Reads the form with names of one letter. Its broker name is left out, as this node has only one.
    pub fn from_v2(fields: &'a Fields) -> Result<Self, HeaderError> {
        let short = SendMessageRequestV2::from_fields(fields)?;
        Ok(Self {
            producer_group: short.producer_group,
            topic: short.topic,
            default_topic: short.default_topic,
            default_topic_queue_nums: short.default_topic_queue_nums,
            queue_id: short.queue_id,
            sys_flag: short.sys_flag,
            born_timestamp: short.born_timestamp,
            flag: short.flag,
            properties: short.properties,
            reconsume_times: short.reconsume_times,
            unit_mode: short.unit_mode,
            batch: short.batch,
            max_reconsume_times: short.max_reconsume_times,
        })
    }
}
