//! What the log has done since it was opened, counted: for metrics and tests.
//!
//! Counters only grow, sizes are those of now; a snapshot is not taken at one instant.

use crate::log::Log;
use std::sync::atomic::{AtomicU64, Ordering};

/// A plain copy of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatistics {
    /// Writes of queued frames, one `pwritev` each.
    pub writes: u64,
    /// Bytes of those writes, frame headers and padding included.
    pub written_bytes: u64,
    /// Syncs that moved the durable position (not those of indexes, checkpoints and zeros).
    pub syncs: u64,
    /// Files begun because the one before was full.
    pub rolls: u64,
    /// Checkpoints of the active file written.
    pub checkpoints: u64,
    /// Files that got their sealed index.
    pub seals: u64,
    /// Dead files removed.
    pub files_freed: u64,
    /// Dead files kept to be used again.
    pub files_recycled: u64,
    /// Files that were written anew by tidying, and the bytes of what took their place.
    pub files_tidied: u64,
    pub tidied_bytes: u64,
    /// Passes of compaction over a partition.
    pub compactions: u64,
    /// Parts of the key index written, and bytes read from the log for what had been lost of it.
    pub key_parts: u64,
    pub key_scan_bytes: u64,
    /// Frames read when the log was opened.
    pub recovered_frames: u64,
    /// Bytes of batches that wait to be written.
    pub queued_bytes: usize,
    /// Memory that the newest batches take for readers at the tail.
    pub tail_cache_bytes: usize,
}

impl LogStatistics {
    /// Both together, of two logs.
    #[must_use]
    pub fn plus(self, other: LogStatistics) -> LogStatistics {
        LogStatistics {
            writes: self.writes + other.writes,
            written_bytes: self.written_bytes + other.written_bytes,
            syncs: self.syncs + other.syncs,
            rolls: self.rolls + other.rolls,
            checkpoints: self.checkpoints + other.checkpoints,
            seals: self.seals + other.seals,
            files_freed: self.files_freed + other.files_freed,
            files_recycled: self.files_recycled + other.files_recycled,
            files_tidied: self.files_tidied + other.files_tidied,
            tidied_bytes: self.tidied_bytes + other.tidied_bytes,
            compactions: self.compactions + other.compactions,
            key_parts: self.key_parts + other.key_parts,
            key_scan_bytes: self.key_scan_bytes + other.key_scan_bytes,
            recovered_frames: self.recovered_frames + other.recovered_frames,
            queued_bytes: self.queued_bytes + other.queued_bytes,
            tail_cache_bytes: self.tail_cache_bytes + other.tail_cache_bytes,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters behind [`LogStatistics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub writes: Counter,
    pub written_bytes: Counter,
    pub syncs: Counter,
    pub rolls: Counter,
    pub checkpoints: Counter,
    pub seals: Counter,
    pub files_freed: Counter,
    pub files_recycled: Counter,
    pub recovered_frames: Counter,
    pub files_tidied: Counter,
    pub tidied_bytes: Counter,
    pub compactions: Counter,
    pub key_parts: Counter,
    pub key_scan_bytes: Counter,
}

impl Counters {
    /// All counts as of now, beside what the log holds in memory.
    pub fn snapshot(&self, queued_bytes: usize, tail_cache_bytes: usize) -> LogStatistics {
        LogStatistics {
            writes: self.writes.get(),
            written_bytes: self.written_bytes.get(),
            syncs: self.syncs.get(),
            rolls: self.rolls.get(),
            checkpoints: self.checkpoints.get(),
            seals: self.seals.get(),
            files_freed: self.files_freed.get(),
            files_recycled: self.files_recycled.get(),
            files_tidied: self.files_tidied.get(),
            tidied_bytes: self.tidied_bytes.get(),
            compactions: self.compactions.get(),
            key_parts: self.key_parts.get(),
            key_scan_bytes: self.key_scan_bytes.get(),
            recovered_frames: self.recovered_frames.get(),
            queued_bytes,
            tail_cache_bytes,
        }
    }
}

impl Log {
    pub fn statistics(&self) -> LogStatistics {
        let (queued_bytes, tail_cache_bytes) = {
            let state = self.state.lock();
            (state.progress.queued_bytes, state.tail.bytes())
        };
        self.counters.snapshot(queued_bytes, tail_cache_bytes)
    }
}
