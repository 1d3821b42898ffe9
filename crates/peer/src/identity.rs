//! Who a node is to its peers: its number, its cluster and the secret that the cluster's nodes share.

use duolog_base::NodeId;
use parking_lot::Mutex;
use ring::hmac;
use std::fmt;

/// A secret shorter than this can be guessed.
pub const MIN_SECRET_BYTES: usize = 8;
/// Longest cluster id that is sent.
pub const MAX_CLUSTER_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster's secret has {bytes} bytes, at least {MIN_SECRET_BYTES} are needed")]
pub struct WeakSecret {
    pub bytes: usize,
}

/// This node, as it presents itself.
pub struct Identity {
    pub node: NodeId,
    /// Empty as long as it is not known: a node that joins learns it.
    cluster: Mutex<String>,
    key: hmac::Key,
}

impl Identity {
    pub fn new(node: NodeId, cluster: &str, secret: &[u8]) -> Result<Identity, WeakSecret> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(WeakSecret { bytes: secret.len() });
        }
        let identity = Identity { node, cluster: Mutex::default(), key: hmac::Key::new(hmac::HMAC_SHA256, secret) };
        identity.set_cluster(cluster);
        Ok(identity)
    }

    /// Peers of other clusters are refused from now on. The id has at most [`MAX_CLUSTER_BYTES`].
    pub fn set_cluster(&self, cluster: &str) {
        assert!(cluster.len() <= MAX_CLUSTER_BYTES, "a cluster id is short");
        cluster.clone_into(&mut self.cluster.lock());
    }

    pub fn cluster(&self) -> String {
        self.cluster.lock().clone()
    }

    pub(crate) fn key(&self) -> &hmac::Key {
        &self.key
    }
}

/// Without the secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).field("cluster", &self.cluster()).finish_non_exhaustive()
    }
}
