//! Messages into the log: gathered into batches by queue, appended together, answered when they are stored.
//!
//! What one read from a connection brings is one append. Messages for one queue that come one by one share a batch, since a
//! batch costs as much as a small message; those of one request that belong together are a batch of their own, stored as a
//! whole or not at all.

use crate::message::{MessageError, MessageLimits, Outgoing, Stored, put_record};
use bytes::BytesMut;
use duolog_base::{Offset, PartitionIndex};
use duolog_core::broker::{Acks, Broker, Origin, PendingAppend, ProduceBatch, ProduceError};
use duolog_core::filter::{java_hash, tag_word};
use duolog_core::metadata::TopicImage;
use duolog_wire::record::{BatchBuilder, Compression};
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes of a batch to which no more messages of other requests are added.
const SHARED_BATCH_BYTES: usize = 128 << 10;

/// Where messages go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) topic: Arc<TopicImage>,
    pub(crate) queue: PartitionIndex,
    pub(crate) acks: Acks,
}

impl Target {
    fn is(&self, other: &Target) -> bool {
        Arc::ptr_eq(&self.topic, &other.topic) && self.queue == other.queue && self.acks == other.acks
    }
}

/// Batches that are not appended yet.
#[derive(Default)]
pub(crate) struct Gathering {
    batches: Vec<Gathered>,
}

struct Gathered {
    target: Target,
    builder: BatchBuilder,
    tags: u64,
    /// Messages of other requests may be added.
    is_open: bool,
}

/// Which place a message has been given: a batch, and its number there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    batch: usize,
    index: i32,
}

impl Gathering {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Adds a message, to a batch that is there if it fits. An error adds nothing.
    pub(crate) fn push<'a>(
        &mut self,
        target: &Target,
        message: &Outgoing<'a>,
        limits: MessageLimits,
    ) -> Result<(Place, Stored<'a>), MessageError> {
        let bytes = message.body.len() + message.properties.text().len();
        let most = SHARED_BATCH_BYTES.min(target.topic.config.max_message_bytes);
        let open = self.batches.iter_mut().enumerate().rev().find(|(_, batch)| batch.target.is(target));
        // A compressed body unpacks to who knows what.
        let fits = |batch: &Gathered| batch.is_open && batch.builder.uncompressed_bytes() + 2 * bytes <= most;
        if message.sys_flag & duolog_wire::remoting::message::sys_flag::COMPRESSED == 0
            && let Some((at, batch)) = open
            && fits(batch)
        {
            return Ok((Place { batch: at, index: batch.builder.record_count() }, batch.push(message, limits)?));
        }
        let mut batch = Gathered::new(target.clone(), true);
        let stored = batch.push(message, limits)?;
        self.batches.push(batch);
        Ok((Place { batch: self.batches.len() - 1, index: 0 }, stored))
    }

    /// Adds messages that belong together, at least one; the place of the first. An error adds none.
    pub(crate) fn push_all<'a>(
        &mut self,
        target: &Target,
        messages: impl Iterator<Item = Outgoing<'a>>,
        limits: MessageLimits,
        mut stored: impl FnMut(Stored<'a>),
    ) -> Result<Place, MessageError> {
        let mut batch = Gathered::new(target.clone(), false);
        for message in messages {
            stored(batch.push(&message, limits)?);
        }
        self.batches.push(batch);
        Ok(Place { batch: self.batches.len() - 1, index: 0 })
    }

    /// The one batch that was gathered, with the word of its tags.
    pub(crate) fn into_batch(self) -> (BytesMut, u64) {
        let mut bytes = BytesMut::new();
        let mut batches = self.batches.into_iter();
        let batch = batches.next().expect("something was gathered");
        assert!(batches.next().is_none(), "one batch");
        batch.builder.build(&mut bytes).expect("an uncompressed batch is bounded when its records are added");
        (bytes, batch.tags)
    }

    /// Gives all messages their offsets. Does not wait.
    pub(crate) fn append(self, broker: &Broker) -> Appending {
        let mut rest: Vec<(usize, Gathered)> = self.batches.into_iter().enumerate().collect();
        let mut appending = Appending { batches: vec![(0, 0); rest.len()], pending: Vec::with_capacity(1) };
        // One append for each kind of acknowledgement, as a rule only one.
        while let Some((_, first)) = rest.first() {
            let acks = first.target.acks;
            let (these, others) = rest.into_iter().partition(|(_, batch)| batch.target.acks == acks);
            rest = others;
            appending.add(broker, these, acks);
        }
        appending
    }
}

impl Gathered {
    fn new(target: Target, is_open: bool) -> Gathered {
        Gathered { target, builder: BatchBuilder::new(Compression::None), tags: tag_word(std::iter::empty()), is_open }
    }

    fn push<'a>(&mut self, message: &Outgoing<'a>, limits: MessageLimits) -> Result<Stored<'a>, MessageError> {
        let stored = put_record(&mut self.builder, message, limits)?;
        self.tags |= tag_word(stored.tag.map(java_hash).into_iter());
        Ok(stored)
    }
}

/// Messages that have their offsets, and may not be stored yet.
pub(crate) struct Appending {
    /// Of each batch: which append it is in, and which result there.
    batches: Vec<(usize, usize)>,
    pending: Vec<PendingAppend>,
}

impl Appending {
    fn add(&mut self, broker: &Broker, batches: Vec<(usize, Gathered)>, acks: Acks) {
        let bytes = batches.iter().map(|(_, batch)| batch.builder.uncompressed_bytes()).sum();
        let mut buffer = BytesMut::with_capacity(bytes);
        let mut built: Vec<(Target, u64, Range<usize>)> = Vec::with_capacity(batches.len());
        for (number, batch) in batches {
            self.batches[number] = (self.pending.len(), built.len());
            let start = buffer.len();
            batch.builder.build(&mut buffer).expect("an uncompressed batch is bounded when its records are added");
            built.push((batch.target, batch.tags, start..buffer.len()));
        }
        let produce: Vec<ProduceBatch<'_>> = built
            .iter()
            .map(|(target, tag_filter, range)| ProduceBatch {
                topic: &target.topic,
                partition: target.queue,
                range: range.clone(),
                tag_filter: *tag_filter,
            })
            .collect();
        self.pending.push(broker.append(buffer, &produce, acks, Origin::Client));
    }

    /// Ready when all messages are stored, or refused.
    pub(crate) fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut done = Poll::Ready(());
        for pending in &mut self.pending {
            if pending.poll_done(context).is_pending() {
                done = Poll::Pending;
            }
        }
        done
    }

    /// The offset of the message at a place.
    pub(crate) fn offset(&self, place: Place) -> Result<Offset, ProduceError> {
        let (append, result) = self.batches[place.batch];
        self.pending[append].results()[result].clone().map(|produced| produced.base_offset.plus(place.index.into()))
    }
}
