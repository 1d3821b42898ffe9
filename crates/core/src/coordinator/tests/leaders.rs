//! Shards and leaderships: who does not lead, loses the lead, or leads again.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_lead_says_so() {
    let log = MemoryLog::new();
    *log.leads.lock() = None;
    let runtime = runtime(&log);
    assert_eq!(add(&runtime, 1).await, Err(Unavailable::NotCoordinator));
    *log.door.lock() = Door::Full;
    assert_eq!(add(&runtime, 1).await, Err(Unavailable::NotCoordinator), "whatever else is wrong");
    assert_eq!(runtime.metrics().loads.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_hears_at_once_that_the_leader_is_another_one() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    assert_eq!(add(&runtime, 5).await, Ok(5));
    let waits = wait_for_total(&runtime, 100);
    idle().await;
    log.fate.send_replace(Fate::Wait);
    let writer = runtime.clone();
    let write = tokio::spawn(async move { add(&writer, 1).await });
    idle().await;
    *log.leads.lock() = None;
    runtime.follow_leaders();
    assert_eq!(waits.await.expect("no panic"), Err(Unavailable::NotCoordinator));
    assert!(!write.is_finished(), "what is on its way may still come through");
    assert_eq!(total(&runtime).await, Err(Unavailable::NotCoordinator));
    log.fate.send_replace(Fate::Commit);
    assert_eq!(write.await.expect("no panic"), Ok(6));
    assert_eq!(add(&runtime, 1).await, Err(Unavailable::NotCoordinator));
    *log.leads.lock() = Some(LeaderEpoch(3));
    runtime.follow_leaders();
    assert_eq!(total(&runtime).await, Ok(6));
}

#[tokio::test(start_paused = true)]
async fn what_fails_because_the_leader_is_another_one_is_told_so() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    log.fate.send_replace(Fate::Wait);
    let writer = runtime.clone();
    let write = tokio::spawn(async move { add(&writer, 1).await });
    idle().await;
    *log.leads.lock() = Some(LeaderEpoch(2));
    log.fate.send_replace(Fate::Fail);
    assert_eq!(write.await.expect("no panic"), Err(Unavailable::NotCoordinator));
    log.fate.send_replace(Fate::Commit);
    assert_eq!(add(&runtime, 1).await, Ok(1), "a leadership of its own replays");
}

#[tokio::test(start_paused = true)]
async fn a_shard_of_an_earlier_leadership_appends_nothing() {
    let log = MemoryLog::new();
    let runtime = runtime(&log);
    let alarmed = runtime.clone();
    let alarm = tokio::spawn(async move {
        let set = |shard: &mut Counter, ticket: Ticket<u64>, now: Now, _: &mut Output| {
            shard.alarm = Some((now.monotonic_ms + 1_000, ticket));
        };
        alarmed.query(PARTITION, set).await
    });
    idle().await;
    *log.leads.lock() = Some(LeaderEpoch(2));
    assert_eq!(alarm.await.expect("no panic"), Err(Unavailable::NotCoordinator));
    assert!(log.batches.lock().is_empty());
    assert_eq!(total(&runtime).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn what_was_replayed_is_told_only_once_it_is_committed() {
    let log = MemoryLog::new();
    let first = runtime(&log);
    assert_eq!(add(&first, 5).await, Ok(5));
    assert_eq!(add(&first, 1).await, Ok(6));
    log.committed.send_replace(Some(1));
    *log.leads.lock() = Some(LeaderEpoch(2));
    assert_eq!(total(&first).await, Err(Unavailable::Loading));
    log.committed.send_replace(Some(2));
    assert_eq!(total(&first).await, Ok(6));
}
