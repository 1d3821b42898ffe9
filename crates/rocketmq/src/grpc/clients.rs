//! The gRPC clients of this node: what they said they are, when they were heard of, and whether their stream of commands is open.
//!
//! A consumer counts as a member of its group among remoting clients, too, so that tools see it: it has a [`Channel`] there, on
//! which it says of everything that it does not know it. Time is given by the caller, in milliseconds.
//!
//! [`Channel`]: crate::clients::Channel

use super::limits::CLIENTS;
use super::status::Refused;
use crate::clients::{CLIENT_LIFE_MS, ChannelRef};
use duolog_rocketmq_proto::{Code, Settings};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// A client whose stream has ended has so long to come back before its messages go to others.
const RETURN_MS: u64 = 5_000;

/// All gRPC clients.
#[derive(Default)]
pub(super) struct GrpcClients {
    /// Guards the registry; held for one look-up.
    clients: Mutex<HashMap<Arc<str>, Known>>,
}

struct Known {
    settings: Arc<Settings>,
    seen_ms: u64,
    session: Option<ChannelRef>,
    /// When the stream ended; `None` while it is open, and once its messages were released.
    lost_ms: Option<u64>,
}

impl GrpcClients {
    /// A client has said what it is, on this stream.
    pub(super) fn settle(&self, id: &Arc<str>, settings: Arc<Settings>, session: ChannelRef, now_ms: u64) -> Result<(), Refused> {
        let mut clients = self.clients.lock();
        if clients.len() >= CLIENTS && !clients.contains_key(id) {
            return Err(Refused::new(Code::TooManyRequests, format!("{CLIENTS} clients are there already")));
        }
        clients.insert(id.clone(), Known { settings, seen_ms: now_ms, session: Some(session), lost_ms: None });
        Ok(())
    }

    /// The client says that it is there. `None` if it has not said what it is.
    pub(super) fn seen(&self, id: &str, now_ms: u64) -> Option<(Arc<Settings>, Option<ChannelRef>)> {
        let mut clients = self.clients.lock();
        let known = clients.get_mut(id)?;
        known.seen_ms = now_ms;
        Some((known.settings.clone(), known.session.clone()))
    }

    /// A stream has ended. Another one of the same client may be open already.
    pub(super) fn ended(&self, id: &str, session: &ChannelRef, now_ms: u64) {
        let mut clients = self.clients.lock();
        let Some(known) = clients.get_mut(id) else { return };
        if known.session.as_ref().is_some_and(|open| Arc::ptr_eq(open, session)) {
            known.session = None;
            known.lost_ms = Some(now_ms);
        }
    }

    /// The client leaves.
    pub(super) fn leave(&self, id: &str) -> Option<ChannelRef> {
        self.clients.lock().remove(id)?.session
    }

    /// Whether the client can still work on what it was given.
    pub(super) fn is_alive(&self, id: &str, now_ms: u64) -> bool {
        self.clients.lock().get(id).is_some_and(|known| {
            known.session.is_some() || known.lost_ms.is_some_and(|lost| now_ms.saturating_sub(lost) <= RETURN_MS)
        })
    }

    /// Those that are gone since the last time: their messages go to others.
    pub(super) fn expire(&self, now_ms: u64) -> Vec<Arc<str>> {
        let mut gone = Vec::new();
        self.clients.lock().retain(|id, known| {
            let is_silent = known.session.is_none() && now_ms.saturating_sub(known.seen_ms) > CLIENT_LIFE_MS;
            let is_lost = known.lost_ms.is_some_and(|lost| now_ms.saturating_sub(lost) > RETURN_MS);
            if is_silent || is_lost {
                known.lost_ms = None;
                gone.push(id.clone());
            }
            !is_silent
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Channel;
    use duolog_net::Peer;

    fn channel() -> ChannelRef {
        let address = "127.0.0.1:1".parse().unwrap();
        let listener = "grpc".to_owned();
        Channel::new(Peer { local: address, remote: address, listener, advertised: None, connection: 1 }).0
    }

    #[test]
    fn a_client_that_comes_back_in_time_is_not_gone() {
        let (clients, id) = (GrpcClients::default(), Arc::from("c"));
        let (first, second) = (channel(), channel());
        clients.settle(&id, Arc::default(), first.clone(), 0).unwrap();
        clients.ended("c", &first, 1_000);
        assert!(clients.is_alive("c", 1_000 + RETURN_MS) && clients.expire(1_000 + RETURN_MS).is_empty());
        clients.settle(&id, Arc::default(), second.clone(), 2_000).unwrap();
        clients.ended("c", &first, 3_000);
        assert!(clients.is_alive("c", 90_000), "the second stream is open");
        clients.ended("c", &second, 90_000);
        assert_eq!(clients.expire(90_001 + RETURN_MS), [id]);
        assert!(!clients.is_alive("c", 90_001 + RETURN_MS));
        assert!(clients.expire(100_000).is_empty(), "said once");
        assert!(clients.seen("c", 100_000).is_some());
        assert_eq!(clients.expire(100_001 + CLIENT_LIFE_MS).len(), 1);
        assert!(clients.seen("c", 300_000).is_none());
    }
}
