//! What goes into a shard's operation besides the request, and what comes out of it.

use duolog_base::TimestampMs;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// The time of an operation, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines; never goes back.
    pub monotonic_ms: u64,
    /// For what is written down; may jump.
    pub wall: TimestampMs,
}

/// A change to be written to the shard's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Vec<u8>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The right to one answer. Dropped without one, its [`Waiting`] learns that none will come.
#[derive(Debug)]
pub struct Ticket<T>(oneshot::Sender<T>);

/// The other end of a [`Ticket`].
#[derive(Debug)]
pub struct Waiting<T>(oneshot::Receiver<T>);

/// A ticket and the place its answer arrives at.
pub fn ticket<T>() -> (Ticket<T>, Waiting<T>) {
    let (sender, receiver) = oneshot::channel();
    (Ticket(sender), Waiting(receiver))
}

/// The shard was unloaded before the answer could leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer was lost with its shard")]
pub struct Lost;

impl<T> Waiting<T> {
    /// The answer if it is there already.
    pub fn take(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Future for Waiting<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.map_err(|_| Lost))
    }
}

/// An answer that leaves when everything appended before it is committed.
type Parked = Box<dyn FnOnce() + Send>;

/// What an operation leaves to be done.
#[derive(Default)]
pub struct Output {
    records: Vec<Record>,
    answers: Vec<Parked>,
}

impl Output {
    pub fn append(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Answers a request, once the records so far are committed. An asker who has gone away is ignored.
    pub fn answer<T: Send + 'static>(&mut self, ticket: Ticket<T>, answer: T) {
        self.answers.push(Box::new(move || {
            let _gone = ticket.0.send(answer);
        }));
    }

    /// The records so far, in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.answers.is_empty()
    }

    /// Takes the records, leaving the answers.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Moves the answers of `later` behind those here.
    pub(super) fn join_answers(&mut self, later: &mut Output) {
        self.answers.append(&mut later.answers);
    }

    /// Lets the answers go.
    pub fn release(&mut self) {
        for answer in self.answers.drain(..) {
            answer();
        }
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("records", &self.records.len()).field("answers", &self.answers.len()).finish()
    }
}
