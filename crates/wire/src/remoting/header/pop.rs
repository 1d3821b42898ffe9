//! Headers of POP: messages that are hidden from the rest of the group until they are acknowledged or their time is over.

use serde::{Deserialize, Serialize};

/// POP_MESSAGE (200050). A `queue_id` of -1 means any queue, `init_mode` 0 that a new group begins at the queue's beginning, 1 at its
/// end. Times are milliseconds; `born_time` is the client's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PopMessageRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub max_msg_nums: i32,
    pub invisible_time: i64,
    pub poll_time: i64,
    #[serde(default)]
    pub born_time: i64,
    #[serde(default)]
    pub init_mode: i32,
    pub exp_type: Option<&'a str>,
    pub exp: Option<&'a str>,
    #[serde(default)]
    pub order: bool,
    pub attempt_id: Option<&'a str>,
}

/// Answer to POP_MESSAGE and PEEK_MESSAGE. The three texts are those of [`crate::remoting::checkpoint`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PopMessageResponse<'a> {
    pub pop_time: i64,
    pub invisible_time: i64,
    pub revive_qid: i32,
    pub rest_num: i64,
    #[serde(borrow)]
    pub start_offset_info: Option<&'a str>,
    pub msg_offset_info: Option<&'a str>,
    pub order_count_info: Option<&'a str>,
}

/// ACK_MESSAGE (200051). `extra_info` is the text of a [`crate::remoting::checkpoint::Checkpoint`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AckMessageRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub extra_info: &'a str,
    pub offset: i64,
}

/// PEEK_MESSAGE (200052).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeekMessageRequest<'a> {
    pub topic: &'a str,
    pub queue_id: i32,
    pub max_msg_nums: i32,
    pub consumer_group: &'a str,
}

/// CHANGE_MESSAGE_INVISIBLETIME (200053). With `suspend` the delivery that ends so does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeInvisibleTimeRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub extra_info: &'a str,
    pub offset: i64,
    pub invisible_time: i64,
    #[serde(default)]
    pub suspend: bool,
}

/// Answer to CHANGE_MESSAGE_INVISIBLETIME, from which the client makes the message's next checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeInvisibleTimeResponse {
    pub pop_time: i64,
    pub invisible_time: i64,
    pub revive_qid: i32,
}

/// NOTIFICATION (200054): as in POP_MESSAGE, but nothing is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
    pub poll_time: i64,
    #[serde(default)]
    pub born_time: i64,
    #[serde(default)]
    pub order: bool,
    pub attempt_id: Option<&'a str>,
    pub exp_type: Option<&'a str>,
    pub exp: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationResponse {
    pub has_msg: bool,
    #[serde(default)]
    pub polling_full: bool,
}

/// POLLING_INFO (200055).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PollingInfoRequest<'a> {
    pub consumer_group: &'a str,
    pub topic: &'a str,
    pub queue_id: i32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PollingInfoResponse {
    pub polling_num: i32,
}
