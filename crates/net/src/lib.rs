//! What the front ends have in common: listening, accepting within limits, frames that take room as they arrive, and files
//! that are read for clients by the block.
//!
//! Nothing here knows a protocol beyond "a length of four bytes, then so many bytes". A front end gives [`Server`] a
//! [`Service`] that serves one connection, and reads its requests through an [`Intake`].

mod addresses;
mod blocks;
mod bound;
mod budget;
mod cached;
mod door;
mod frames;
mod intake;
mod limits;
mod listener;
mod server;

pub use blocks::{BLOCK_BYTES, Blocks, Place};
pub use bound::{BindError, Bound};
pub use budget::{Budget, Room};
pub use cached::{is_cached, read_cached};
pub use door::Door;
pub use frames::FrameError;
pub use intake::{Arrived, Charge, Intake, Late};
pub use limits::ConnectionLimits;
pub use listener::{Listener, Peer};
pub use server::{Server, Service, stopped_for, told_to_stop};
