//! Headers of looking for messages.

use serde::{Deserialize, Serialize};

/// QUERY_MESSAGE (12), by key or by unique key within a span of milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryMessageRequest<'a> {
    pub topic: &'a str,
    pub key: &'a str,
    pub max_num: i32,
    pub begin_timestamp: i64,
    pub end_timestamp: i64,
    pub index_type: Option<&'a str>,
    pub last_key: Option<&'a str>,
    #[serde(rename = "_UNIQUE_KEY_QUERY", default)]
    pub unique_key_query: bool,
}

/// Answer to QUERY_MESSAGE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryMessageResponse {
    pub index_last_update_timestamp: i64,
    pub index_last_update_phyoffset: i64,
}

/// VIEW_MESSAGE_BY_ID (33). `offset` is the last part of the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewMessageRequest<'a> {
    #[serde(borrow)]
    pub topic: Option<&'a str>,
    pub offset: i64,
}

/// QUERY_CONSUME_QUEUE (321).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumeQueueRequest<'a> {
    #[serde(borrow)]
    pub topic: Option<&'a str>,
    pub queue_id: Option<i32>,
    pub index: Option<i64>,
    pub count: Option<i32>,
    pub consumer_group: Option<&'a str>,
}
