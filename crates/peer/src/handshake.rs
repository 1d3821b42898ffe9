//! How two nodes convince each other, before anything else is read.
//!
//! ```text
//! dialer    hello     = magic, versions, node, wanted node, purpose, nonce, cluster
//! listener  challenge = magic, refusal, versions, node, nonce, cluster
//! dialer    proof     = HMAC-SHA256(secret, "dialer" hello challenge)
//! listener  verdict   = refusal, HMAC-SHA256(secret, "listener" hello challenge)
//! ```
//! Both nonces are in both proofs, so that none can be used again; each proof names its role, so that none can be sent back to who made it.
//! What is read before the proofs are checked is bounded in bytes by the forms, and in time by [`HANDSHAKE_LIMIT`].

use crate::identity::{Identity, MAX_CLUSTER_BYTES};
use bytes::{Buf, BufMut};
use duolog_base::NodeId;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long the whole exchange may take.
pub(crate) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);
/// Versions of the frames that this binary speaks.
const VERSIONS: RangeInclusive<u16> = 1..=1;
const MAGIC: &[u8; 8] = b"DUOPEER\0";
const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
/// Hello and challenge without magic and cluster, which is preceded by its length.
const HELLO_BYTES: usize = 2 + 2 + 4 + 4 + 1 + NONCE_BYTES + 1;
const CHALLENGE_BYTES: usize = 1 + 2 + 2 + 4 + NONCE_BYTES + 1;

/// Why a node does not talk to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("they have no version of the protocol in common")]
    Version,
    #[error("they belong to different clusters")]
    Cluster,
    #[error("the listener is another node than the one that was meant")]
    OtherNode,
    #[error("both have the same node id")]
    SameNode,
    #[error("their cluster secrets differ")]
    Secret,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    #[error("the other end does not speak this protocol")]
    NotAPeer,
    #[error("the other node refuses: {0}")]
    RefusedByThem(Refusal),
    #[error("this node refuses: {0}")]
    RefusedByUs(Refusal),
    #[error("the other end took too long to say who it is")]
    TimedOut,
    #[error("the connection ended before both knew each other ({kind})")]
    Lost { kind: io::ErrorKind },
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        HandshakeError::Lost { kind: error.kind() }
    }
}

/// The other end, once it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) node: NodeId,
    pub(crate) purpose: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hello {
    versions: (u16, u16),
    node: NodeId,
    /// [`NodeId::NONE`] if the dialer knows the address only.
    wanted: NodeId,
    purpose: u8,
    nonce: [u8; NONCE_BYTES],
    cluster: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Challenge {
    /// 0, or a refusal, after which the listener closes.
    refusal: u8,
    versions: (u16, u16),
    node: NodeId,
    nonce: [u8; NONCE_BYTES],
    cluster: Vec<u8>,
}

/// The dialer's side. `wanted` is the node it means to reach.
pub(crate) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    identity: &Identity,
    wanted: NodeId,
    purpose: u8,
) -> Result<Known, HandshakeError> {
    let exchange = dial_unbounded(stream, identity, wanted, purpose);
    tokio::time::timeout(HANDSHAKE_LIMIT, exchange).await.unwrap_or(Err(HandshakeError::TimedOut))
}

async fn dial_unbounded<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    identity: &Identity,
    wanted: NodeId,
    purpose: u8,
) -> Result<Known, HandshakeError> {
    let cluster = identity.cluster().into_bytes();
    let (versions, node) = (our_versions(), identity.node);
    let hello = Hello { versions, node, wanted, purpose, nonce: nonce(), cluster: cluster.clone() }.encode();
    stream.write_all(&hello).await?;
    let (bytes, challenge) = read_challenge(stream).await?;
    if let Some(refusal) = refusal(challenge.refusal) {
        return Err(HandshakeError::RefusedByThem(refusal));
    }
    let refused = objection(&cluster, identity.node, &challenge.cluster, challenge.node, wanted, challenge.versions);
    if let Some(refusal) = refused {
        return Err(HandshakeError::RefusedByUs(refusal));
    }
    let transcript = [hello.as_slice(), bytes.as_slice()];
    stream.write_all(proof(identity, Role::Dialer, transcript).as_ref()).await?;
    let mut verdict = [0; 1 + PROOF_BYTES];
    stream.read_exact(&mut verdict).await?;
    if let Some(refusal) = refusal(verdict[0]) {
        return Err(HandshakeError::RefusedByThem(refusal));
    }
    match is_proof(identity, Role::Listener, transcript, &verdict[1..]) {
        true => Ok(Known { node: challenge.node, purpose }),
        false => Err(HandshakeError::RefusedByUs(Refusal::Secret)),
    }
}

/// The listener's side.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    identity: &Identity,
) -> Result<Known, HandshakeError> {
    let exchange = accept_unbounded(stream, identity);
    tokio::time::timeout(HANDSHAKE_LIMIT, exchange).await.unwrap_or(Err(HandshakeError::TimedOut))
}

async fn accept_unbounded<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    identity: &Identity,
) -> Result<Known, HandshakeError> {
    let (hello_bytes, hello) = read_hello(stream).await?;
    let cluster = identity.cluster().into_bytes();
    let refused = match hello.wanted == NodeId::NONE || hello.wanted == identity.node {
        true => objection(&cluster, identity.node, &hello.cluster, hello.node, NodeId::NONE, hello.versions),
        false => Some(Refusal::OtherNode),
    };
    let refusal = refused.map_or(0, code);
    let challenge = Challenge { refusal, versions: our_versions(), node: identity.node, nonce: nonce(), cluster }.encode();
    stream.write_all(&challenge).await?;
    if let Some(refusal) = refused {
        return Err(HandshakeError::RefusedByUs(refusal));
    }
    let transcript = [hello_bytes.as_slice(), challenge.as_slice()];
    let mut theirs = [0; PROOF_BYTES];
    stream.read_exact(&mut theirs).await?;
    let mut verdict = [0; 1 + PROOF_BYTES];
    if !is_proof(identity, Role::Dialer, transcript, &theirs) {
        verdict[0] = code(Refusal::Secret);
        stream.write_all(&verdict).await?;
        return Err(HandshakeError::RefusedByUs(Refusal::Secret));
    }
    verdict[1..].copy_from_slice(proof(identity, Role::Listener, transcript).as_ref());
    stream.write_all(&verdict).await?;
    Ok(Known { node: hello.node, purpose: hello.purpose })
}

/// What one end has against the other; `wanted` if it means a certain one.
fn objection(
    our_cluster: &[u8],
    our_node: NodeId,
    cluster: &[u8],
    node: NodeId,
    wanted: NodeId,
    versions: (u16, u16),
) -> Option<Refusal> {
    if versions.0 > *VERSIONS.end() || versions.1 < *VERSIONS.start() {
        return Some(Refusal::Version);
    }
    if !our_cluster.is_empty() && !cluster.is_empty() && our_cluster != cluster {
        return Some(Refusal::Cluster);
    }
    if node == our_node {
        return Some(Refusal::SameNode);
    }
    (wanted != NodeId::NONE && wanted != node).then_some(Refusal::OtherNode)
}

fn our_versions() -> (u16, u16) {
    (*VERSIONS.start(), *VERSIONS.end())
}

#[derive(Clone, Copy)]
enum Role {
    Dialer,
    Listener,
}

fn signing(identity: &Identity, role: Role, transcript: [&[u8]; 2]) -> hmac::Context {
    let mut context = hmac::Context::with_key(identity.key());
    context.update(match role {
        Role::Dialer => b"duolog peer, dialer",
        Role::Listener => b"duolog peer, listener",
    });
    transcript.iter().for_each(|part| context.update(part));
    context
}

fn proof(identity: &Identity, role: Role, transcript: [&[u8]; 2]) -> hmac::Tag {
    signing(identity, role, transcript).sign()
}

/// In constant time.
fn is_proof(identity: &Identity, role: Role, transcript: [&[u8]; 2], theirs: &[u8]) -> bool {
    let ours = proof(identity, role, transcript);
    // Comparing MACs of both under a fresh key takes the same time whatever they have in common.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &nonce());
    hmac::verify(&key, theirs, hmac::sign(&key, ours.as_ref()).as_ref()).is_ok()
}

fn nonce() -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).expect("the operating system has random numbers");
    nonce
}

fn code(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Version => 1,
        Refusal::Cluster => 2,
        Refusal::OtherNode => 3,
        Refusal::SameNode => 4,
        Refusal::Secret => 5,
    }
}

/// A code of a later version counts as a difference in versions.
fn refusal(code: u8) -> Option<Refusal> {
    match code {
        0 => None,
        2 => Some(Refusal::Cluster),
        3 => Some(Refusal::OtherNode),
        4 => Some(Refusal::SameNode),
        5 => Some(Refusal::Secret),
        _ => Some(Refusal::Version),
    }
}

impl Hello {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u16(self.versions.0);
        bytes.put_u16(self.versions.1);
        bytes.put_i32(self.node.0);
        bytes.put_i32(self.wanted.0);
        bytes.put_u8(self.purpose);
        bytes.put_slice(&self.nonce);
        put_cluster(&mut bytes, &self.cluster);
        bytes
    }
}

impl Challenge {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u8(self.refusal);
        bytes.put_u16(self.versions.0);
        bytes.put_u16(self.versions.1);
        bytes.put_i32(self.node.0);
        bytes.put_slice(&self.nonce);
        put_cluster(&mut bytes, &self.cluster);
        bytes
    }
}

fn put_cluster(bytes: &mut Vec<u8>, cluster: &[u8]) {
    assert!(cluster.len() <= MAX_CLUSTER_BYTES, "the identity has seen to it");
    bytes.put_u8(cluster.len() as u8);
    bytes.put_slice(cluster);
}

/// Reads one message: the magic first, so that somebody else's client is turned away before it has sent the rest.
async fn read_message<const FIXED: usize, S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<(Vec<u8>, [u8; FIXED], Vec<u8>), HandshakeError> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != *MAGIC {
        return Err(HandshakeError::NotAPeer);
    }
    let mut fixed = [0; FIXED];
    stream.read_exact(&mut fixed).await?;
    let length = usize::from(fixed[FIXED - 1]);
    if length > MAX_CLUSTER_BYTES {
        return Err(HandshakeError::NotAPeer);
    }
    let mut cluster = vec![0; length];
    stream.read_exact(&mut cluster).await?;
    Ok(([&magic[..], &fixed[..], &cluster[..]].concat(), fixed, cluster))
}

async fn read_hello<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Vec<u8>, Hello), HandshakeError> {
    let (bytes, fixed, cluster) = read_message::<HELLO_BYTES, S>(stream).await?;
    let mut fields = &fixed[..];
    let versions = (fields.get_u16(), fields.get_u16());
    let (node, wanted, purpose) = (NodeId(fields.get_i32()), NodeId(fields.get_i32()), fields.get_u8());
    let mut nonce = [0; NONCE_BYTES];
    fields.copy_to_slice(&mut nonce);
    Ok((bytes, Hello { versions, node, wanted, purpose, nonce, cluster }))
}

async fn read_challenge<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Vec<u8>, Challenge), HandshakeError> {
    let (bytes, fixed, cluster) = read_message::<CHALLENGE_BYTES, S>(stream).await?;
    let mut fields = &fixed[..];
    let (refusal, versions) = (fields.get_u8(), (fields.get_u16(), fields.get_u16()));
    let node = NodeId(fields.get_i32());
    let mut nonce = [0; NONCE_BYTES];
    fields.copy_to_slice(&mut nonce);
    Ok((bytes, Challenge { refusal, versions, node, nonce, cluster }))
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
