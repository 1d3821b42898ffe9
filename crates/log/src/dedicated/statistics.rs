//! What the log has done since it was opened, in the counters that both layouts share.

use super::log::DedicatedLog;
use crate::{AppendError, AppendOrigin, LogStatistics};

impl DedicatedLog {
    pub fn statistics(&self) -> LogStatistics {
        let (queued_bytes, tail_cache_bytes) = {
            let state = self.state.lock();
            (state.progress.queued_bytes, state.tail.bytes())
        };
        self.counters.snapshot(queued_bytes, tail_cache_bytes)
    }

    /// Why an append of `origin` would be refused now, however small. `None` is no promise.
    pub fn refusal(&self, origin: AppendOrigin) -> Option<AppendError> {
        self.state.lock().refusal(origin, 0, 1, &self.options)
    }
}
