//! The road between the nodes of one cluster: authenticated connections, and calls over them.
//!
//! * `handshake`: who connects proves that it has the cluster's secret, and so does who accepts. Nothing else is read before.
//! * `frame`: length-prefixed calls and answers, matched by a number; answers come in any order.
//! * [`Peers`]: calls out, one connection a node and purpose, made when it is needed.
//! * [`PeerListener`]: calls in, handed to the [`Switchboard`].
//! * [`head`]: the form that most bodies have.
//!
//! The proofs authenticate both ends and everything they agree on; the bytes that follow are neither signed nor encrypted, so the road is for
//! networks in which nobody changes packets. What the calls mean is none of this crate's business.

mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
pub mod head;
mod identity;
mod link;
mod listener;
mod peers;
mod service;

pub use frame::{MAX_BODY_BYTES, MAX_FRAME_BYTES};
pub use handshake::{HandshakeError, Refusal};
pub use identity::{Identity, MAX_CLUSTER_BYTES, MIN_SECRET_BYTES, WeakSecret};
pub use listener::{ListenError, MAX_CALLS_SERVED, PeerListener};
pub use peers::{CallError, Peers, Purpose, Unreachable};
pub use service::{Answer, CallKind, CallRefusal, PeerService, Switchboard};
