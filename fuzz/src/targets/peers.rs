//! What nodes say to each other: the handshake, the frames, and the calls of the metadata, of replicas and of RocketMQ's side.

use super::remoting;
use crate::memory::{FREE_BYTES, allowed, within};
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_core::{metadata, replication};
use duolog_peer::{Identity, fuzzing};
use std::io;
use tokio::runtime::{Builder, Runtime};

/// What a value may take for each byte of its JSON.
const JSON_RATIO: usize = 64;
/// Room made at a time for what arrives from a peer, in bytes.
const READ_STEP_BYTES: usize = 256 << 10;

thread_local! {
    // The handshake has a time limit.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

fn identity(node: i32) -> Identity {
    Identity::new(NodeId(node), "a cluster", b"a secret that nobody guesses").expect("it is long enough")
}

/// Whatever somebody says who has not the secret, and whoever it takes itself for: it is not let in, and this node does not take it for a peer.
pub(super) fn handshake(input: &[u8]) {
    for node in [1, 2] {
        let identity = identity(node);
        let (_, accepted) = run(fuzzing::accept(input, &identity));
        assert!(accepted.is_err(), "a stranger is let in: {accepted:?}");
        let (_, dialled) = run(fuzzing::dial(input, &identity));
        assert!(dialled.is_err(), "a stranger is taken for a peer: {dialled:?}");
    }
}

pub(super) fn handshake_seeds() -> Vec<Vec<u8>> {
    let (hello, _) = run(fuzzing::dial(&[], &identity(1)));
    let (challenge, _) = run(fuzzing::accept(&hello, &identity(2)));
    let proven = [hello.as_slice(), &[0; 32]].concat();
    let (answers, _) = run(fuzzing::accept(&proven, &identity(2)));
    vec![hello, proven, challenge, answers]
}

pub(super) fn frames(input: &[u8]) {
    // Twice: the reader's buffer, and what is written.
    let (written, ended) = within(allowed(input) + 2 * READ_STEP_BYTES, || run(fuzzing::recode_frames(input)));
    assert!(input.starts_with(&written), "a frame changes");
    match ended {
        Ok(()) => assert_eq!(written.len(), input.len(), "nothing is left out"),
        Err(error) => {
            assert!(matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof), "{error}");
        }
    }
}

pub(super) fn frames_seeds() -> Vec<Vec<u8>> {
    let each = fuzzing::frames(b"a body");
    let all = each.concat();
    each.into_iter().chain([all]).collect()
}

type Recode = fn(&[u8]) -> Vec<Bytes>;

/// What is read is written as something that is read as the same.
fn calls(input: &[u8], recode: Recode) {
    let most = JSON_RATIO * input.len() + FREE_BYTES;
    for message in within(most, || recode(input)) {
        assert!(recode(&message).contains(&message), "a message changes: {}", String::from_utf8_lossy(&message));
    }
}

/// The seeds, each of which is a message.
fn known(seeds: Vec<Vec<u8>>, recode: Recode) -> Vec<Vec<u8>> {
    seeds.iter().for_each(|seed| assert!(!recode(seed).is_empty(), "no message: {}", String::from_utf8_lossy(seed)));
    seeds
}

/// A head after its length, and what is behind it.
fn headed(head: impl AsRef<[u8]>, rest: &[u8]) -> Vec<u8> {
    let head = head.as_ref();
    [&(head.len() as u32).to_be_bytes()[..], head, rest].concat()
}

pub(super) fn metadata_calls(input: &[u8]) {
    calls(input, metadata::fuzzing::recode_calls);
}

pub(super) fn metadata_calls_seeds() -> Vec<Vec<u8>> {
    let vote = r#"{"term":3,"node":1,"won":true}"#;
    let entry = r#"{"term":3,"node":1,"index":7}"#;
    let head = format!(
        r#"{{"vote":{vote},"last":{entry},"members":{{"voters":[[1]],"addresses":{{}}}},"members_from":null,"snapshot":"s","offset":0,"done":true}}"#
    );
    let chunk = headed(&head, b"data");
    let texts = [
        format!(r#"{{"vote":{vote},"previous":{entry},"entries":[{{"id":{entry},"body":"Blank"}}],"committed":null}}"#),
        format!(r#"{{"vote":{vote},"last":{entry}}}"#),
        format!(r#"{{"vote":{vote},"granted":true,"last":null}}"#),
        format!(r#"{{"HigherVote":{vote}}}"#),
        r#"{"level":5,"records":[{"NodeStarted":{"id":1}}],"base":12}"#.to_owned(),
        r#"{"Failed":{"DiskFull":{"free_bytes":1,"needed_bytes":2}}}"#.to_owned(),
        r#"{"node":2,"epoch":9,"applied":17,"wants_stop":false}"#.to_owned(),
        r#"{"Heard":{"fenced":false,"may_stop":true}}"#.to_owned(),
        r#"{"node":2,"address":"127.0.0.1:9","is_new":true}"#.to_owned(),
        r#"{"AskAt":{"node":2,"address":"127.0.0.1:9"}}"#.to_owned(),
        r#"{"leader":1,"epoch":3,"high_watermark":8,"log_end":9,"members":[]}"#.to_owned(),
        r#"{"Remove":3}"#.to_owned(),
    ];
    known(texts.into_iter().map(String::into_bytes).chain([chunk]).collect(), metadata::fuzzing::recode_calls)
}

pub(super) fn replication_calls(input: &[u8]) {
    calls(input, replication::fuzzing::recode_calls);
}

pub(super) fn replication_calls_seeds() -> Vec<Vec<u8>> {
    let version = [1];
    let ask = r#"{"p":3,"l":4,"o":20,"d":18,"e":4,"n":7}"#;
    let fetch = format!(r#"{{"session":5,"number":2,"broker_epoch":9,"asks":[{ask}],"gone":[8]}}"#);
    let parts = [
        r#"{"p":3,"n":7,"a":{"g":{"h":17,"s":0,"b":7}}}"#,
        r#"{"p":4,"n":8,"a":"NotLeader"}"#,
        r#"{"p":5,"n":9,"a":{"Diverging":{"epoch":2,"end":11}}}"#,
    ];
    let news = format!(r#"{{"News":{{"session":5,"parts":[{}]}}}}"#, parts.join(","));
    let calls = [fetch.as_bytes(), b"5"].map(|head| [&version, head].concat());
    let answers = [headed(&news, b"batches"), headed(r#""UnknownSession""#, b"")].map(|answer| [&version[..], &answer].concat());
    known(calls.into_iter().chain(answers).collect(), replication::fuzzing::recode_calls)
}

pub(super) fn rocketmq_calls(input: &[u8]) {
    calls(input, duolog_rocketmq::fuzzing::recode_calls);
}

pub(super) fn rocketmq_calls_seeds() -> Vec<Vec<u8>> {
    let origin = r#"{"life":1,"connection":2,"remote":"127.0.0.1:5","local":"127.0.0.1:6"}"#;
    let head = format!(r#"{{"origin":{origin},"applied":7}}"#);
    let frames: Vec<u8> = remoting::frame_seeds().iter().take(2).flat_map(|frame| headed(frame, b"")).collect();
    let leaves = format!(r#"{{"head":{head},"group":"g","member":null}}"#);
    let alone = [
        origin,
        leaves.as_str(),
        r#"[{"group":"g","topic":"t","queue":1,"offset":5,"counts":{"Unchanged":4}}]"#,
        r#"{"applied":3,"question":{"Ends":{"topic":"t","queue":0}}}"#,
        r#"{"Progress":{"t":{"0":5}}}"#,
        r#""NotHere""#,
    ];
    let alone = alone.map(|text| headed(text, b""));
    let behind = [headed(&head, &frames), headed(r#"{"applied":3,"topic":"t","queue":0,"tags":5}"#, b"a batch")];
    known(alone.into_iter().chain(behind).collect(), duolog_rocketmq::fuzzing::recode_calls)
}
