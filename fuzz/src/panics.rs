//! Remembers the first panic of any thread, also of those whose panics a runtime would catch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// From now on panics are remembered instead of printed.
pub fn remember() {
    std::panic::set_hook(Box::new(|info| {
        let mut first = FIRST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert_with(|| info.to_string());
    }));
}

/// What the first panic said while `work` ran, in whatever thread.
pub fn of(work: impl FnOnce()) -> Option<String> {
    let ended = catch_unwind(AssertUnwindSafe(work));
    let first = FIRST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    match ended {
        Ok(()) => first,
        Err(_) => Some(first.unwrap_or_else(|| String::from("a panic without a message"))),
    }
}
