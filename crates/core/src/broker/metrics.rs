//! Counters of the data path: plain atomics, read by whoever exposes them.
//!
//! Counted a request or a batch, never a record. Relaxed ordering: a reader may see them a moment apart.

use duolog_log::Advance;
use std::sync::atomic::{AtomicU64, Ordering};

/// API keys below this are counted one by one.
pub const COUNTED_API_KEYS: usize = 128;

/// One counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the broker and its front ends count.
#[derive(Debug)]
pub struct BrokerMetrics {
    /// Bytes of record batches accepted from clients.
    pub bytes_in: Counter,
    /// Records in them.
    pub records_in: Counter,
    /// Batches in them.
    pub batches_in: Counter,
    /// Bytes of record batches given to readers.
    pub bytes_out: Counter,
    /// Append calls (one a produce request).
    pub appends: Counter,
    /// Partition appends refused.
    pub appends_failed: Counter,
    /// Kafka requests, by API key.
    pub requests: [Counter; COUNTED_API_KEYS],
    /// Open client connections.
    pub connections: Gauge,
    /// Connections closed for what the client sent.
    pub connections_refused: Counter,
    /// Answers not finished, since a file could not be read or was damaged.
    pub answers_cut: Counter,
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        BrokerMetrics {
            bytes_in: Counter::default(),
            records_in: Counter::default(),
            batches_in: Counter::default(),
            bytes_out: Counter::default(),
            appends: Counter::default(),
            appends_failed: Counter::default(),
            requests: std::array::from_fn(|_| Counter::default()),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            answers_cut: Counter::default(),
        }
    }
}

impl BrokerMetrics {
    pub fn request(&self, api_key: i16) {
        if let Some(counter) = usize::try_from(api_key).ok().and_then(|key| self.requests.get(key)) {
            counter.add(1);
        }
    }
}

/// What the log's writer and syncer report.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Writes that moved the written position.
    pub writes: Counter,
    /// Syncs that moved the durable position.
    pub syncs: Counter,
}

impl LogCounters {
    pub(super) fn advanced(&self, what: Advance) {
        match what {
            Advance::Written => self.writes.add(1),
            Advance::Durable => self.syncs.add(1),
        }
    }
}
