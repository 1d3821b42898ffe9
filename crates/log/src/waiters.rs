//! Those who wait for a position of the log to be reached, in order of the position.

use duolog_base::Position;
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Waits come in nearly ascending order, so an insertion is nearly always at the end. Bounded by the appends that wait, which the
/// log's queue limit bounds in turn.
#[derive(Debug, Default)]
pub struct Waiters {
    queue: VecDeque<(Position, oneshot::Sender<()>)>,
}

impl Waiters {
    /// Takes in a waiter; false if its position is reached, which it is told.
    pub fn add(&mut self, position: Position, waiter: oneshot::Sender<()>, reached: Position) -> bool {
        if position > reached {
            self.push(position, waiter);
            return true;
        }
        // Whoever gave up waiting needs no answer.
        let _ = waiter.send(());
        false
    }

    fn push(&mut self, position: Position, waiter: oneshot::Sender<()>) {
        let at = match self.queue.back() {
            Some((last, _)) if *last > position => self.queue.partition_point(|(other, _)| *other <= position),
            _ => self.queue.len(),
        };
        self.queue.insert(at, (position, waiter));
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Moves those whose position is reached into `reached`, to be told outside of the lock.
    pub fn take_reached(&mut self, position: Position, reached: &mut Vec<oneshot::Sender<()>>) {
        let count = self.queue.partition_point(|(wanted, _)| *wanted <= position);
        reached.extend(self.queue.drain(..count).map(|(_, waiter)| waiter));
    }

    /// Forgets everybody; their receivers err.
    pub fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_are_told_in_order_of_position_whatever_the_order_of_arrival() {
        let mut waiters = Waiters::default();
        let mut receivers: Vec<_> = [30, 10, 20, 20]
            .into_iter()
            .map(|position| {
                let (sender, receiver) = oneshot::channel();
                waiters.push(Position(position), sender);
                receiver
            })
            .collect();
        let mut reached = Vec::new();
        waiters.take_reached(Position(20), &mut reached);
        assert_eq!(reached.len(), 3);
        reached.drain(..).for_each(|waiter| waiter.send(()).unwrap());
        let told: Vec<bool> = receivers.iter_mut().map(|receiver| receiver.try_recv().is_ok()).collect();
        assert_eq!(told, [false, true, true, true]);
        assert!(!waiters.is_empty());
        waiters.clear();
        assert!(matches!(receivers[0].try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    }
}
