//! Reading messages: batches of the log, filtered and put into RocketMQ's encoding; and waiting for them.
//!
//! A read goes on over batches without a wanted message until it has some, or has looked at enough for one request. Batches in
//! memory are read where they lie; those in files are held to their checksums ([`crate::collect`]), and what one pull leaves of them is
//! there for the next.

use crate::ahead::Region;
use crate::collect::collect;
use crate::message::{EmptyBody, MessageView};
use crate::node::Node;
use crate::remoting::Refusal;
use crate::transcode::{Source, TranscodeError, TranscodeLimits, Transcoder};
use bytes::{Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex};
use duolog_core::broker::{Broker, FetchError, PartitionEnds};
use duolog_core::filter::Subscription;
use duolog_core::metadata::TopicImage;
use duolog_log::{ReadError, ReadPart, ReadPlan};
use duolog_net::Blocks;
use duolog_wire::record::{BatchHeader, batches};
use duolog_wire::remoting::code::response;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes of batches that one step of a read plans for each message wanted, and at most.
const PLANNED_BYTES_PER_MESSAGE: usize = 4 << 10;
const LEAST_PLANNED_BYTES: usize = 64 << 10;
const MOST_PLANNED_BYTES: usize = 1 << 20;
/// Bytes of batches that one request looks at without finding a wanted message.
const SCANNED_BYTES: usize = 16 << 20;
/// Plans that one request makes: those that leave out batches by their tags may be empty.
const PLANS: usize = 64;
/// Room made for an answer at first, at most, and for what a message takes beside its part of a batch.
const FIRST_ANSWER_BYTES: usize = 64 << 10;
const FRAMING_BYTES: usize = 256;

/// What is to be read.
#[derive(Clone)]
pub struct Wanted {
    pub topic: Arc<TopicImage>,
    pub queue: PartitionIndex,
    pub from: Offset,
    pub max_messages: usize,
    /// Of the answer, unless one message is larger.
    pub max_bytes: usize,
    pub subscription: Arc<Subscription>,
    /// What clients are told of the broker's address.
    pub store_host: SocketAddr,
    pub empty_body: EmptyBody,
}

/// What a read came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// Messages, one behind the other.
    Found { messages: Bytes, count: usize },
    /// There were messages, and none was wanted.
    NoneWanted,
    /// There is nothing yet.
    Nothing,
    /// The queue does not reach to where the read was to begin.
    Moved,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullOutcome {
    pub pulled: Pulled,
    /// Where to read on.
    pub next: Offset,
    pub ends: PartitionEnds,
}

impl Node {
    /// Reads once.
    pub async fn pull(&self, wanted: &Wanted) -> Result<PullOutcome, Refusal> {
        if self.cluster.is_some() {
            // A follower has the messages, too, but does not know at once what is committed.
            let partition = wanted.topic.partition(wanted.queue);
            partition.and_then(|partition| self.broker.leads(partition)).ok_or_else(Refusal::not_here)?;
        }
        let mut reading = Reading::new(wanted);
        loop {
            let planned = wanted.max_messages.saturating_mul(PLANNED_BYTES_PER_MESSAGE);
            let planned = planned.clamp(LEAST_PLANNED_BYTES, MOST_PLANNED_BYTES);
            let (from, tags) = (reading.next(), wanted.subscription.tag_filter());
            if let Some((region, ends)) = self.read_before(wanted, from) {
                reading.take_region(&region, from)?;
                if reading.is_enough() {
                    return Ok(reading.outcome(ends));
                }
                continue;
            }
            let fetched = match self.broker.read(&wanted.topic, wanted.queue, from, planned, true, tags) {
                Ok(fetched) => fetched,
                Err(FetchError::OutOfRange { ends, .. }) => return Ok(reading.moved(ends)),
                Err(error) => return Err(error.into()),
            };
            if fetched.plan.next == from {
                return Ok(reading.outcome(fetched.ends));
            }
            let region = reading.take(fetched.plan, &self.ahead.blocks, &self.broker).await?;
            // What a filter has left out makes gaps.
            if let Some(region) = region.filter(|_| tags.is_none()) {
                self.ahead.keep(region);
            }
            if reading.is_enough() {
                return Ok(reading.outcome(fetched.ends));
            }
        }
    }

    /// What an earlier read has brought from this offset on, if all of it may be shown.
    fn read_before(&self, wanted: &Wanted, from: Offset) -> Option<(Region, PartitionEnds)> {
        let number = wanted.topic.partition(wanted.queue)?.number;
        let region = self.ahead.find(number, from)?;
        let ends = self.broker.ends(&wanted.topic, wanted.queue)?;
        (from >= ends.log_start && region.next <= ends.high_watermark).then_some((region, ends))
    }

    /// The message at an offset, as clients read it; `None` if it is not there any more.
    pub async fn message_at(
        &self,
        topic: &Arc<TopicImage>,
        queue: PartitionIndex,
        offset: Offset,
        store_host: SocketAddr,
    ) -> Result<Option<Bytes>, Refusal> {
        let wanted = Wanted {
            topic: topic.clone(),
            queue,
            from: offset,
            max_messages: 1,
            max_bytes: 0,
            subscription: Arc::new(Subscription::all()),
            store_host,
            empty_body: EmptyBody::AsItIs,
        };
        let outcome = self.pull(&wanted).await?;
        Ok(match outcome.pulled {
            // Compaction may have taken the message away, and the one found is a later one.
            Pulled::Found { messages, .. } if outcome.next == offset.plus(1) => Some(messages),
            _ => None,
        })
    }

    /// Reads; if there is nothing, waits for something that is wanted, until the deadline.
    pub async fn pull_or_wait(&self, mut wanted: Wanted, deadline: Instant) -> Result<PullOutcome, Refusal> {
        let asked = wanted.from;
        let mut stopping = self.broker.stopping();
        let mut images = self.broker.metadata().changes();
        let mut is_over = false;
        loop {
            let number = wanted.topic.partition(wanted.queue).map(|partition| (partition.number, wanted.topic.config.flush));
            // Reads after the registration, so that nothing that arrives is missed.
            let watch = self.broker.watch(number);
            let mut outcome = self.pull(&wanted).await?;
            let has_passed = outcome.next > asked && outcome.pulled == Pulled::Nothing;
            if is_over && has_passed {
                outcome.pulled = Pulled::NoneWanted;
            }
            if is_over || outcome.pulled != Pulled::Nothing {
                return Ok(outcome);
            }
            wanted.from = outcome.next;
            tokio::select! {
                biased;
                () = watch.changed() => {}
                _ = images.changed() => {
                    let name = &wanted.topic.name;
                    let image = self.broker.image();
                    let topic = image.topic(name).filter(|topic| topic.id == wanted.topic.id);
                    wanted.topic = topic.cloned().ok_or_else(|| crate::topics::unknown(name))?;
                }
                _ = stopping.wait_for(|stopping| *stopping) => is_over = true,
                () = tokio::time::sleep_until(deadline) => is_over = true,
            }
        }
    }
}

/// A read under way.
struct Reading<'a> {
    wanted: &'a Wanted,
    transcoder: Transcoder<'a>,
    out: BytesMut,
    /// Behind the batches that cannot be read.
    resume: Option<Offset>,
    scanned: usize,
    plans: usize,
    /// Offset behind the batches looked at.
    passed: Offset,
}

impl<'a> Reading<'a> {
    fn new(wanted: &'a Wanted) -> Reading<'a> {
        let transcoder = transcoder(wanted, wanted.from);
        Reading { wanted, transcoder, out: BytesMut::new(), resume: None, scanned: 0, plans: 0, passed: wanted.from }
    }

    /// Where the next step begins.
    fn next(&self) -> Offset {
        self.passed.max(self.transcoder.progress().next)
    }

    /// Takes what is planned; gives what was read from files, if not all of it was taken.
    async fn take(&mut self, mut plan: ReadPlan, blocks: &Arc<Blocks>, broker: &Broker) -> Result<Option<Region>, Refusal> {
        self.scanned += plan.bytes;
        self.plans += 1;
        let first = self.next();
        if plan.parts.iter().all(|part| matches!(part, ReadPart::Memory(_))) {
            for part in &plan.parts {
                if let ReadPart::Memory(batch) = part
                    && self.push(batch)?
                {
                    return Ok(None);
                }
            }
        } else {
            let number = self.wanted.topic.partition(self.wanted.queue).map(|partition| partition.number).unwrap_or_default();
            let bytes = collect(blocks, &mut plan).await.map_err(|error| {
                broker.suspect(number, first, plan.next, &error);
                unreadable(&error)
            })?;
            let region = Region { number, first, next: plan.next, bytes };
            if self.push_batches(&region.bytes, first)? {
                return Ok(Some(region));
            }
        }
        self.passed = plan.next;
        Ok(None)
    }

    /// Takes what an earlier read has brought.
    fn take_region(&mut self, region: &Region, from: Offset) -> Result<(), Refusal> {
        self.scanned += region.bytes.len();
        self.plans += 1;
        if !self.push_batches(&region.bytes, from)? {
            self.passed = region.next;
        }
        Ok(())
    }

    /// The batches that reach beyond `from`; whether there is no room for more, or a reason to stop.
    fn push_batches(&mut self, bytes: &[u8], from: Offset) -> Result<bool, Refusal> {
        for (header, place) in batches(bytes).map_while(Result::ok) {
            if header.last_offset() >= from && self.push(&bytes[place])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the messages of a batch; whether there is no room for more, or a reason to stop.
    fn push(&mut self, batch: &[u8]) -> Result<bool, Refusal> {
        if self.out.capacity() == 0 {
            self.out.reserve(answer_bytes(batch, self.wanted.max_messages));
        }
        let subscription = &*self.wanted.subscription;
        let mut is_wanted = |message: &MessageView<'_>| subscription.matches(message.tag(), message);
        match self.transcoder.push_batch(batch, &mut is_wanted, &mut self.out) {
            Ok(progress) => Ok(progress.full),
            Err(error) => self.skip(&error),
        }
    }

    /// A batch that cannot be decoded does not hold up the queue: what comes before it is given first.
    fn skip(&mut self, error: &TranscodeError) -> Result<bool, Refusal> {
        if self.transcoder.progress().messages > 0 {
            self.resume = Some(self.transcoder.progress().next);
            return Ok(true);
        }
        let (topic, queue) = (&self.wanted.topic.name, self.wanted.queue);
        tracing::warn!(topic, %queue, %error, "a stored batch cannot be shown to RocketMQ clients");
        let resume = error.resume().ok_or_else(|| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
        self.transcoder = transcoder(self.wanted, resume);
        self.passed = resume;
        Ok(false)
    }

    fn is_enough(&self) -> bool {
        let progress = self.transcoder.progress();
        progress.full || progress.messages > 0 || self.resume.is_some() || self.scanned >= SCANNED_BYTES || self.plans >= PLANS
    }

    fn outcome(self, ends: PartitionEnds) -> PullOutcome {
        let progress = self.transcoder.progress();
        let (pulled, next) = match progress.messages {
            0 if self.next() >= ends.high_watermark => (Pulled::Nothing, self.next()),
            0 => (Pulled::NoneWanted, self.next()),
            count => (Pulled::Found { messages: self.out.freeze(), count }, progress.next),
        };
        PullOutcome { pulled, next, ends }
    }

    /// The queue begins later, or ends earlier.
    fn moved(&self, ends: PartitionEnds) -> PullOutcome {
        let next = if self.next() < ends.log_start { ends.log_start } else { ends.high_watermark };
        PullOutcome { pulled: Pulled::Moved, next, ends }
    }
}

fn transcoder(wanted: &Wanted, from: Offset) -> Transcoder<'_> {
    let number = wanted.topic.partition(wanted.queue).map_or_else(Default::default, |partition| partition.number);
    let source = Source { topic: &wanted.topic.name, queue: wanted.queue, number, store_host: wanted.store_host };
    let limits = TranscodeLimits { max_messages: wanted.max_messages, max_bytes: wanted.max_bytes };
    Transcoder::new(source, from, limits).with_empty_body(wanted.empty_body)
}

fn unreadable(error: &ReadError) -> Refusal {
    tracing::error!(%error, "reading failed");
    Refusal::new(response::SYSTEM_ERROR, format!("reading failed: {error}"))
}

/// Room for an answer of so many messages, if they are as large as those of this batch.
fn answer_bytes(batch: &[u8], max_messages: usize) -> usize {
    let messages = BatchHeader::parse(batch).map_or(1, |header| header.record_count.max(1) as usize);
    let each = batch.len() / messages + FRAMING_BYTES;
    each.saturating_mul(max_messages).min(FIRST_ANSWER_BYTES)
}
