//! Telemetry: the stream of commands that each client keeps open, first of all to agree on settings.
//!
//! *Behaviour*: settings are answered with settings, or with the status that refuses them. While the stream is open the client
//! lives, and if it consumes it is a member of its group. Results of commands that this server never sends are passed over.

use super::call::{Call, group_name};
use super::limits::COMMANDS;
use super::settings::agree;
use super::status::{Refused, ok};
use crate::clients::{Channel, ChannelRef, Client};
use duolog_net::{Peer, told_to_stop};
use duolog_rocketmq_proto::settings::PubSub;
use duolog_rocketmq_proto::telemetry_command::Command;
use duolog_rocketmq_proto::{FilterType, Language, Settings, Status, TelemetryCommand};
use duolog_wire::remoting::body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData};
use duolog_wire::remoting::code::response;
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
                Some(frame) = frames.recv() => {
                    // Remoting commands mean nothing to the client; who waits for an answer is told so.
                    session.channel.answered(frame.answer(response::REQUEST_CODE_NOT_SUPPORTED));
                }
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

/// A consumer becomes, or stays, a member of its group.
pub(super) fn join(call: &Call, settings: &Settings, channel: &ChannelRef) {
    let Some(PubSub::Subscription(subscription)) = &settings.pub_sub else { return };
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
    let client = Client {
        id: call.client_id.to_string(),
        channel: channel.clone(),
        language: settings.user_agent.as_ref().map_or(REMOTING_OTHER, |agent| remoting_language(agent.language())),
        version: RELEASE,
        seen_ms: call.now_ms(),
    };
    let keeps = data.subscription_data_set.is_empty();
    call.node().clients.consumer(data, keeps, client, true);
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
