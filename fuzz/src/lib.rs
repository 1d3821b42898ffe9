//! Fuzz targets for everything that decodes bytes from a socket or a disk.
//!
//! A [`Target`] takes any bytes and panics if a promise is broken: no panic, no more memory than twice the input and
//! 1 MiB (or what the named limit of a codec says), and what was decoded is the same after it was encoded and decoded again.
//! That it ends in time is watched from outside. Two programs run the targets: `duolog-fuzz` (this crate; seeded mutations,
//! the same on every run) and the coverage-guided one in `guided/`. Both are started by `cargo xtask`.

mod codecs;
pub mod corpus;
pub mod memory;
pub mod minimize;
pub mod mutate;
pub mod panics;
pub mod targets;
pub mod watchdog;

pub use targets::{TARGETS, Target, find};
