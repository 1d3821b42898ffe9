//! The targets under libFuzzer, which looks for inputs that reach code no earlier input has reached. One program for all targets:
//! the environment says which. `cargo xtask fuzz` builds it with coverage counters and runs it.

#![no_main]

use duolog_fuzz::{Target, find};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

/// The name of the target.
const VARIABLE: &str = "DUOLOG_FUZZ_TARGET";

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        find(&name).unwrap_or_else(|| panic!("{VARIABLE} names no target: {name:?}"))
    })
}

fuzz_target!(|input: &[u8]| (target().run)(input));
