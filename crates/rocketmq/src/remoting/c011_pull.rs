//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361): messages of one queue from an offset on.
//!
//! *Behaviour*: where there is nothing, and the client lets it, the request is held until there is something that its
//! subscription wants. The subscription comes with the request or is the one of the group's heartbeats. The answer always has the
//! queue's ends and the offset to go on from: 19 there is nothing, 20 nothing was wanted so far, 21 the queue does not reach
//! there. An offset to commit may come along.

use crate::clients::GroupSubscription;
use crate::message::EmptyBody;
use crate::names::check_group;
use crate::node::Node;
use crate::pull::{PullOutcome, Pulled, Wanted};
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use duolog_base::{Offset, PartitionIndex};
use duolog_core::config::GroupConfig;
use duolog_core::filter::Subscription;
use duolog_core::group::Basis;
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::Command;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{PullMessageRequest, PullMessageResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bits of the request's `sysFlag`.
const HAS_COMMIT_OFFSET: i32 = 1;
const MAY_WAIT: i32 = 2;
const HAS_SUBSCRIPTION: i32 = 4;

/// Messages of one answer at most, whatever the client asks for.
const MAX_MESSAGES: i32 = 1024;
/// Bytes of one answer, unless one message is larger.
const MAX_BYTES: i32 = 1 << 20;
/// How long a request is held at most; clients ask for 15 to 20 s.
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(super) async fn handle(mut call: Call) -> Result<Answer, Refusal> {
    let (wanted, wait) = prepare(&call)?;
    if let Some(moved) = reset(&call, &wanted)? {
        return Ok(answer(moved));
    }
    let node = call.node.clone();
    let metrics = node.broker.metrics();
    let outcome = match wait {
        None => told_of_progress(node.pull(&wanted).await?, wanted.from),
        Some(wait) => {
            // The first look is free: most pulls find something.
            let outcome = node.pull(&wanted).await?;
            if outcome.pulled == Pulled::Nothing {
                call.release();
                let rest = Wanted { from: outcome.next, ..wanted.clone() };
                let waited = tokio::select! {
                    waited = node.pull_or_wait(rest, Instant::now() + wait) => waited?,
                    // Nobody waits, or the node that holds the client asks again.
                    () = call.channel.gone() => return Err(Refusal::not_here()),
                };
                told_of_progress(waited, wanted.from)
            } else {
                outcome
            }
        }
    };
    if let Pulled::Found { messages, count } = &outcome.pulled {
        metrics.bytes_out.add(messages.len() as u64);
        node.messages_out.add(*count as u64);
    }
    Ok(answer(outcome))
}

/// If the group's offset was set meanwhile, the client is sent there.
fn reset(call: &Call, wanted: &Wanted) -> Result<Option<PullOutcome>, Refusal> {
    let resets = &call.node.offsets.resets;
    if resets.is_empty() {
        return Ok(None);
    }
    let header: PullMessageRequest<'_> = call.header()?;
    let next = resets.take(header.consumer_group, header.topic, wanted.queue).filter(|offset| *offset != wanted.from);
    let Some(next) = next else { return Ok(None) };
    call.node.spread_reset_done(header.consumer_group, header.topic, vec![wanted.queue.0]);
    let ends = call.node.broker.ends(&wanted.topic, wanted.queue).ok_or_else(|| topics::unknown(header.topic))?;
    Ok(Some(PullOutcome { pulled: Pulled::Moved, next, ends }))
}

/// Whoever does not wait any longer is told that there was something, and goes on behind it.
fn told_of_progress(outcome: PullOutcome, asked: Offset) -> PullOutcome {
    match outcome.pulled {
        Pulled::Nothing if outcome.next > asked => PullOutcome { pulled: Pulled::NoneWanted, ..outcome },
        _ => outcome,
    }
}

/// The pull with what only the node knows that holds the client's connection: what its group wants of the topic. `None` if it says so
/// itself.
pub(crate) fn complete(call: &Call) -> Result<Option<Command>, Refusal> {
    let header: PullMessageRequest<'_> = call.header()?;
    if header.sys_flag & HAS_SUBSCRIPTION != 0 {
        return Ok(None);
    }
    let known = group_subscription(&call.node, &header)?.data;
    let sys_flag = (header.sys_flag | HAS_SUBSCRIPTION).to_string();
    let added = [("sysFlag", &*sys_flag), ("subscription", &known.sub_string), ("expressionType", &known.expression_type)];
    let kept = call.command.fields.iter().filter(|(name, _)| added.iter().all(|(other, _)| other != name));
    Ok(Some(Command { fields: kept.chain(added).collect(), ..call.command.clone() }))
}

/// What is wanted, and how long the client waits for it.
fn prepare(call: &Call) -> Result<(Wanted, Option<Duration>), Refusal> {
    let header: PullMessageRequest<'_> = call.header()?;
    let node = &call.node;
    let image = node.broker.image();
    let topic = topics::find(&image, header.topic)?;
    check_permissions(image.group_config.get(header.consumer_group), topic, header.consumer_group)?;
    let queue = topics::queue(topic, header.queue_id)?;
    let subscription = subscription(node, &header)?;
    let commits = header.sys_flag & HAS_COMMIT_OFFSET != 0 && header.commit_offset >= 0;
    if commits && check_group(header.consumer_group).is_ok() {
        // The queue's leader hears it, and its word may come to the group's home after a later one of the client's own.
        node.note_offset(header.consumer_group, header.topic, queue, Offset(header.commit_offset), Basis::Ahead);
    }
    let wanted = wanted(call, &header, topic.clone(), queue, subscription);
    let wait = Duration::from_millis(u64::try_from(header.suspend_timeout_millis).unwrap_or(0)).min(MAX_WAIT);
    let may_wait = header.sys_flag & MAY_WAIT != 0 && !wait.is_zero();
    Ok((wanted, may_wait.then_some(wait)))
}

fn wanted(
    call: &Call,
    header: &PullMessageRequest<'_>,
    topic: Arc<TopicImage>,
    queue: PartitionIndex,
    subscription: Arc<Subscription>,
) -> Wanted {
    Wanted {
        topic,
        queue,
        from: Offset(header.queue_offset.max(0)),
        max_messages: header.max_msg_nums.clamp(1, MAX_MESSAGES) as usize,
        max_bytes: header.max_msg_bytes.unwrap_or(MAX_BYTES).clamp(1, MAX_BYTES) as usize,
        subscription,
        store_host: call.node.store_host(call.channel.peer()),
        empty_body: EmptyBody::for_client(call.command.language, call.command.version),
    }
}

fn check_permissions(
    group: Option<&std::collections::BTreeMap<String, String>>,
    topic: &TopicImage,
    name: &str,
) -> Result<(), Refusal> {
    let refused = |what: String| Err(Refusal::new(response::NO_PERMISSION, what));
    if !topic.config.perm.may_read() {
        return refused(format!("the topic[{}] pulling message is forbidden", topic.name));
    }
    let config = group.map(GroupConfig::resolve).transpose();
    match config {
        Ok(Some(config)) if !config.consume => refused(format!("subscription group no permission, {name}")),
        _ => Ok(()),
    }
}

fn subscription(node: &Node, header: &PullMessageRequest<'_>) -> Result<Arc<Subscription>, Refusal> {
    if header.sys_flag & HAS_SUBSCRIPTION != 0 {
        let text = header.subscription.unwrap_or_default();
        return Ok(Arc::new(Subscription::of_type(header.expression_type, text)?));
    }
    Ok(group_subscription(node, header)?.filter?)
}

/// What the group's members say that they want of the topic.
fn group_subscription(node: &Node, header: &PullMessageRequest<'_>) -> Result<GroupSubscription, Refusal> {
    let missing = |what: &str| Refusal::new(response::SUBSCRIPTION_NOT_EXIST, format!("the consumer's {what} not exist"));
    let known = node.clients.with_consumers(header.consumer_group, |group| group.subscriptions.get(header.topic).cloned());
    let known = known.ok_or_else(|| missing("group info"))?.ok_or_else(|| missing("subscription"))?;
    if known.data.sub_version < header.sub_version {
        return Err(Refusal::new(response::SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest"));
    }
    Ok(known)
}

fn answer(outcome: PullOutcome) -> Answer {
    let (code, messages) = match outcome.pulled {
        Pulled::Found { messages, .. } => (response::SUCCESS, Some(messages)),
        Pulled::NoneWanted => (response::PULL_RETRY_IMMEDIATELY, None),
        Pulled::Nothing => (response::PULL_NOT_FOUND, None),
        Pulled::Moved => (response::PULL_OFFSET_MOVED, None),
    };
    let header = PullMessageResponse {
        suggest_which_broker_id: 0,
        next_begin_offset: outcome.next.0,
        min_offset: outcome.ends.log_start.0,
        max_offset: outcome.ends.high_watermark.0,
        ..PullMessageResponse::default()
    };
    Answer::of(code).header(header).bytes(messages.unwrap_or_default())
}
