//! EndTransaction: a producer says what is to become of a half message.
//!
//! *Behaviour*: a commit is answered once it is safe that the message will come, a rollback once it is safe that it will not. What is not
//! decided stays, and is asked about. An id that is not one of ours, or names no half message of that topic with that message id, is
//! INVALID_TRANSACTION_ID.

use super::call::{Call, topic_name};
use super::status::{Refused, ok};
use crate::transactions::HalfId;
use duolog_core::delay::{Ended, Resolution};
use duolog_rocketmq_proto::{Code, EndTransactionRequest, EndTransactionResponse, TransactionResolution};

pub(super) async fn handle(call: Call, request: EndTransactionRequest) -> Result<EndTransactionResponse, Refused> {
    let topic = topic_name(request.topic.as_ref())?;
    let invalid = || Refused::new(Code::InvalidTransactionId, format!("no transaction {:?}", request.transaction_id));
    let half = HalfId::parse(&request.transaction_id).ok_or_else(invalid)?;
    let resolution = match request.resolution() {
        TransactionResolution::Commit => Resolution::Commit,
        TransactionResolution::Rollback => Resolution::Rollback,
        TransactionResolution::Unspecified => return Ok(EndTransactionResponse { status: Some(ok()) }),
    };
    match call.node().end_half(half, topic, Some(&request.message_id), resolution).await? {
        Ended::Done | Ended::Over => Ok(EndTransactionResponse { status: Some(ok()) }),
        Ended::Unknown | Ended::NotTheOwner => Err(invalid()),
    }
}
