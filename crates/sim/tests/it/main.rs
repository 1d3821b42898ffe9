//! Tests of the simulator itself: a checker that has never failed is not trusted.

mod disk;
mod history;
