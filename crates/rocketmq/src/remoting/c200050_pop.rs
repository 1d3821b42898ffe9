//! POP_MESSAGE (200050): messages that nobody else in the group gets until they are acknowledged or their time is over.
//!
//! *Behaviour*: where there is nothing the request is held until there is something, or so long after it was made; a queue of -1 means
//! any. The client makes each message's checkpoint from what the answer has in common: time and number of the delivery lie in
//! `popTime` and `reviveQid`, so that whoever acknowledges an earlier delivery is told that it is over, and nothing happens. What is
//! not acknowledged comes again in place, with the deliveries so far as `reconsumeTimes`, and after the group's last attempt is a dead
//! letter. In order (`order`), a message waits until those of its message group that were given are acknowledged; a request of the
//! same `attemptId` gets the same once more. The answer always has its header: 209 too many requests are held, 210 there is nothing.

use crate::cluster::Place;
use crate::deliveries::{Begin, Given, MOST_HIDDEN, Receive};
use crate::group_config::max_attempts;
use crate::node::Node;
use crate::remoting::admin::invalid;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::remoting::pop::{Arrivals, Asker, holding, leaders, look_at};
use bytes::BytesMut;
use duolog_core::filter::Subscription;
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::checkpoint::{PoppedLists, PoppedMessage};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{PopMessageRequest, PopMessageResponse};
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::properties::{Properties, name, put_property};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Messages of one answer at most.
const MOST_MESSAGES: usize = 32;
/// A group without an offset begins with what is there, or as one that pulls.
const FROM_START: i32 = 0;
const FROM_END: i32 = 1;

/// What a request wants.
struct Pop {
    asker: Asker,
    want: usize,
    hidden: Duration,
    subscription: Arc<Subscription>,
    store_host: SocketAddr,
    max_attempts: u32,
    held: Duration,
}

pub(super) async fn handle(mut call: Call) -> Result<Answer, Refusal> {
    let pop = prepare(&call)?;
    let node = call.node.clone();
    let deadline = Instant::now() + pop.held;
    let leaders = leaders(&call, &pop.asker);
    if let Some(answer) = look(&call, &pop, &leaders[..]).await? {
        return Ok(answer);
    }
    if pop.held.is_zero() {
        return Ok(nothing(&pop, response::POLLING_TIMEOUT));
    }
    let Some(_poll) = node.polls.hold(&pop.asker.group, &pop.asker.topic.name, pop.asker.queue_id()) else {
        return Ok(nothing(&pop, response::POLLING_FULL));
    };
    call.release_room();
    tokio::select! {
        answer = wait(&call, &pop, leaders, deadline) => answer,
        () = gone_elsewhere(&node, &pop.asker) => Err(Refusal::not_here()),
        // Nobody waits, or the node that holds the client asks again.
        () = call.channel.gone() => Err(Refusal::not_here()),
    }
}

fn prepare(call: &Call) -> Result<Pop, Refusal> {
    let header: PopMessageRequest<'_> = call.header()?;
    let node = &call.node;
    let mut asker = Asker::new(node, header.consumer_group, header.topic, header.queue_id)?;
    asker.is_ordered = header.order;
    asker.attempt_id = header.attempt_id.filter(|id| !id.is_empty()).map(str::to_owned);
    asker.begin = match header.init_mode {
        FROM_START => Begin::Start,
        FROM_END => Begin::Usual,
        mode => return Err(invalid(format!("initMode {mode} is unknown"))),
    };
    let want = usize::try_from(header.max_msg_nums).ok().filter(|want| (1..=MOST_MESSAGES).contains(want));
    let want = want.ok_or_else(|| invalid(format!("{} messages, 1 to {MOST_MESSAGES} are possible", header.max_msg_nums)))?;
    let hidden = hidden(header.invisible_time).filter(|hidden| !hidden.is_zero());
    let subscription = match header.exp {
        None | Some("") => Subscription::all(),
        Some(expression) => Subscription::of_type(header.exp_type, expression)?,
    };
    Ok(Pop {
        want,
        hidden: hidden.ok_or_else(|| illegal_time(header.invisible_time))?,
        subscription: Arc::new(subscription),
        store_host: node.store_host(call.channel.peer()),
        max_attempts: u32::try_from(max_attempts(&node.group_config(&asker.group)?)).unwrap_or(u32::MAX),
        held: holding(node, header.born_time, header.poll_time),
        asker,
    })
}

/// How long a message is hidden from the rest of its group, if it can be that.
pub(super) fn hidden(milliseconds: i64) -> Option<Duration> {
    let hidden = Duration::from_millis(u64::try_from(milliseconds).ok()?);
    (hidden <= MOST_HIDDEN).then_some(hidden)
}

pub(super) fn illegal_time(milliseconds: i64) -> Refusal {
    invalid(format!("invisible for {milliseconds} ms; at most {} ms are possible", MOST_HIDDEN.as_millis()))
}

/// Waits until one of the leaders gives something.
async fn wait(call: &Call, pop: &Pop, leaders: Vec<Place>, deadline: Instant) -> Result<Answer, Refusal> {
    let mut arrivals = Arrivals::new(call, &pop.asker, leaders, deadline);
    while let Some(places) = arrivals.next().await? {
        if let Some(answer) = look(call, pop, &places).await? {
            return Ok(answer);
        }
    }
    Ok(nothing(pop, response::POLLING_TIMEOUT))
}

/// The first of these nodes that has something gives it.
async fn look(call: &Call, pop: &Pop, places: &[Place]) -> Result<Option<Answer>, Refusal> {
    let turn = call.node.polls.turn();
    for at in 0..places.len() {
        let found = match places[(turn + at) % places.len()] {
            Place::Here => {
                let given = take(call, pop, turn).await?;
                if given.is_empty() { None } else { Some(found(&call.node, pop, given).await) }
            }
            Place::At(other) => look_at(call, other).await,
            Place::Nowhere => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Takes what there is in the queues that this node leads.
async fn take(call: &Call, pop: &Pop, turn: usize) -> Result<Vec<Given>, Refusal> {
    let receive = Receive {
        topic: pop.asker.topic.clone(),
        subscription: pop.subscription.clone(),
        store_host: pop.store_host,
        hidden: pop.hidden,
        renewed_by: None,
        order: pop.asker.order(),
        begin: pop.asker.begin,
        max_attempts: pop.max_attempts,
        number: 0,
        // Members of this protocol pull their retry topic.
        with_returned: false,
    };
    let (group, queues) = (&pop.asker.group, pop.asker.queues(turn));
    Ok(call.node.deliveries.wait(&call.node, group, receive, queues, pop.want, Instant::now()).await?)
}

/// Ends when another node leads the one queue that is asked for: the request goes there.
async fn gone_elsewhere(node: &Node, asker: &Asker) {
    let mut images = node.broker.metadata().changes();
    let is_here = |queue| {
        let image = node.broker.image();
        let topic = image.topic(&asker.topic.name).filter(|topic| topic.id == asker.topic.id);
        topic.and_then(|topic: &Arc<TopicImage>| topic.partition(queue)).is_none_or(|at| node.place_of(&image, at) == Place::Here)
    };
    while asker.queue.is_none_or(is_here) && images.changed().await.is_ok() {}
}

/// The answer that brings these messages.
async fn found(node: &Node, pop: &Pop, mut given: Vec<Given>) -> Answer {
    given.sort_by_key(|given| (given.queue, given.handle.offset));
    node.messages_out.add(given.len() as u64);
    let messages = given.iter().map(|given| PoppedMessage {
        queue: given.queue.0,
        offset: given.handle.offset.0,
        times: given.attempt.saturating_sub(1),
    });
    let lists = PoppedLists::of(&messages.collect::<Vec<_>>());
    let mut body = BytesMut::with_capacity(given.iter().map(|given| given.encoded.len()).sum());
    given.iter().for_each(|given| put(given, &mut body));
    node.broker.metrics().bytes_out.add(body.len() as u64);
    let (pop_time, revive_qid) = given.first().map_or((0, 0), |given| given.handle.popped());
    let header = PopMessageResponse {
        pop_time,
        invisible_time: pop.hidden.as_millis() as i64,
        revive_qid,
        rest_num: rest(node, pop).await,
        start_offset_info: Some(&lists.start_offsets),
        msg_offset_info: Some(&lists.offsets),
        order_count_info: (pop.asker.is_ordered && !lists.order_counts.is_empty()).then_some(&lists.order_counts),
    };
    Answer::ok().header(header).bytes(body.freeze())
}

/// How many messages follow in the queues that this node leads.
async fn rest(node: &Node, pop: &Pop) -> i64 {
    let mut rest = 0u64;
    for queue in pop.asker.queues(0) {
        // One that is not led here, or not any more, has none.
        rest += node.deliveries.standing(node, &pop.asker.reader(), queue).await.map_or(0, |standing| standing.rest);
    }
    i64::try_from(rest).unwrap_or(i64::MAX)
}

/// Appends a message as its consumer is to see it: with the deliveries that it had before, and without a checkpoint that it was sent with.
fn put(given: &Given, out: &mut BytesMut) {
    let times = i32::try_from(given.attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let stored = StoredMessage::take(&mut &given.encoded[..]);
    let is_fit = |stored: &StoredMessage<'_>| times == 0 && stored.properties.get(name::POP_CHECKPOINT).is_none();
    match stored {
        Ok(stored) if !is_fit(&stored) => {
            let mut properties = BytesMut::with_capacity(stored.properties.text().len());
            for (name, value) in stored.properties {
                if !matches!(name, name::POP_CHECKPOINT | name::FIRST_POP_TIME) {
                    put_property(&mut properties, name.as_bytes(), value.as_bytes());
                }
            }
            let text = String::from_utf8_lossy(&properties);
            let reconsume_times = stored.reconsume_times.saturating_add(times);
            let shown = StoredMessage { reconsume_times, properties: Properties::new(&text), ..stored };
            // What was read with more properties can be written with fewer.
            if shown.put(out).is_err() {
                out.extend_from_slice(&given.encoded);
            }
        }
        _ => out.extend_from_slice(&given.encoded),
    }
}

/// An answer without messages.
fn nothing(pop: &Pop, code: i32) -> Answer {
    let header = PopMessageResponse { invisible_time: pop.hidden.as_millis() as i64, ..PopMessageResponse::default() };
    let header = PopMessageResponse { start_offset_info: Some(""), msg_offset_info: Some(""), ..header };
    Answer::of(code).header(header)
}
