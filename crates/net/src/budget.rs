//! Room for the bytes of requests, shared by all connections, and why nobody waits for it for ever.
//!
//! A frame is charged for bytes that arrive, not for those it announces: first to the small allowance of its own
//! connection, then to the pool, in steps of at most three bytes for each that has come ([`step`]). So a client must
//! send in order to take room from others, and small requests never need the pool at all.
//!
//! Frames under way may hold the whole pool between them, none having enough to end. Then the *reserve* is given to one
//! after the other, in the order they asked: its holder may take as much as the largest frame needs. This cannot
//! come to a standstill:
//! * a holder of the reserve waits for no more room, and is closed if its client stops sending (the upload limits);
//! * nothing but appends is unanswered before a frame under way, and those wait for the log alone;
//! * a request that waits for other clients (Fetch, JoinGroup, SyncGroup) gives its room back before it waits.
//!
//! So the holder's request ends and all it held goes to those who wait.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes a frame may take when it begins.
const FIRST_STEP_BYTES: usize = 64 << 10;
/// Bytes a frame may take for each that has arrived.
const STEP_FACTOR: usize = 3;
const MOST_STEP_BYTES: usize = 4 << 20;

/// How far beyond the bytes that have arrived a frame may take room.
pub fn step(arrived: usize) -> usize {
    (arrived * STEP_FACTOR).clamp(FIRST_STEP_BYTES, MOST_STEP_BYTES)
}

/// What all connections have together.
pub struct Budget {
    /// One permit a byte.
    pool: Arc<Semaphore>,
    /// One permit: the right to end a frame though the pool is empty.
    reserve: Arc<Semaphore>,
}

/// Part of the budget; goes back when dropped.
#[derive(Debug, Default)]
pub struct Room {
    pool: Option<OwnedSemaphorePermit>,
    reserve: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub fn new(pool_bytes: usize) -> Budget {
        let pool = Semaphore::new(pool_bytes.min(Semaphore::MAX_PERMITS));
        Budget { pool: Arc::new(pool), reserve: Arc::new(Semaphore::new(1)) }
    }

    /// Enlarges the room if that is possible without waiting.
    pub fn try_take(&self, room: &mut Room, bytes: usize) -> bool {
        if bytes == 0 || room.reserve.is_some() {
            return true;
        }
        let Ok(pool) = self.pool.clone().try_acquire_many_owned(permits(bytes)) else { return false };
        room.add(Room { pool: Some(pool), reserve: None });
        true
    }

    /// Waits for so much of the pool, or for the reserve.
    pub async fn take(&self, bytes: usize) -> Room {
        let closed = "the budget is never closed";
        tokio::select! {
            biased;
            pool = self.pool.clone().acquire_many_owned(permits(bytes)) => Room { pool: Some(pool.expect(closed)), reserve: None },
            reserve = self.reserve.clone().acquire_owned() => Room { pool: None, reserve: Some(reserve.expect(closed)) },
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("frame sizes are positive 32-bit numbers")
}

impl Room {
    pub fn add(&mut self, other: Room) {
        match (&mut self.pool, other.pool) {
            (Some(pool), Some(more)) => pool.merge(more),
            (pool, more) => *pool = pool.take().or(more),
        }
        self.reserve = self.reserve.take().or(other.reserve);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn with_an_empty_pool_one_after_the_other_may_end() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (Room::default(), Room::default());
        assert!(budget.try_take(&mut first, 60) && budget.try_take(&mut second, 40));
        assert!(!budget.try_take(&mut first, 1) && !budget.try_take(&mut second, 1));
        first.add(now(budget.take(10)).expect("the reserve is free"));
        assert!(budget.try_take(&mut first, 1_000_000), "its holder may end");
        assert!(now(budget.take(10)).is_none(), "it is given once");
        drop(first);
        assert!(budget.try_take(&mut second, 60));
        assert!(now(budget.take(10)).is_some());
    }

    #[test]
    fn room_is_taken_by_what_has_arrived() {
        assert_eq!(step(0), FIRST_STEP_BYTES);
        assert_eq!(step(100_000), 300_000);
        assert_eq!(step(100 << 20), MOST_STEP_BYTES);
    }
}
