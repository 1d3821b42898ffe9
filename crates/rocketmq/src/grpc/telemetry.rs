//! Telemetry: the stream of commands that each client keeps open, first of all to agree on settings.
//!
//! *Behaviour*: settings are answered with settings, or with the status that refuses them. While the stream is open the client
//! lives; if it consumes it is a member of its group, and if it produces it is a producer of a group called like each of its topics, whose
//! transactions it may be asked about. Results of commands that this server never sends are passed over.

use super::call::{Call, group_name};
use super::convert;
use super::limits::COMMANDS;
use super::settings::agree;
use super::status::{Refused, ok};
use crate::clients::{Channel, ChannelRef, Client};
use crate::transactions::HalfId;
use duolog_net::{Peer, told_to_stop};
use duolog_rocketmq_proto::settings::PubSub;
use duolog_rocketmq_proto::telemetry_command::Command;
use duolog_rocketmq_proto::{FilterType, Language, RecoverOrphanedTransactionCommand, Settings, Status, TelemetryCommand};
use duolog_wire::remoting::Command as Frame;
use duolog_wire::remoting::body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{CheckTransactionStateRequest, Header};
use duolog_wire::remoting::message::StoredMessage;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

/// What tools are told of a client's release: that of the protocol, 5.5.0.
const RELEASE: i32 = 513;
/// Streams are numbered apart from connections, of which each may carry several clients.
static NEXT_STREAM: AtomicU64 = AtomicU64::new(1 << 63);

pub(super) type Answers = ReceiverStream<Result<TelemetryCommand, tonic::Status>>;

/// Serves the stream in a task of its own.
pub(super) fn open(call: Call, commands: Streaming<TelemetryCommand>) -> Answers {
    let (answers, stream) = mpsc::channel(COMMANDS);
    tokio::spawn(Session::run(call, commands, answers));
    ReceiverStream::new(stream)
}

/// A stream that cannot be served, told why.
pub(super) fn refused(why: Refused) -> Answers {
    let (answers, stream) = mpsc::channel(1);
    // There is room for one.
    let _ = answers.try_send(Ok(status(why.status())));
    ReceiverStream::new(stream)
}

fn status(status: Status) -> TelemetryCommand {
    TelemetryCommand { status: Some(status), command: None }
}

/// One open stream.
struct Session {
    call: Call,
    channel: ChannelRef,
}

impl Session {
    async fn run(
        call: Call,
        mut commands: Streaming<TelemetryCommand>,
        answers: mpsc::Sender<Result<TelemetryCommand, tonic::Status>>,
    ) {
        let connection = NEXT_STREAM.fetch_add(1, Ordering::Relaxed);
        let (channel, mut frames) = Channel::new(Peer { connection, ..(*call.peer).clone() });
        let (mut closing, mut stop) = (channel.closing(), call.stop.clone());
        let session = Session { call, channel };
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(&mut stop) => break,
                () = told_to_stop(&mut closing) => break,
                () = answers.closed() => break,
                Some(frame) = frames.recv() => match question(&frame) {
                    Some(question) => if answers.send(Ok(question)).await.is_err() { break },
                    // Other remoting commands mean nothing to the client; who waits for an answer is told so.
                    None => session.channel.answered(frame.answer(response::REQUEST_CODE_NOT_SUPPORTED)),
                },
                command = commands.message() => {
                    let Ok(Some(command)) = command else { break };
                    let Some(Command::Settings(settings)) = command.command else { continue };
                    let answer = session.settle(settings).unwrap_or_else(|refused| status(refused.status()));
                    if answers.send(Ok(answer)).await.is_err() {
                        break;
                    }
                }
            }
        }
        session.end();
    }

    /// Takes the client in.
    fn settle(&self, settings: Settings) -> Result<TelemetryCommand, Refused> {
        let agreed = agree(&self.call, settings)?;
        let shared = Arc::new(agreed.clone());
        let now_ms = self.call.now_ms();
        self.call.front.clients.settle(&self.call.client_id, shared, self.channel.clone(), now_ms)?;
        join(&self.call, &agreed, &self.channel);
        Ok(TelemetryCommand { status: Some(ok()), command: Some(Command::Settings(agreed)) })
    }

    fn end(self) {
        let Session { call, channel } = self;
        channel.closed();
        call.node().clients.gone(&channel);
        call.front.clients.ended(&call.client_id, &channel, call.now_ms());
    }
}

/// A question about a transaction as the client understands it; `None` for anything else.
fn question(frame: &Frame) -> Option<TelemetryCommand> {
    if frame.code != request::CHECK_TRANSACTION_STATE {
        return None;
    }
    let header = CheckTransactionStateRequest::from_fields(&frame.fields).ok()?;
    let stored = StoredMessage::take(&mut &frame.body[..]).ok()?;
    let half = HalfId { commit_log_offset: header.commit_log_offset, table_offset: header.tran_state_table_offset };
    let message = Some(convert::message(&frame.body, &stored));
    let command = RecoverOrphanedTransactionCommand { message, transaction_id: half.text() };
    Some(TelemetryCommand { status: None, command: Some(Command::RecoverOrphanedTransactionCommand(command)) })
}

/// A consumer becomes, or stays, a member of its group, and a producer one of its topics' producers.
pub(super) fn join(call: &Call, settings: &Settings, channel: &ChannelRef) {
    let subscription = match &settings.pub_sub {
        Some(PubSub::Subscription(subscription)) => subscription,
        Some(PubSub::Publishing(publishing)) => {
            publishing.topics.iter().for_each(|topic| produces(call, settings, &topic.name, channel));
            // It may have sent to others, too.
            return call.node().clients.produces_still(channel, call.now_ms());
        }
        None => return,
    };
    let Ok(group) = group_name(subscription.group.as_ref()) else { return };
    let version = call.node().broker.clock().now().0;
    let subscribed = subscription.subscriptions.iter().map(|entry| SubscriptionData {
        topic: entry.topic.as_ref().map(|topic| topic.name.clone()).unwrap_or_default(),
        sub_string: entry.expression.as_ref().map(|filter| filter.expression.clone()).unwrap_or_default(),
        expression_type: match entry.expression.as_ref().map(|filter| filter.r#type()) {
            Some(FilterType::Sql) => "SQL92".to_owned(),
            _ => "TAG".to_owned(),
        },
        sub_version: version,
        ..SubscriptionData::default()
    });
    let data = ConsumerData {
        group_name: group.to_owned(),
        consume_type: ConsumeType::ConsumePop,
        message_model: MessageModel::Clustering,
        consume_from_where: ConsumeFromWhere::default(),
        subscription_data_set: subscribed.collect(),
        unit_mode: false,
    };
    let keeps = data.subscription_data_set.is_empty();
    call.node().clients.consumer(data, keeps, client(call, settings, channel), true);
}

/// The client produces to the topic.
pub(super) fn produces(call: &Call, settings: &Settings, topic: &str, channel: &ChannelRef) {
    call.node().clients.producer(topic, client(call, settings, channel));
}

fn client(call: &Call, settings: &Settings, channel: &ChannelRef) -> Client {
    Client {
        id: call.client_id.to_string(),
        channel: channel.clone(),
        language: settings.user_agent.as_ref().map_or(REMOTING_OTHER, |agent| remoting_language(agent.language())),
        version: RELEASE,
        seen_ms: call.now_ms(),
    }
}

const REMOTING_OTHER: u8 = 7;

/// The language's number in remoting.
fn remoting_language(language: Language) -> u8 {
    match language {
        Language::Java | Language::Kotlin => 0,
        Language::Cpp => 1,
        Language::DotNet => 2,
        Language::Python => 3,
        Language::Ruby => 6,
        Language::Golang => 9,
        Language::Php => 10,
        Language::Rust => 12,
        Language::NodeJs => 13,
        Language::Unspecified | Language::ObjectiveC | Language::Dart => REMOTING_OTHER,
    }
}
