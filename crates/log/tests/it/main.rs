//! Scenarios of the storage engine, over the operating system's disk and the simulated one.

mod scenario;

mod basics;
mod crash;
mod model;
