//! GET_CONSUMER_RUNNING_INFO (307), CONSUME_MESSAGE_DIRECTLY (309) and INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): a tool asks
//! consumers something, and this node hands the question to them and their answers back.
//!
//! *Behaviour*: who is not connected is answered for with 206, who does not answer in time with 207. Only the fields that the request is
//! known to have are handed on: the tool's credentials are none of the client's business. To consume a message directly, the
//! client is sent the message itself.

use crate::clients::{ChannelError, Client};
use crate::remoting::c036_send_back::find_message;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::body::{ConsumerStatus, from_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{ConsumeMessageDirectlyRequest, ConsumerRunningInfoRequest, ConsumerStatusRequest, Header};
use duolog_wire::remoting::message_id::OffsetMessageId;
use duolog_wire::remoting::{Command, HeaderForm};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a client may take, as in the original.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The same where all members of a group are asked.
const STATUS_LIMIT: Duration = Duration::from_secs(5);
/// Members of a group that are asked at a time.
const MEMBERS_ASKED: usize = 1024;

pub(super) async fn running_info(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumerRunningInfoRequest<'_> = call.header()?;
    let client = online(&call, header.consumer_group, header.client_id)?;
    let question = question(request::GET_CONSUMER_RUNNING_INFO, header);
    relay(call, client, question).await
}

pub(super) async fn consume_directly(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumeMessageDirectlyRequest<'_> = call.header()?;
    let client = online(&call, header.consumer_group, header.client_id.unwrap_or_default())?;
    let text = header.msg_id.unwrap_or_default();
    let unknown = || Refusal::new(response::SYSTEM_ERROR, format!("can not find message by the id, {text}"));
    let id = OffsetMessageId::parse(text).ok_or_else(unknown)?;
    let store_host = call.node.store_host(call.channel.peer());
    let message = find_message(&call.node, id.commit_log_offset, header.topic, store_host).await?.ok_or_else(unknown)?;
    let names = &call.node.names;
    let header = ConsumeMessageDirectlyRequest { broker_name: Some(&names.broker), ..header };
    let question = question(request::CONSUME_MESSAGE_DIRECTLY, header).with_body(message);
    relay(call, client, question).await
}

/// Asks all members of a group, or one of them, how far they have come.
pub(super) async fn status(mut call: Call) -> Result<Answer, Refusal> {
    let header: ConsumerStatusRequest<'_> = call.header()?;
    let only = header.client_addr.filter(|id| !id.is_empty());
    let members = call.node.clients.with_consumers(header.group, |group| {
        let wanted = group.members().filter(|member| only.is_none_or(|id| member.id == id));
        wanted.take(MEMBERS_ASKED).cloned().collect::<Vec<Client>>()
    });
    let members = members.filter(|members| !members.is_empty());
    let members = members.ok_or_else(|| not_online(header.group, only.unwrap_or_default()))?;
    let question = question(request::GET_CONSUMER_STATUS_FROM_CLIENT, ConsumerStatusRequest { client_addr: None, ..header });
    call.release();
    let mut asked = JoinSet::new();
    for Client { id, channel, .. } in members {
        let question = question.clone();
        asked.spawn(async move { (channel.call(question, STATUS_LIMIT).await, id) });
    }
    let mut status = ConsumerStatus::default();
    let mut unheard = None;
    while let Some(asked) = asked.join_next().await {
        match asked {
            Ok((Ok(answer), id)) if answer.code == response::SUCCESS => {
                let told: ConsumerStatus = from_json(&answer.body)?;
                status.consumer_table.insert(id, told.message_queue_table);
            }
            Ok((Ok(answer), id)) => tracing::debug!(client = id, code = answer.code, "client does not tell its offsets"),
            Ok((Err(error), id)) => unheard = Some(unanswered(&id, error)),
            Err(error) => return Err(Refusal::new(response::SYSTEM_ERROR, error.to_string())),
        }
    }
    match unheard {
        Some(refusal) if status.consumer_table.is_empty() => Err(refusal),
        _ => Ok(Answer::ok().json(&status)),
    }
}

/// The member of a group that has this id.
fn online(call: &Call, group: &str, client_id: &str) -> Result<Client, Refusal> {
    call.node.clients.find_consumer(group, client_id).ok_or_else(|| not_online(group, client_id))
}

fn not_online(group: &str, client_id: &str) -> Refusal {
    Refusal::new(response::CONSUMER_NOT_ONLINE, format!("The Consumer <{group}> <{client_id}> not online"))
}

fn question<'a>(code: i32, header: impl Header<'a>) -> Command {
    let mut question = Command::request(code, 0, HeaderForm::Json);
    header.put(&mut question.fields);
    question
}

/// Asks a client; what it answers is the answer, whatever that is.
async fn relay(mut call: Call, client: Client, question: Command) -> Result<Answer, Refusal> {
    call.release();
    let answer = client.channel.call(question, ANSWER_LIMIT).await.map_err(|error| unanswered(&client.id, error))?;
    Ok(Answer { code: answer.code, remark: answer.remark, fields: answer.fields, body: answer.body })
}

fn unanswered(client_id: &str, error: ChannelError) -> Refusal {
    let code = match error {
        ChannelError::Closed => response::CONSUMER_NOT_ONLINE,
        ChannelError::Full => response::SYSTEM_BUSY,
        ChannelError::TimedOut(_) => response::CONSUME_MSG_TIMEOUT,
    };
    Refusal::new(code, format!("consumer <{client_id}>: {error}"))
}
