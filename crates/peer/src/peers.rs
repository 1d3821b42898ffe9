//! Calls to other nodes: who is where, and a connection for each node and purpose.
//!
//! A connection is made when it is needed and again when it is lost; between failed attempts calls fail at once.

use crate::frame;
use crate::handshake::{self, HandshakeError};
use crate::identity::Identity;
use crate::link::{self, Link};
use crate::service::{CallKind, CallRefusal};
use bytes::Bytes;
use duolog_base::NodeId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long the network may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What a connection is for. Calls of different purposes do not hold each other up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purpose(pub u8);

impl Purpose {
    /// Short calls that others wait for.
    pub const CONTROL: Purpose = Purpose(0);
    /// Long ones.
    pub const BULK: Purpose = Purpose(1);
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error("node {node} cannot be reached: {problem}")]
    Unreachable { node: NodeId, problem: Unreachable },
    /// It may have been done.
    #[error("the connection to node {node} was lost under the call")]
    Lost { node: NodeId },
    /// It may have been done.
    #[error("node {node} did not answer in time")]
    TimedOut { node: NodeId },
    /// It was not done.
    #[error("node {node} refuses: {refusal}")]
    Refused { node: NodeId, refusal: CallRefusal },
    #[error("a call of {bytes} bytes is too long")]
    TooLong { bytes: usize },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    #[error("its address is not known")]
    NoAddress,
    #[error("{kind}")]
    Connect { kind: io::ErrorKind },
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("this node is stopping")]
    Stopping,
}

/// Where a node is.
struct Place {
    address: Option<String>,
    cut: bool,
    /// What holds of the two.
    dialled: watch::Sender<Option<String>>,
}

impl Place {
    fn new() -> Place {
        Place { address: None, cut: false, dialled: watch::Sender::new(None) }
    }

    fn publish(&self) {
        let now = self.address.clone().filter(|_| !self.cut);
        self.dialled.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}

type Links = HashMap<(NodeId, Purpose), Arc<Link>>;

/// The other nodes, as this one reaches them.
pub struct Peers {
    identity: Arc<Identity>,
    book: Mutex<BTreeMap<NodeId, Place>>,
    /// `None` once closed.
    links: Mutex<Option<Links>>,
}

impl Peers {
    /// Within a tokio runtime.
    pub fn new(identity: Arc<Identity>) -> Arc<Peers> {
        Arc::new(Peers { identity, book: Mutex::default(), links: Mutex::new(Some(HashMap::new())) })
    }

    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The node is at this address (`host:port`) from now on; a connection to another one is given up.
    pub fn set_address(&self, node: NodeId, address: &str) {
        self.change(node, |place| place.address = Some(address.to_owned()));
    }

    /// The node is nowhere.
    pub fn forget(&self, node: NodeId) {
        self.change(node, |place| place.address = None);
    }

    pub fn address(&self, node: NodeId) -> Option<String> {
        self.book.lock().get(&node)?.address.clone()
    }

    /// Whether calls to the node fail, wherever it is: for drills, and for tests of partitioned networks.
    pub fn cut(&self, node: NodeId, cut: bool) {
        self.change(node, |place| place.cut = cut);
    }

    fn change(&self, node: NodeId, change: impl FnOnce(&mut Place)) {
        let mut book = self.book.lock();
        let place = book.entry(node).or_insert_with(Place::new);
        change(place);
        place.publish();
    }

    /// Calls a node, and waits for the answer for at most `limit`.
    pub async fn call(
        &self,
        node: NodeId,
        purpose: Purpose,
        kind: CallKind,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        if !frame::fits(body.len()) {
            return Err(CallError::TooLong { bytes: body.len() });
        }
        let link = self.link(node, purpose)?;
        let answer = tokio::time::timeout(limit, link.call(kind, body));
        answer.await.unwrap_or(Err(CallError::TimedOut { node }))
    }

    fn link(&self, node: NodeId, purpose: Purpose) -> Result<Arc<Link>, CallError> {
        let address = self.book.lock().entry(node).or_insert_with(Place::new).dialled.subscribe();
        let mut links = self.links.lock();
        let Some(links) = links.as_mut() else {
            return Err(CallError::Unreachable { node, problem: Unreachable::Stopping });
        };
        let link = links.entry((node, purpose));
        Ok(link.or_insert_with(|| Link::start(self.identity.clone(), node, purpose, address)).clone())
    }

    /// Calls whoever is at an address, over a connection for this one call. Tells who it was.
    pub async fn call_address(
        &self,
        address: &str,
        kind: CallKind,
        body: Bytes,
        limit: Duration,
    ) -> Result<(NodeId, Bytes), CallError> {
        if !frame::fits(body.len()) {
            return Err(CallError::TooLong { bytes: body.len() });
        }
        let call = async {
            let unreachable = |problem| CallError::Unreachable { node: NodeId::NONE, problem };
            let (stream, node) = connect(&self.identity, address, NodeId::NONE, Purpose::CONTROL).await.map_err(unreachable)?;
            let answer = link::call_once(stream, node, kind, body).await?;
            Ok((node, answer))
        };
        tokio::time::timeout(limit, call).await.unwrap_or(Err(CallError::TimedOut { node: NodeId::NONE }))
    }

    /// Ends all connections; later calls fail.
    pub fn close(&self) {
        let links = self.links.lock().take();
        links.iter().flat_map(HashMap::values).for_each(|link| link.close());
    }
}

/// Connects and makes sure of who is there.
pub(crate) async fn connect(
    identity: &Identity,
    address: &str,
    wanted: NodeId,
    purpose: Purpose,
) -> Result<(TcpStream, NodeId), Unreachable> {
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
    let connected = connected.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    let failed = |error: io::Error| Unreachable::Connect { kind: error.kind() };
    let mut stream = connected.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let known = handshake::dial(&mut stream, identity, wanted, purpose.0).await?;
    Ok((stream, known.node))
}
