//! A cluster in one thread with virtual time: the production code that decides replication, on simulated disks and a simulated network.
//!
//! What is real: [`duolog_replica`] (leader, follower, in-sync sets), the controller's decisions and image of [`duolog_core::metadata`], and
//! the group coordinator: the shards of [`duolog_core::group`] with their records, replay and parked answers; in other runs, in its
//! place, what decides of delivery ([`duolog_core::share::decisions`], [`duolog_core::delay::decisions`]).
//! What is simulated: the log of a node in most runs ([`log`]: one sequence of frames for all partitions, of which power loss keeps what
//! was synced; in the others it is the production log on a simulated disk), the network, the clients, and the metadata quorum, which
//! is one log that is always consistent but reached with delay.
//! A seed decides everything: how many nodes, what goes wrong and when. The same seed gives the same run, event by event.
//!
//! * [`run`] plays a seed and answers what it saw, or which invariant broke;
//! * `world` has the events and the faults, `node` is the shell that drives the replicas of a node, `controller` the one that drives the
//!   decisions, `coordinator` the one around the groups' shards; `client` and `members` are who uses the cluster;
//! * `delivery` is what some runs play in place of groups: share-partitions, delayed and half records;
//! * `oracle` and `groups` know what must be true after every event.
//!
//! It is a crate of its own, and not part of `duolog-sim`, because the tests of the log and of the broker use that one and must not wait
//! for the broker to be built. Called by its tests and by hand: `cargo run -p duolog-simulator --release -- --seed 7`.

mod client;
mod controller;
mod coordinator;
mod delivery;
mod faults;
mod groups;
mod log;
mod members;
mod message;
mod network;
mod node;
mod oracle;
mod world;

pub use oracle::Violation;
pub use world::{Cast, Failure, Logs, Report, Setting, Trace, run, run_in};
