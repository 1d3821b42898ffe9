//! Nodes that call each other over the loopback interface.

use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::{
    Answer, CallError, CallKind, CallRefusal, HandshakeError, Identity, MAX_FRAME_BYTES, PeerListener, PeerService, Peers,
    Purpose, Refusal, Switchboard, Unreachable,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const ECHO: CallKind = CallKind(1);
/// Answered only once [`RELEASE`] has been called.
const HELD: CallKind = CallKind(2);
const RELEASE: CallKind = CallKind(3);
const HUGE: CallKind = CallKind(4);
const NOBODYS: CallKind = CallKind(99);
/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);
const SECRET: &str = "a cluster's secret";

/// Answers who called and what it said, in two parts.
#[derive(Default)]
struct Echo {
    release: Arc<Notify>,
}

impl PeerService for Echo {
    fn call(&self, from: NodeId, kind: CallKind, body: Bytes) -> Answer {
        let release = self.release.clone();
        Box::pin(async move {
            match kind {
                RELEASE => release.notify_one(),
                HELD => release.notified().await,
                HUGE => return Ok(vec![Bytes::from(vec![0; MAX_FRAME_BYTES])]),
                _ => {}
            }
            match body.is_empty() {
                true => Err(CallRefusal::Malformed),
                false => Ok(vec![Bytes::from(format!("{from}:")), body]),
            }
        })
    }
}

fn identity(node: i32, secret: &str) -> Arc<Identity> {
    Arc::new(Identity::new(NodeId(node), "cluster", secret.as_bytes()).unwrap())
}

async fn listen(node: i32, address: &str) -> PeerListener {
    let switchboard = Arc::new(Switchboard::default());
    switchboard.connect(1..=9, Arc::new(Echo::default()));
    PeerListener::bind(address, identity(node, SECRET), switchboard).await.unwrap()
}

/// Node 1, which knows node 2 at `address`.
fn peers(address: &str) -> Arc<Peers> {
    let peers = Peers::new(identity(1, SECRET));
    peers.set_address(NodeId(2), address);
    peers
}

async fn call(peers: &Peers, kind: CallKind, body: &'static str) -> Result<Bytes, CallError> {
    peers.call(NodeId(2), Purpose::CONTROL, kind, Bytes::from_static(body.as_bytes()), LIMIT).await
}

#[tokio::test]
async fn a_call_is_answered_by_who_was_meant_and_knows_who_asks() {
    let listener = listen(2, "127.0.0.1:0").await;
    let peers = peers(&listener.address().to_string());
    assert_eq!(call(&peers, ECHO, "hello").await, Ok(Bytes::from_static(b"1:hello")));
    let asked = peers.call_address(&listener.address().to_string(), ECHO, Bytes::from_static(b"x"), LIMIT).await;
    assert_eq!(asked, Ok((NodeId(2), Bytes::from_static(b"1:x"))));
    listener.stop().await;
}

#[tokio::test]
async fn refusals_are_told_from_failures() {
    let listener = listen(2, "127.0.0.1:0").await;
    let peers = peers(&listener.address().to_string());
    let refused = |refusal| Err(CallError::Refused { node: NodeId(2), refusal });
    assert_eq!(call(&peers, NOBODYS, "x").await, refused(CallRefusal::NotServed));
    assert_eq!(call(&peers, ECHO, "").await, refused(CallRefusal::Malformed));
    assert_eq!(call(&peers, HUGE, "x").await, refused(CallRefusal::Busy), "an answer over the limit is not sent");
    let long = peers.call(NodeId(2), Purpose::CONTROL, ECHO, Bytes::from(vec![0; MAX_FRAME_BYTES]), LIMIT).await;
    assert_eq!(long, Err(CallError::TooLong { bytes: MAX_FRAME_BYTES }));
    assert_eq!(call(&peers, ECHO, "y").await, Ok(Bytes::from_static(b"1:y")), "and the connection goes on");
    let problem = Unreachable::NoAddress;
    let unknown = peers.call(NodeId(7), Purpose::CONTROL, ECHO, Bytes::new(), LIMIT).await;
    assert_eq!(unknown, Err(CallError::Unreachable { node: NodeId(7), problem }));
}

#[tokio::test]
async fn many_calls_run_at_once_and_overtake_each_other() {
    let listener = listen(2, "127.0.0.1:0").await;
    let peers = peers(&listener.address().to_string());
    let held = tokio::spawn({
        let peers = peers.clone();
        async move { call(&peers, HELD, "held").await }
    });
    let calls: Vec<_> = (0..1000)
        .map(|number: usize| {
            let peers = peers.clone();
            let body = Bytes::from(vec![b'x'; number * 37 % 5000 + 1]);
            tokio::spawn(async move {
                let answer = peers.call(NodeId(2), Purpose::CONTROL, ECHO, body.clone(), LIMIT).await.unwrap();
                assert_eq!(answer, [b"1:", &body[..]].concat());
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert!(!held.is_finished());
    call(&peers, RELEASE, "x").await.unwrap();
    assert_eq!(held.await.unwrap(), Ok(Bytes::from_static(b"1:held")));
}

#[tokio::test]
async fn who_has_another_secret_is_refused_and_told_so() {
    let listener = listen(2, "127.0.0.1:0").await;
    let peers = Peers::new(identity(1, "another secret"));
    peers.set_address(NodeId(2), &listener.address().to_string());
    let problem = Unreachable::Handshake(HandshakeError::RefusedByThem(Refusal::Secret));
    assert_eq!(call(&peers, ECHO, "x").await, Err(CallError::Unreachable { node: NodeId(2), problem }));
}

#[tokio::test]
async fn another_node_at_the_address_is_not_called() {
    let listener = listen(3, "127.0.0.1:0").await;
    let problem = Unreachable::Handshake(HandshakeError::RefusedByThem(Refusal::OtherNode));
    let called = call(&peers(&listener.address().to_string()), ECHO, "x").await;
    assert_eq!(called, Err(CallError::Unreachable { node: NodeId(2), problem }));
}

#[tokio::test]
async fn garbage_is_closed_and_the_others_are_served() {
    let listener = listen(2, "127.0.0.1:0").await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 40, 0, 18, 0, 3, 0, 0, 0, 1], &[0xff; 4000]] {
        let mut stream = TcpStream::connect(listener.address()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        // Closed, in one way or the other.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
    assert!(call(&peers(&listener.address().to_string()), ECHO, "x").await.is_ok());
}

/// Calls until it is answered.
async fn call_until_answered(peers: &Peers) {
    const MAX_TRIES: usize = 2000;
    for _ in 0..MAX_TRIES {
        match call(peers, ECHO, "again").await {
            Ok(answer) => return assert_eq!(answer, "1:again"),
            Err(CallError::Unreachable { .. } | CallError::Lost { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no answer");
}

#[tokio::test]
async fn a_peer_that_restarts_is_found_again() {
    let listener = listen(2, "127.0.0.1:0").await;
    let address = listener.address().to_string();
    let peers = peers(&address);
    call(&peers, ECHO, "x").await.unwrap();
    listener.stop().await;
    assert!(call(&peers, ECHO, "x").await.is_err());
    let listener = listen(2, &address).await;
    call_until_answered(&peers).await;
    listener.stop().await;
}

#[tokio::test]
async fn a_peer_that_moves_is_followed_and_one_that_is_cut_off_is_not_reached() {
    let (here, there) = (listen(2, "127.0.0.1:0").await, listen(2, "127.0.0.1:0").await);
    let peers = peers(&here.address().to_string());
    call(&peers, ECHO, "x").await.unwrap();
    here.stop().await;
    peers.set_address(NodeId(2), &there.address().to_string());
    call_until_answered(&peers).await;
    peers.cut(NodeId(2), true);
    // The first one may still find the old connection.
    let _ = call(&peers, ECHO, "x").await;
    assert!(matches!(call(&peers, ECHO, "x").await, Err(CallError::Unreachable { .. })));
    peers.cut(NodeId(2), false);
    call_until_answered(&peers).await;
    peers.close();
    assert!(call(&peers, ECHO, "x").await.is_err());
}

#[tokio::test]
async fn a_peer_that_says_nothing_does_not_hold_a_call_up_beyond_its_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = peers(&silent.local_addr().unwrap().to_string());
    let called = peers.call(NodeId(2), Purpose::CONTROL, ECHO, Bytes::from_static(b"x"), Duration::from_millis(100)).await;
    assert_eq!(called, Err(CallError::TimedOut { node: NodeId(2) }));
}

#[tokio::test]
async fn a_held_call_ends_when_the_listener_stops() {
    let listener = listen(2, "127.0.0.1:0").await;
    let peers = peers(&listener.address().to_string());
    call(&peers, ECHO, "x").await.unwrap();
    let held = tokio::spawn({
        let peers = peers.clone();
        async move { call(&peers, HELD, "held").await }
    });
    // Calls of one connection begin in order: this one is answered after the other one has begun.
    tokio::task::yield_now().await;
    call(&peers, ECHO, "x").await.unwrap();
    listener.stop().await;
    assert_eq!(held.await.unwrap(), Err(CallError::Lost { node: NodeId(2) }));
}
