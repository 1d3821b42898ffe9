//! The fetch service against peers that say what they should not.

use super::super::messages::{self, Ask, FETCH, FetchCall, NUDGE, Reply};
use super::cluster::send_at_last;
use super::*;
use bytes::Bytes;
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, Offset};
use duolog_peer::{CallError, CallKind, CallRefusal, Purpose};
use duolog_replica::FollowerFetch;
use proptest::prelude::*;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

async fn call(from: &Node, to: &Node, kind: CallKind, body: Bytes) -> Result<Bytes, CallError> {
    from.peers.call(to.id(), Purpose(9), kind, body, LIMIT).await
}

fn fetch(node: i32, epoch: u64) -> FollowerFetch {
    FollowerFetch {
        node: NodeId(node),
        broker_epoch: BrokerEpoch(epoch),
        leader_epoch: LeaderEpoch(0),
        offset: Offset(0),
        durable: Offset(0),
        last_epoch: LeaderEpoch::NONE,
        number: 1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_and_unknown_sessions_are_told_so() {
    let cluster = Cluster::three().await;
    cluster.create("t", 1, 3, &[]).await;
    send_at_last(&cluster, "t", 0, "x").await;
    let leader = cluster.leader("t", 0).await;
    let follower = cluster.followers("t", 0).await[0];
    let malformed = Err(CallError::Refused { node: leader.id(), refusal: CallRefusal::Malformed });
    for body in [&b""[..], b"\x01", b"\x02{}", b"\x01{\"session\":0}", b"\x01[]"] {
        assert_eq!(call(follower, leader, FETCH, Bytes::from_static(body)).await, malformed);
        assert_eq!(call(follower, leader, NUDGE, Bytes::from_static(body)).await, malformed);
    }
    // More is durable than there is.
    let lie = FollowerFetch { durable: Offset(5), ..fetch(follower.id().0, 1) };
    let asks = vec![Ask::new(leader.partition("t", 0).number, &lie, None)];
    let lie = FetchCall { session: 0, number: 0, broker_epoch: 1, asks, gone: Vec::new() };
    assert_eq!(call(follower, leader, FETCH, messages::encode_call(&lie)).await, malformed);
    let unknown = FetchCall { session: 12345, number: 3, broker_epoch: 1, asks: Vec::new(), gone: Vec::new() };
    let answer = call(follower, leader, FETCH, messages::encode_call(&unknown)).await.unwrap();
    assert_eq!(messages::decode_reply(&answer).unwrap().0, Reply::UnknownSession);
    send_at_last(&cluster, "t", 0, "y").await;
    cluster.settled("t", 0, &["x", "y"]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_lost_is_begun_anew() {
    let cluster = Cluster::three().await;
    cluster.create("t", 1, 3, &[]).await;
    send_at_last(&cluster, "t", 0, "x").await;
    let leader = cluster.leader("t", 0).await;
    let follower = cluster.followers("t", 0).await[0];
    // Another session of the same node takes the place of its own.
    let other = FetchCall { session: 0, number: 0, broker_epoch: 1, asks: Vec::new(), gone: Vec::new() };
    let answer = call(follower, leader, FETCH, messages::encode_call(&other)).await.unwrap();
    assert!(matches!(messages::decode_reply(&answer).unwrap().0, Reply::News { .. }));
    send_at_last(&cluster, "t", 0, "y").await;
    cluster.settled("t", 0, &["x", "y"]).await;
    cluster.stop().await;
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), session: u64, number: u64, most: Option<u32>) {
        let _ = messages::decode_fetch(&bytes);
        let _ = messages::decode_nudge(&bytes);
        let _ = messages::decode_reply(&Bytes::from(bytes));
        let asks = vec![Ask::new(duolog_base::PartitionNumber(7), &fetch(1, 3), most)];
        let call = FetchCall { session, number, broker_epoch: 3, asks, gone: vec![4] };
        prop_assert_eq!(messages::decode_fetch(&messages::encode_call(&call)), Ok(call.clone()));
        prop_assert_eq!(call.asks[0].fetch(NodeId(1), BrokerEpoch(3)), fetch(1, 3));
    }
}
