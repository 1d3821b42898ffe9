//! The simulator's own tests: seeds that must pass, runs that must repeat, bugs that must be found.

mod mutants;
mod seeds;
