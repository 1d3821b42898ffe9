//! END_TRANSACTION (37): a producer says what is to become of a half message.
//!
//! *Behaviour*: mostly one-way. A commit is answered once it is safe that the message will come, a rollback once it is safe that it will
//! not. What is not decided stays, and is asked about. Another group's message, an unknown one and another transaction's are refused with 1.

use crate::remoting::call::{Answer, Call, Refusal};
use crate::transactions::HalfId;
use duolog_core::delay::{Ended, Resolution};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::EndTransactionRequest;
use duolog_wire::remoting::message::sys_flag;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: EndTransactionRequest<'_> = call.header()?;
    let resolution = match header.commit_or_rollback {
        sys_flag::TRANSACTION_COMMIT => Resolution::Commit,
        sys_flag::TRANSACTION_ROLLBACK => Resolution::Rollback,
        0 => return Ok(Answer::ok()),
        other => return Err(Refusal::new(response::SYSTEM_ERROR, format!("commitOrRollback is {other}"))),
    };
    let half = HalfId { commit_log_offset: header.commit_log_offset, table_offset: header.tran_state_table_offset };
    let transaction = header.transaction_id.filter(|id| !id.is_empty());
    let refused = |what: &str| {
        let (log, table) = (half.commit_log_offset, half.table_offset);
        Err(Refusal::new(response::SYSTEM_ERROR, format!("half message at {log}, in the table at {table}: {what}")))
    };
    match call.node.end_half(half, header.producer_group, transaction, resolution).await? {
        Ended::Done | Ended::Over => Ok(Answer::ok()),
        Ended::Unknown => refused("there is none"),
        Ended::NotTheOwner => refused("it belongs to another producer group, or to another transaction"),
    }
}
