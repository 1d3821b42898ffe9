//! Headers of transactions: ending one, and asking its producer about it.

use serde::{Deserialize, Serialize};

/// END_TRANSACTION (37), usually one-way. `commit_or_rollback` is 0, 8 or 12 as in a message's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndTransactionRequest<'a> {
    pub topic: Option<&'a str>,
    pub producer_group: &'a str,
    pub tran_state_table_offset: i64,
    pub commit_log_offset: i64,
    pub commit_or_rollback: i32,
    #[serde(default)]
    pub from_transaction_check: bool,
    pub msg_id: &'a str,
    pub transaction_id: Option<&'a str>,
}

/// CHECK_TRANSACTION_STATE (39), which the server sends; the body is the half message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckTransactionStateRequest<'a> {
    #[serde(borrow)]
    pub topic: Option<&'a str>,
    pub tran_state_table_offset: i64,
    pub commit_log_offset: i64,
    pub msg_id: Option<&'a str>,
    pub transaction_id: Option<&'a str>,
    pub offset_msg_id: Option<&'a str>,
}

/// Answer to CHECK_TRANSACTION_STATE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckTransactionStateResponse<'a> {
    pub producer_group: &'a str,
    pub tran_state_table_offset: i64,
    pub commit_log_offset: i64,
    pub commit_or_rollback: i32,
}

/// RESUME_CHECK_HALF_MESSAGE (323).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResumeCheckHalfMessageRequest<'a> {
    #[serde(borrow)]
    pub topic: Option<&'a str>,
    pub msg_id: Option<&'a str>,
}
