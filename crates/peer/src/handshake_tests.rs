//! Scenarios of nodes that meet: equals, strangers, liars and the silent.

use super::*;
use proptest::prelude::*;
use tokio::io::DuplexStream;

const PURPOSE: u8 = 3;

fn identity(node: i32, cluster: &str, secret: &str) -> Identity {
    Identity::new(NodeId(node), cluster, secret.as_bytes()).unwrap()
}

type Outcome = (Result<Known, HandshakeError>, Result<Known, HandshakeError>);

async fn meet(dialer: Identity, listener: Identity, wanted: i32) -> Outcome {
    let (mut near, mut far) = tokio::io::duplex(1024);
    tokio::join!(dial(&mut near, &dialer, NodeId(wanted), PURPOSE), accept(&mut far, &listener))
}

fn refused(outcome: Outcome, by_listener: bool, refusal: Refusal) {
    let (them, us) = (HandshakeError::RefusedByThem(refusal), HandshakeError::RefusedByUs(refusal));
    match by_listener {
        true => assert_eq!(outcome, (Err(them), Err(us))),
        false => assert_eq!(outcome.0, Err(us)),
    }
}

#[tokio::test]
async fn two_nodes_of_a_cluster_know_each_other_afterwards() {
    let (dialer, listener) = meet(identity(1, "c", "secret-secret"), identity(2, "c", "secret-secret"), 2).await;
    assert_eq!(dialer, Ok(Known { node: NodeId(2), purpose: PURPOSE }));
    assert_eq!(listener, Ok(Known { node: NodeId(1), purpose: PURPOSE }));
}

#[tokio::test]
async fn a_joiner_may_not_know_the_cluster_nor_the_node() {
    let (dialer, listener) = meet(identity(1, "", "secret-secret"), identity(2, "c", "secret-secret"), -1).await;
    assert!(dialer.is_ok() && listener.is_ok());
}

#[tokio::test]
async fn both_ends_are_told_what_does_not_fit() {
    let node = |id| identity(id, "c", "secret-secret");
    refused(meet(identity(1, "c", "another-secret"), node(2), 2).await, true, Refusal::Secret);
    refused(meet(identity(1, "d", "secret-secret"), node(2), 2).await, true, Refusal::Cluster);
    refused(meet(node(1), node(2), 3).await, true, Refusal::OtherNode);
    refused(meet(node(2), node(2), 2).await, true, Refusal::SameNode);
}

#[tokio::test]
async fn a_hello_of_versions_nobody_speaks_is_refused() {
    let (mut near, mut far) = tokio::io::duplex(1024);
    let hello = Hello {
        versions: (VERSIONS.end() + 1, VERSIONS.end() + 4),
        node: NodeId(1),
        wanted: NodeId(2),
        purpose: 0,
        nonce: nonce(),
        cluster: Vec::new(),
    };
    near.write_all(&hello.encode()).await.unwrap();
    let outcome = accept(&mut far, &identity(2, "c", "secret-secret")).await;
    assert_eq!(outcome, Err(HandshakeError::RefusedByUs(Refusal::Version)));
    assert_eq!(read_challenge(&mut near).await.unwrap().1.refusal, code(Refusal::Version));
}

/// Who has no secret and gives back what it was given.
async fn reflect(stream: &mut DuplexStream, bytes: usize) -> Vec<u8> {
    let mut got = vec![0; bytes];
    stream.read_exact(&mut got).await.unwrap();
    stream.write_all(&got).await.unwrap();
    got
}

#[tokio::test]
async fn a_listener_that_gives_the_dialer_its_own_proof_back_is_refused() {
    let dialer = identity(1, "c", "secret-secret");
    let (mut near, mut far) = tokio::io::duplex(1024);
    let thief = async {
        read_hello(&mut far).await.unwrap();
        let challenge =
            Challenge { refusal: 0, versions: our_versions(), node: NodeId(2), nonce: nonce(), cluster: b"c".to_vec() };
        far.write_all(&challenge.encode()).await.unwrap();
        // The verdict is one byte longer than the proof.
        far.write_u8(0).await.unwrap();
        reflect(&mut far, PROOF_BYTES).await;
    };
    let (outcome, ()) = tokio::join!(dial(&mut near, &dialer, NodeId(2), PURPOSE), thief);
    assert_eq!(outcome, Err(HandshakeError::RefusedByUs(Refusal::Secret)));
}

#[tokio::test]
async fn what_one_dialer_said_cannot_be_said_again() {
    let listener = identity(2, "c", "secret-secret");
    let dialer = identity(1, "c", "secret-secret");
    let (mut near, mut middle) = tokio::io::duplex(1024);
    let (mut ahead, mut far) = tokio::io::duplex(1024);
    let mut said = Vec::new();
    // Everything passes through the hands of the one who listens in.
    let tap = async {
        let (hello, _) = read_hello(&mut middle).await.unwrap();
        ahead.write_all(&hello).await.unwrap();
        let (challenge, _) = read_challenge(&mut ahead).await.unwrap();
        middle.write_all(&challenge).await.unwrap();
        let mut proof = [0; PROOF_BYTES];
        middle.read_exact(&mut proof).await.unwrap();
        ahead.write_all(&proof).await.unwrap();
        let mut verdict = [0; 1 + PROOF_BYTES];
        ahead.read_exact(&mut verdict).await.unwrap();
        middle.write_all(&verdict).await.unwrap();
        said = [&hello[..], &proof[..]].concat();
    };
    let (dialed, accepted, ()) = tokio::join!(dial(&mut near, &dialer, NodeId(2), PURPOSE), accept(&mut far, &listener), tap);
    assert!(dialed.is_ok() && accepted.is_ok());
    let (mut near, mut far) = tokio::io::duplex(1024);
    near.write_all(&said).await.unwrap();
    assert_eq!(accept(&mut far, &listener).await, Err(HandshakeError::RefusedByUs(Refusal::Secret)));
}

#[tokio::test]
async fn another_protocols_client_is_turned_away_by_its_first_bytes() {
    let (mut near, mut far) = tokio::io::duplex(1024);
    // A Kafka ApiVersions request, of which not all has come.
    near.write_all(&[0, 0, 0, 40, 0, 18, 0, 3, 0, 0]).await.unwrap();
    assert_eq!(accept(&mut far, &identity(2, "c", "secret-secret")).await, Err(HandshakeError::NotAPeer));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_waited_for() {
    let (_near, mut far) = tokio::io::duplex(1024);
    assert_eq!(accept(&mut far, &identity(2, "c", "secret-secret")).await, Err(HandshakeError::TimedOut));
    let (mut near, _far) = tokio::io::duplex(1024);
    let dialed = dial(&mut near, &identity(1, "c", "secret-secret"), NodeId(2), PURPOSE).await;
    assert_eq!(dialed, Err(HandshakeError::TimedOut));
}

#[test]
fn a_short_secret_is_not_taken_and_none_is_shown() {
    assert!(Identity::new(NodeId(1), "c", b"short").is_err());
    assert!(!format!("{:?}", identity(1, "c", "secret-secret")).contains("secret-secret"));
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_refused(magic: bool, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = if magic { [&MAGIC[..], &bytes].concat() } else { bytes };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        if let Ok((read, hello)) = runtime.block_on(read_hello(&mut &bytes[..])) {
            prop_assert_eq!(&hello.encode(), &read);
            prop_assert!(bytes.starts_with(&read));
        }
        if let Ok((read, challenge)) = runtime.block_on(read_challenge(&mut &bytes[..])) {
            prop_assert_eq!(challenge.encode(), read);
        }
    }
}
