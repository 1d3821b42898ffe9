//! Ends the process when one input takes far too long, after saying which.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time for one input, a hundred times what the slowest takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The input being worked on.
#[derive(Default)]
struct Current {
    since: Option<Instant>,
    bytes: Vec<u8>,
}

/// A thread that watches.
pub struct Watchdog {
    current: Arc<Mutex<Current>>,
}

impl Watchdog {
    /// `hung` gets the input and ends the process.
    pub fn start(hung: impl Fn(&[u8]) + Send + 'static) -> Watchdog {
        let current: Arc<Mutex<Current>> = Arc::default();
        let watched = current.clone();
        std::thread::spawn(move || {
            while Arc::strong_count(&watched) > 1 {
                std::thread::sleep(LOOK_EVERY);
                let current = watched.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if current.since.is_some_and(|since| since.elapsed() > LIMIT) {
                    hung(&current.bytes);
                }
            }
        });
        Watchdog { current }
    }

    pub fn begin(&self, input: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        current.since = Some(Instant::now());
        current.bytes.clear();
        current.bytes.extend_from_slice(input);
    }

    pub fn end(&self) {
        self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).since = None;
    }
}
