//! How long and how often something that fails in passing is tried again.

use std::time::Duration;
use tokio::time::{Instant, sleep};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Growing pauses until a deadline.
pub(super) struct Retry {
    deadline: Instant,
    pause: Duration,
}

impl Retry {
    pub(super) fn within(limit: Duration) -> Retry {
        Retry { deadline: Instant::now() + limit, pause: FIRST_PAUSE }
    }

    /// Waits before the next attempt; `false` if there is no time for one.
    pub(super) async fn again(&mut self) -> bool {
        if Instant::now() + self.pause > self.deadline {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}
