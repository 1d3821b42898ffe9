//! Asking about many queues for one request: some at a time, since each answer may wait for the disk.
//!
//! Called by what tells tools about topics and groups.

use crate::remoting::Refusal;
use duolog_wire::remoting::code::response;
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// Queues that one request asks about at a time.
const QUEUES_AT_ONCE: usize = 16;

/// Asks about each of the queues; the answers come in their order. A refusal ends it.
pub(crate) async fn ask_each<Q, T, F>(queues: impl Iterator<Item = Q>, ask: impl Fn(Q) -> F) -> Result<Vec<T>, Refusal>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Refusal>> + Send + 'static,
{
    let mut waiting = queues.map(ask).enumerate();
    let mut asked = JoinSet::new();
    let mut answers = BTreeMap::new();
    loop {
        for (index, question) in waiting.by_ref().take(QUEUES_AT_ONCE - asked.len()) {
            asked.spawn(async move { (index, question.await) });
        }
        match asked.join_next().await {
            Some(Ok((index, answer))) => answers.insert(index, answer?),
            Some(Err(error)) => return Err(Refusal::new(response::SYSTEM_ERROR, error.to_string())),
            None => return Ok(answers.into_values().collect()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn the_answers_come_in_the_order_of_the_queues_and_few_are_waited_for_at_a_time() {
        let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ask = |queue: usize| {
            let (under_way, most) = (under_way.clone(), most.clone());
            async move {
                most.fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                // The later ones are the faster ones.
                for _ in queue..100 {
                    tokio::task::yield_now().await;
                }
                under_way.fetch_sub(1, Ordering::Relaxed);
                Ok(queue)
            }
        };
        assert_eq!(ask_each(0..100, ask).await, Ok((0..100).collect()));
        assert_eq!(most.load(Ordering::Relaxed), QUEUES_AT_ONCE);
    }

    #[tokio::test]
    async fn a_refusal_of_one_queue_is_the_answer() {
        let refusal = || Refusal::new(response::SYSTEM_ERROR, "damaged");
        let ask = |queue: usize| std::future::ready(if queue == 40 { Err(refusal()) } else { Ok(()) });
        assert_eq!(ask_each(0..100, ask).await, Err(refusal()));
    }
}
