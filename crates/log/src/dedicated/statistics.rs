//! What the log has done since it was opened, in the counters that both layouts share.

use super::log::DedicatedLog;
use crate::{AppendError, AppendOrigin, LogStatistics};

impl DedicatedLog {
    pub fn statistics(&self) -> LogStatistics {
        let counters = &self.counters;
        let (queued_bytes, tail_cache_bytes) = {
            let state = self.state.lock();
            (state.queued_bytes, state.tail.bytes())
        };
        LogStatistics {
            writes: counters.writes.get(),
            written_bytes: counters.written_bytes.get(),
            syncs: counters.syncs.get(),
            rolls: counters.rolls.get(),
            checkpoints: counters.checkpoints.get(),
            seals: counters.seals.get(),
            files_freed: counters.files_freed.get(),
            files_tidied: counters.files_tidied.get(),
            tidied_bytes: counters.tidied_bytes.get(),
            compactions: counters.compactions.get(),
            recovered_frames: counters.recovered_frames.get(),
            queued_bytes,
            tail_cache_bytes,
            ..LogStatistics::default()
        }
    }

    /// Why an append of `origin` would be refused now, however small. `None` is no promise.
    pub fn refusal(&self, origin: AppendOrigin) -> Option<AppendError> {
        self.state.lock().refusal(origin, 0, 1, &self.options)
    }
}
