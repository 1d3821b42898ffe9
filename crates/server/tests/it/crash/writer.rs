//! A producer that outlives the server: up to five batches in flight, and with an identity it sends what was not answered
//! once more, with the same bytes, to the server that comes next.

use super::ledger::{Ledger, Topic, hash};
use super::raw::{ACKS_ALL, Pipe};
use bytes::BytesMut;
use duolog_base::{ProducerEpoch, ProducerId, TimestampMs};
use duolog_sim::{Origin, Promise, Random, ValueHash};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// As many batches as the server remembers of a producer.
const IN_FLIGHT: usize = 5;
const MOST_RECORDS: u64 = 30;
const MOST_PADDING: u64 = 4_000;

struct Batch {
    bytes: BytesMut,
    values: Vec<ValueHash>,
}

pub(super) struct Writer {
    name: &'static str,
    topic: Topic,
    partition: i32,
    acks: i16,
    idempotent: bool,
    identity: Option<(ProducerId, ProducerEpoch)>,
    random: Random,
    next_value: u64,
    sequence: i32,
    /// Sent and not answered, oldest first.
    waiting: VecDeque<Batch>,
    /// Batches sent again after a restart.
    pub(super) sent_again: usize,
}

impl Writer {
    pub(super) fn new(name: &'static str, topic: Topic, partition: i32, acks: i16, random: Random) -> Writer {
        Writer {
            name,
            topic,
            partition,
            acks,
            idempotent: false,
            identity: None,
            random,
            next_value: 0,
            sequence: 0,
            waiting: VecDeque::new(),
            sent_again: 0,
        }
    }

    pub(super) fn idempotent(mut self) -> Writer {
        self.idempotent = true;
        self
    }

    /// Whether everything it is acknowledged survives loss of power.
    pub(super) fn is_durable(&self) -> bool {
        self.acks == ACKS_ALL && self.topic.promise == Promise::Durable
    }

    pub(super) fn is_answered(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes until `stop` and then until all is answered, or until the server is gone.
    pub(super) fn run(&mut self, address: &str, ledger: &Mutex<Ledger>, stop: &AtomicBool) -> io::Result<()> {
        let mut pipe = Pipe::open(address)?;
        if !self.idempotent {
            // Whether they are stored is not known, and stays so.
            self.waiting.clear();
        } else if self.identity.is_none() {
            self.identity = Some(pipe.producer_id()?);
        }
        for batch in &self.waiting {
            pipe.produce(self.acks, self.topic.name, self.partition, &batch.bytes)?;
            self.sent_again += 1;
        }
        loop {
            while self.waiting.len() < IN_FLIGHT && !stop.load(Ordering::Relaxed) {
                let batch = self.next_batch(ledger);
                self.waiting.push_back(batch);
                pipe.produce(self.acks, self.topic.name, self.partition, &self.waiting[self.waiting.len() - 1].bytes)?;
            }
            if self.waiting.is_empty() {
                return Ok(());
            }
            let answer = pipe.produced()?;
            if answer.error == ErrorCode::KafkaStorageError {
                // Its disk has failed, so it is about to end. What it refused may be stored all the same.
                return Err(io::Error::other("the server's log has failed"));
            }
            assert_eq!(answer.error, ErrorCode::None, "{} to {}-{}", self.name, self.topic.name, self.partition);
            let batch = self.waiting.pop_front().unwrap();
            let promise = if self.acks == ACKS_ALL { self.topic.promise } else { Promise::Written };
            ledger.lock().unwrap().acked(self.topic.name, self.partition, answer.base_offset, &batch.values, promise);
        }
    }

    fn next_batch(&mut self, ledger: &Mutex<Ledger>) -> Batch {
        let compression = self.random.pick(&[Compression::None, Compression::None, Compression::Lz4]);
        let mut builder = BatchBuilder::new(compression);
        if let Some((id, epoch)) = self.identity {
            builder = builder.producer(id, epoch, self.sequence);
        }
        let mut values = Vec::new();
        for _ in 0..1 + self.random.below(MOST_RECORDS) {
            let padding = self.random.below(MOST_PADDING) as usize;
            let value = format!("{} {} {:->padding$}", self.name, self.next_value, "");
            self.next_value += 1;
            builder
                .push(NewRecord { timestamp: TimestampMs(1), key: None, value: Some(value.as_bytes()), headers: &[] })
                .unwrap();
            let value = hash(value.as_bytes());
            let origin = self.identity.map(|(producer, epoch)| Origin { producer, epoch, sequence: self.sequence });
            ledger.lock().unwrap().sent(self.topic.name, self.partition, value, origin);
            self.sequence += 1;
            values.push(value);
        }
        let mut bytes = BytesMut::new();
        builder.build(&mut bytes).unwrap();
        Batch { bytes, values }
    }
}
