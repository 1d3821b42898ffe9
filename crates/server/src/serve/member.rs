//! This node as a member of a cluster: the secret, the listener for other nodes, and what it registers.
//!
//! A `peer` listener makes a node a member. What the user has written is checked before anything is opened, and whoever is to be joined
//! is asked first, so that a wrong secret or node id ends the start with a message instead of a wait.

use super::ServeError;
use super::listen::{Scheme, Spoken, host_and_port};
use super::ports::{Ports, endpoint, in_use};
use duolog_base::NodeId;
use duolog_core::config::BrokerConfig;
use duolog_core::metadata::{ClusterOptions, DEFAULT_REQUEST_LIMIT, Endpoint, IdSource, RandomIds};
use duolog_net::Listener;
use duolog_peer::{
    CallError, CallKind, HandshakeError, Identity, PeerListener, Peers, Refusal, Switchboard, Unreachable, WeakSecret,
};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A kind of call that nobody serves: the handshake before it tells what is to be known.
const NO_CALL: CallKind = CallKind(0);
/// How long one of the nodes to join may take to say who it is.
const ASKING_LIMIT: Duration = Duration::from_secs(3);

/// What is wrong with what the user said of the cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemberError {
    #[error(
        "a peer:// listener makes this node part of a cluster, whose nodes share a secret: give all of them the same file with \
         --cluster-secret-file FILE (`head -c 32 /dev/urandom | base64 > FILE` makes one), or set cluster.secret"
    )]
    NoSecret,
    #[error("cluster.secret and cluster.secret.file are both set")]
    TwoSecrets,
    #[error("the cluster's secret in {path}: {error}", path = path.display())]
    SecretFile { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    WeakSecret(#[from] WeakSecret),
    #[error("to join a cluster, this node needs a listener for the other nodes: --listen peer://HOST:PORT")]
    NoListener,
    #[error("there can be one peer:// listener only")]
    TwoListeners,
    #[error("{given:?}, to be joined, is not of the form HOST:PORT")]
    JoinForm { given: String },
    #[error("{address}, to be joined, has another cluster secret than this node")]
    OtherSecret { address: String },
    #[error("{address}, to be joined, has this node's id, {node}: give each node an id of its own with --node-id N")]
    SameNode { address: String, node: NodeId },
    #[error("{address}, to be joined, belongs to another cluster than the data of this node")]
    OtherCluster { address: String },
    #[error("{address}, to be joined, is of a version that cannot talk to this one")]
    Version { address: String },
}

/// What the user said of the cluster.
pub(super) struct MemberSettings {
    identity: Arc<Identity>,
    listener: Listener,
    /// As given.
    join: Vec<String>,
}

impl MemberSettings {
    /// `None` of a node alone.
    pub(super) fn of(config: &BrokerConfig, listeners: &[Spoken]) -> Result<Option<MemberSettings>, MemberError> {
        let mut peer = listeners.iter().filter(|spoken| spoken.scheme == Scheme::Peer);
        let Some(spoken) = peer.next() else {
            return if config.cluster_join.is_empty() { Ok(None) } else { Err(MemberError::NoListener) };
        };
        if peer.next().is_some() {
            return Err(MemberError::TwoListeners);
        }
        if let Some(given) = config.cluster_join.iter().find(|given| host_and_port(given).is_none()) {
            return Err(MemberError::JoinForm { given: given.clone() });
        }
        // Which cluster it is in is not known before the metadata is open.
        let identity = Arc::new(Identity::new(NodeId(config.node_id), "", secret(config)?.as_bytes())?);
        Ok(Some(MemberSettings { identity, listener: spoken.listener.clone(), join: config.cluster_join.clone() }))
    }
}

fn secret(config: &BrokerConfig) -> Result<String, MemberError> {
    match (&config.cluster_secret, &config.cluster_secret_file) {
        (Some(_), Some(_)) => Err(MemberError::TwoSecrets),
        (Some(secret), None) => Ok(secret.clone()),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(MemberError::SecretFile { path: path.clone(), error }),
        },
        (None, None) => Err(MemberError::NoSecret),
    }
}

/// The way between this node and the others.
pub(super) struct Member {
    peers: Arc<Peers>,
    switchboard: Arc<Switchboard>,
    listener: PeerListener,
    /// Where the others reach this node.
    here: Endpoint,
    /// Without this node itself.
    join: Vec<String>,
}

impl Member {
    /// Other nodes may call from now on; they are served as far as the broker is open.
    pub(super) async fn begin(settings: MemberSettings) -> Result<Member, ServeError> {
        let MemberSettings { identity, listener, join } = settings;
        let switchboard = Arc::new(Switchboard::default());
        let bound = PeerListener::bind(&listener.address.to_string(), identity.clone(), switchboard.clone()).await;
        let bound = bound.map_err(|error| in_use(Scheme::Peer, listener.address, error.error))?;
        let here = endpoint(Scheme::Peer, &listener, bound.address(), &machine_name());
        if listener.advertised.is_none() && bound.address().ip().is_unspecified() {
            tracing::warn!(
                host = here.host,
                "the peer listener has no address of its own, so other nodes and clients are told this machine's name; \
                 ?advertised=HOST:PORT says another one"
            );
        }
        let own = format!("{}:{}", here.host, here.port);
        let join = join.into_iter().filter(|address| *address != own && !is_here(address, bound.address())).collect();
        Ok(Member { peers: Peers::new(identity), switchboard, listener: bound, here, join })
    }

    pub(super) fn options(&self, config: &BrokerConfig, ports: &Ports) -> ClusterOptions {
        let mut endpoints = ports.endpoints(&self.here.host);
        endpoints.push(self.here.clone());
        ClusterOptions {
            peers: self.peers.clone(),
            switchboard: self.switchboard.clone(),
            address: self.address(),
            endpoints,
            join: self.join.clone(),
            incarnation: RandomIds.next_id().to_string(),
            voters: config.cluster_voters,
            session: Duration::from_millis(config.broker_session_timeout_ms),
            heartbeat: Duration::from_millis(config.broker_heartbeat_interval_ms),
            replica_lag: Duration::from_millis(config.replica_lag_max_ms),
            request_limit: DEFAULT_REQUEST_LIMIT,
        }
    }

    /// Where the others reach this node: `host:port`.
    pub(super) fn address(&self) -> String {
        let Endpoint { host, port, .. } = &self.here;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Whether there is anybody to be waited for.
    pub(super) fn joins(&self) -> bool {
        !self.join.is_empty()
    }

    /// Asks who is to be joined whether that can ever be. One that can be joined is enough, and one that is not there may come.
    pub(super) async fn check_join(&self) -> Result<(), MemberError> {
        let mut refused = Ok(());
        for address in &self.join {
            match self.peers.call_address(address, NO_CALL, bytes::Bytes::new(), ASKING_LIMIT).await {
                Ok(_) | Err(CallError::Refused { .. }) => return Ok(()),
                Err(CallError::Unreachable { problem: Unreachable::Handshake(problem), .. }) => {
                    refused = refused.and_then(|()| self.judge(address, &problem));
                }
                Err(error) => tracing::info!(address, %error, "a node to be joined is not there yet"),
            }
        }
        refused
    }

    fn judge(&self, address: &str, problem: &HandshakeError) -> Result<(), MemberError> {
        let address = address.to_owned();
        match problem {
            HandshakeError::RefusedByThem(refusal) | HandshakeError::RefusedByUs(refusal) => Err(match refusal {
                Refusal::Secret => MemberError::OtherSecret { address },
                Refusal::SameNode | Refusal::OtherNode => MemberError::SameNode { address, node: self.peers.identity().node },
                Refusal::Cluster => MemberError::OtherCluster { address },
                Refusal::Version => MemberError::Version { address },
            }),
            _ => Ok(()),
        }
    }

    /// Other nodes of other clusters are refused from now on.
    pub(super) fn belongs_to(&self, cluster: &str) {
        self.peers.identity().set_cluster(cluster);
    }

    /// Calls nobody and is called by nobody any more.
    pub(super) async fn end(self) {
        self.peers.close();
        self.listener.stop().await;
    }
}

/// What the machine calls itself; others may or may not find it by that.
fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether an address is that of the listener which is bound there.
fn is_here(address: &str, bound: SocketAddr) -> bool {
    let Ok(mut resolved) = address.to_socket_addrs() else { return false };
    // An address of this machine is one that can be bound.
    let is_ours = |ip| std::net::TcpListener::bind((ip, 0)).is_ok();
    resolved.any(|one| one.port() == bound.port() && (one.ip() == bound.ip() || bound.ip().is_unspecified() && is_ours(one.ip())))
}

#[cfg(test)]
mod tests {
    use super::super::listen::resolve;
    use super::*;
    use duolog_core::config::Source;

    const PEER: &str = "peer://127.0.0.1:0";
    const SECRET: (&str, &str) = ("cluster.secret", "known to all of them");

    fn settings(values: &[(&str, &str)], listeners: &[&str]) -> Result<Option<MemberSettings>, MemberError> {
        let values = values.iter().map(|(key, value)| (key.to_string(), value.to_string(), Source::Flag)).collect();
        let listeners: Vec<String> = listeners.iter().map(|given| given.to_string()).collect();
        MemberSettings::of(&BrokerConfig::from_values(values).unwrap(), &resolve(&listeners, &[]).unwrap())
    }

    #[test]
    fn a_peer_listener_makes_a_member_and_needs_a_secret() {
        assert!(settings(&[], &["kafka://127.0.0.1:0"]).unwrap().is_none());
        assert!(settings(&[SECRET], &[PEER]).unwrap().is_some());
        assert!(matches!(settings(&[], &[PEER]), Err(MemberError::NoSecret)));
        assert!(matches!(settings(&[("cluster.secret", "short")], &[PEER]), Err(MemberError::WeakSecret(_))));
        let both = [SECRET, ("cluster.secret.file", "/nowhere")];
        assert!(matches!(settings(&both, &[PEER]), Err(MemberError::TwoSecrets)));
        assert!(matches!(settings(&both[1..], &[PEER]), Err(MemberError::SecretFile { .. })));
        assert!(matches!(settings(&[SECRET], &[PEER, PEER]), Err(MemberError::TwoListeners)));
    }

    #[test]
    fn a_secret_in_a_file_counts_without_the_white_space_around_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "  long enough\n").unwrap();
        let config =
            |key: &str, value: &str| BrokerConfig::from_values(vec![(key.to_owned(), value.to_owned(), Source::Flag)]).unwrap();
        assert_eq!(secret(&config("cluster.secret.file", &file.path().to_string_lossy())).unwrap(), "long enough");
        assert_eq!(secret(&config("cluster.secret", "inline, too")).unwrap(), "inline, too");
    }

    #[test]
    fn joining_needs_a_listener_and_addresses() {
        let join = ("cluster.join", "127.0.0.1:1,other:2");
        assert!(matches!(settings(&[SECRET, join], &["kafka://127.0.0.1:0"]), Err(MemberError::NoListener)));
        assert!(matches!(settings(&[SECRET, ("cluster.join", "nowhere")], &[PEER]), Err(MemberError::JoinForm { .. })));
        assert_eq!(settings(&[SECRET, join], &[PEER]).unwrap().unwrap().join, ["127.0.0.1:1", "other:2"]);
    }

    #[test]
    fn a_node_does_not_wait_for_itself() {
        let bound = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(is_here("127.0.0.1:7", bound("127.0.0.1:7")) && is_here("localhost:7", bound("0.0.0.0:7")));
        assert!(!is_here("127.0.0.1:8", bound("127.0.0.1:7")) && !is_here("127.0.0.2:7", bound("127.0.0.1:7")));
        assert!(!is_here("192.0.2.1:7", bound("0.0.0.0:7")), "an address of another machine");
    }

    async fn member(node: i32, secret: &str, join: &[&str]) -> Member {
        let identity = Arc::new(Identity::new(NodeId(node), "", secret.as_bytes()).unwrap());
        let listener = Listener { name: "peer".to_owned(), address: "127.0.0.1:0".parse().unwrap(), advertised: None };
        let join = join.iter().map(|address| address.to_string()).collect();
        Member::begin(MemberSettings { identity, listener, join }).await.unwrap()
    }

    #[tokio::test]
    async fn who_can_never_be_joined_is_named_and_who_is_not_there_is_waited_for() {
        let first = member(1, "the secret of all", &[]).await;
        let address = first.address();
        let asks = async |node, secret, join: &[&str]| member(node, secret, join).await.check_join().await;
        assert!(asks(2, "the secret of all", &[&address]).await.is_ok());
        let error = asks(2, "another secret", &[&address]).await.unwrap_err();
        assert!(matches!(&error, MemberError::OtherSecret { address: at } if *at == address), "{error}");
        assert!(matches!(asks(1, "the secret of all", &[&address]).await, Err(MemberError::SameNode { .. })));
        assert!(asks(2, "another secret", &["127.0.0.1:1"]).await.is_ok(), "nobody is there yet");
        first.belongs_to("one cluster");
        let second = member(2, "the secret of all", &[&address]).await;
        assert!(second.check_join().await.is_ok(), "it is in none yet");
        second.belongs_to("another one");
        assert!(matches!(second.check_join().await, Err(MemberError::OtherCluster { .. })));
        first.end().await;
    }
}
