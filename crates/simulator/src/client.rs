//! Producers: each has one record under way, waits for it to be committed or not, and sends the next one, always another value.

use crate::log::Partition;

/// After so long a producer takes its record for lost and goes on.
pub const TIMEOUT_MS: u64 = 400;

#[derive(Debug)]
pub struct Client {
    pub partition: Partition,
    /// Request, value and when it was sent.
    pub waiting: Option<(u64, u64, u64)>,
    pub next_request: u64,
}

impl Client {
    pub fn new(index: usize, partition: Partition) -> Client {
        // Requests of different clients never have the same number.
        Client { partition, waiting: None, next_request: (index as u64) << 32 }
    }

    pub fn send(&mut self, value: u64, now_ms: u64) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.waiting = Some((request, value, now_ms));
        request
    }

    pub fn is_waiting(&self, now_ms: u64) -> bool {
        self.waiting.is_some_and(|(_, _, sent_ms)| now_ms - sent_ms < TIMEOUT_MS)
    }

    /// The value, if this is the answer it waits for.
    pub fn answered(&mut self, request: u64) -> Option<u64> {
        let (waiting, value, _) = self.waiting?;
        (waiting == request).then(|| {
            self.waiting = None;
            value
        })
    }
}
