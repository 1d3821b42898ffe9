//! Asking producers what became of a transaction that nobody has ended: CHECK_TRANSACTION_STATE (39), with the half message.
//!
//! Any live producer of the message's group is asked, at whichever node it is connected, and another one each time. It answers with
//! END_TRANSACTION, or not at all. gRPC's producers are among them: their streams make a command of their own of it. After the last question the
//! message goes to the topic [`UNRESOLVED_TOPIC`], or is dropped, as the configuration says.

use crate::clients::Client;
use crate::locator::Locator;
use crate::message::MessageView;
use crate::node::Node;
use crate::transcode::{Source, put_message_with};
use bytes::BytesMut;
use duolog_base::PartitionIndex;
use duolog_core::delay::{self, Ended, Ending, Question, Resolution};
use duolog_wire::record::{DecompressLimits, Record, decode_batch};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::{CheckTransactionStateRequest, Header};
use duolog_wire::remoting::properties::name;
use duolog_wire::remoting::{Command, HeaderForm};
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Where messages end of which nobody knows anything.
const UNRESOLVED_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
const UNRESOLVED_QUEUES: i32 = 1;
/// How often was asked, this time included.
const CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Questions that are under way at a time.
const ASKED_AT_ONCE: usize = 32;

impl Node {
    /// Begins to ask producers about half messages; once.
    pub(crate) fn begin_asking(self: &Arc<Self>) {
        self.asks.get_or_init(|| {
            tokio::spawn(ask(Arc::downgrade(self), self.delays.questions()));
        });
    }

    async fn ask_owner(&self, question: Question) {
        let (offset, asked) = (question.offset.0, question.asked);
        if asked >= self.broker.config().transaction_check_max {
            return self.give_up(question).await;
        }
        let group = &question.half.owner.group;
        let Some(frame) = self.check_request(&question) else {
            return tracing::error!(group, offset, "a half message cannot be read");
        };
        if !self.tell_producer(group, asked, frame).await {
            tracing::info!(group, offset, asked, "no producer is there to be asked about a transaction");
        }
    }

    /// Nobody knows what is to become of the message.
    async fn give_up(&self, question: Question) {
        let Question { number, offset, half, asked, .. } = question;
        let resolution = match self.broker.config().transaction_drop_unresolved {
            true => Resolution::Rollback,
            false => match self.unresolved_place().await {
                Some(target) => Resolution::Divert(target),
                // It is tried again when the next question would be due.
                None => return tracing::warn!(topic = UNRESOLVED_TOPIC, "the topic of unresolved transactions is not there"),
            },
        };
        let (group, topic) = (half.owner.group, half.delayed.target.topic);
        let ending = Ending { offset, group: group.clone(), transaction: None, resolution };
        match self.delays.end(number, ending).await {
            Ok(Ended::Done) => {
                tracing::warn!(group, topic, asked, "nobody knows what is to become of a transaction: it is given up")
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(group, topic, %error, "a transaction cannot be given up now"),
        }
    }

    async fn unresolved_place(&self) -> Option<delay::Target> {
        let topic = self.create_topic(UNRESOLVED_TOPIC, UNRESOLVED_QUEUES).await.ok()?;
        let partition = PartitionIndex(0);
        let number = topic.partition(partition)?.number;
        Some(delay::Target { number, topic: topic.name.clone(), partition })
    }

    /// The question in a frame; `None` if the message cannot be read.
    fn check_request(&self, question: &Question) -> Option<Command> {
        let Question { number, offset, asked, half, .. } = question;
        let batch = decode_batch(&half.delayed.batch, DecompressLimits::default()).ok()?;
        let record = batch.records().next()?.ok()?;
        let message = MessageView::new(Record { offset: *offset, ..record });
        let (target, store_host) = (&half.delayed.target, self.own_address());
        let source = Source { topic: &target.topic, queue: target.partition, number: *number, store_host };
        let mut body = BytesMut::new();
        let times = asked.saturating_add(1).to_string();
        put_message_with(&source, &message, &[(CHECK_TIMES, &times)], &mut body).ok()?;
        let locator = Locator::pack(*number, *offset);
        let id = locator.message_id(store_host).to_string();
        let mut frame = Command::request(request::CHECK_TRANSACTION_STATE, 0, HeaderForm::Json);
        let header = CheckTransactionStateRequest {
            topic: Some(&target.topic),
            tran_state_table_offset: offset.0,
            commit_log_offset: locator.to_wire(),
            msg_id: message.property(name::UNIQUE_KEY),
            transaction_id: message.property(name::UNIQUE_KEY),
            offset_msg_id: Some(&id),
        };
        header.put(&mut frame.fields);
        Some(frame.one_way().with_body(body.freeze()))
    }

    /// Hands a question to a producer of this node; false if there is none that takes it. Who is asked depends on the turn.
    pub(crate) fn tell_producer_here(&self, group: &str, turn: u32, frame: &Command) -> bool {
        let mut producers: Vec<Client> = self.clients.producers(group);
        producers.sort_unstable_by_key(|client| client.channel.id());
        let first = turn as usize % producers.len().max(1);
        producers.rotate_left(first);
        producers.iter().any(|client| client.channel.notify(frame.clone()).is_ok())
    }
}

/// Asks until the node is gone.
async fn ask(node: Weak<Node>, mut questions: mpsc::Receiver<Question>) {
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            question = questions.recv(), if under_way.len() < ASKED_AT_ONCE => {
                let (Some(question), Some(node)) = (question, node.upgrade()) else { return };
                under_way.spawn(async move { node.ask_owner(question).await });
            }
        }
    }
}
