//! Batches that were found damaged when the answer that names them had begun already.
//!
//! Such an answer cannot be finished: the connection is closed, and the client throws away what it got of it and asks for the same once
//! more. So that it is not told the same again, reads end before a batch that is known here. Once a read begins with it, the file is
//! looked at, and the client is told an error that names the partition, or the batch if it is there again.

use crate::ranges::FileRange;
use duolog_base::DiskFile;
use duolog_log::{ReadPart, ReadPlan, StoredFrame};
use hashbrown::HashSet;
use parking_lot::Mutex;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Batches that are known. When there are more, all are forgotten: they will be found again.
const KNOWN_BATCHES: usize = 1024;

/// Those of the whole process; empty memory as long as there was none. A batch of another log that is taken for one of these is sent with
/// the read after this one.
static KNOWN: OnceLock<Mutex<HashSet<StoredFrame>>> = OnceLock::new();

/// The batch of this range is not to be sent.
pub(crate) fn found(range: &FileRange, frame: StoredFrame, error: &std::io::Error) {
    let file = path_of(&*range.place.file);
    let position = range.place.position;
    tracing::error!(file = %file.display(), position, %error, "an answer that had begun cannot be finished");
    let mut known = KNOWN.get_or_init(Mutex::default).lock();
    if known.len() == KNOWN_BATCHES {
        known.clear();
    }
    known.insert(frame);
}

/// Where a file is, as far as it can be told.
pub(crate) fn path_of(file: &dyn DiskFile) -> PathBuf {
    let descriptor = file.descriptor().map(|file| file.as_raw_fd());
    descriptor.and_then(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).ok()).unwrap_or_default()
}

/// The batch is there.
pub(crate) fn repaired(frame: StoredFrame) {
    if let Some(known) = KNOWN.get() {
        known.lock().remove(&frame);
    }
}

/// Ends the plan before the first batch that is known to be damaged, but for the one at its beginning.
pub(crate) fn leave_out(plan: &mut ReadPlan) {
    let Some(known) = KNOWN.get() else { return };
    let known = known.lock();
    let damaged = |part: &ReadPart| matches!(part, ReadPart::File { frame: Some(frame), .. } if known.contains(frame));
    if !known.is_empty()
        && let Some(behind) = plan.parts.iter().skip(1).position(damaged)
    {
        plan.end_before(1 + behind);
    }
}
