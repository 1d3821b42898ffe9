//! What is called: services, and the board that finds the one for a kind of call.

use bytes::Bytes;
use duolog_base::NodeId;
use parking_lot::RwLock;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;

/// Says what a call means. The services divide the numbers among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKind(pub u16);

/// Why a call was not done. It had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    #[error("calls of this kind are not served (yet)")]
    NotServed,
    #[error("the call cannot be understood")]
    Malformed,
    #[error("the node is too busy")]
    Busy,
    #[error("the node is stopping")]
    Stopping,
}

/// An answer under way; its parts are sent one after the other and arrive as one.
pub type Answer = Pin<Box<dyn Future<Output = Result<Vec<Bytes>, CallRefusal>> + Send>>;

/// Serves calls of authenticated nodes.
pub trait PeerService: Send + Sync + 'static {
    /// Begins a call. The calls of one connection run side by side.
    fn call(&self, from: NodeId, kind: CallKind, body: Bytes) -> Answer;
}

/// The kinds of calls a service answers.
type Connected = (RangeInclusive<u16>, Arc<dyn PeerService>);

/// Finds the service for a call. Services come and go while the listener runs.
#[derive(Default)]
pub struct Switchboard {
    services: RwLock<Vec<Connected>>,
}

impl Switchboard {
    /// Calls of these kinds go to `service` from now on.
    pub fn connect(&self, kinds: RangeInclusive<u16>, service: Arc<dyn PeerService>) {
        let mut services = self.services.write();
        services.retain(|(taken, _)| *taken != kinds);
        let overlap = |taken: &RangeInclusive<u16>| taken.start() <= kinds.end() && kinds.start() <= taken.end();
        assert!(!services.iter().any(|(taken, _)| overlap(taken)), "two services for one kind of call");
        services.push((kinds, service));
    }

    /// Calls of these kinds are refused from now on.
    pub fn disconnect(&self, kinds: RangeInclusive<u16>) {
        self.services.write().retain(|(taken, _)| *taken != kinds);
    }

    pub(crate) fn find(&self, kind: CallKind) -> Option<Arc<dyn PeerService>> {
        let services = self.services.read();
        services.iter().find(|(kinds, _)| kinds.contains(&kind.0)).map(|(_, service)| service.clone())
    }
}
