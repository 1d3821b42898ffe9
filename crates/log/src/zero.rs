//! Zero-filling ahead of the writer, so that a sync writes data and no file-system metadata.
//!
//! Done in portions by the housekeeping, around the page cache where the file system can do that. The writer marks how far it will
//! write before it writes, in whole pages, and waits only if that reaches into the portion that is being filled. It writes whole
//! pages because the zeros are not in the page cache: a page written in part would have to be read first.

use crate::LogFailure;
use crate::files::log_path;
use crate::format::file_header::FILE_HEADER_BYTES;
use crate::log::Log;
use duolog_base::{DIRECT_ALIGNMENT, DiskFile};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// One portion. Synced before the next, so that a sync of the log finds little of it to do.
const PORTION_BYTES: u64 = 4 << 20;
/// How far ahead of the writer a log is filled that has taken little so far; it doubles from there.
const FIRST_AHEAD_BYTES: u64 = 2 * PORTION_BYTES;

/// Portions of one step: a writer that is as fast as the filling must not keep the housekeeping from sealing, since the entries of a
/// full file stay in memory until then.
const STEP_PORTIONS: usize = 4;

/// How far the file that is written to is filled.
pub(crate) struct Fill {
    base: u64,
    file: Arc<dyn DiskFile>,
    /// Bytes from the beginning of the file that need no filling: written, zeroed, or a recycled file's.
    filled: u64,
    /// Bytes the writer has written since the log was opened.
    written: u64,
    /// Where in the file the writer is.
    writer_at: u64,
    /// The portion that is being filled at present, of the present file or of the one before it.
    busy: Option<(u64, Range<u64>)>,
}

impl Fill {
    pub fn new(base: u64, file: Arc<dyn DiskFile>, present_bytes: u64, writer_at: u64) -> Fill {
        Fill { base, file, filled: page_end(present_bytes.max(writer_at)), written: 0, writer_at, busy: None }
    }

    /// The writer turns to the next file.
    pub fn begin(&mut self, base: u64, file: Arc<dyn DiskFile>, present_bytes: u64) {
        self.base = base;
        self.file = file;
        // The header is there already, whatever the file's length was before.
        self.filled = page_end(present_bytes.max(FILE_HEADER_BYTES as u64));
        self.writer_at = FILE_HEADER_BYTES as u64;
    }

    /// Whether the portion that is being filled reaches into what the writer is about to write.
    pub fn is_in_the_way(&self, base: u64, end: u64) -> bool {
        self.busy.as_ref().is_some_and(|(busy, portion)| *busy == base && portion.start < end)
    }

    /// The writer is about to write up to `end` (counted in the file). Answers whether the zeros run low.
    pub fn pass(&mut self, base: u64, end: u64, file_bytes: u64, zero_ahead_bytes: u64) -> bool {
        debug_assert_eq!(self.base, base, "the writer says when it turns to another file");
        self.written += end.saturating_sub(self.writer_at);
        self.writer_at = end;
        self.filled = self.filled.max(page_end(end));
        let left = self.filled - end;
        left < self.ahead(zero_ahead_bytes) / 2 && self.filled < file_bytes
    }

    fn ahead(&self, zero_ahead_bytes: u64) -> u64 {
        self.written.max(FIRST_AHEAD_BYTES).min(zero_ahead_bytes)
    }

    /// Position in the log up to which the present file is filled.
    pub fn filled_to(&self) -> u64 {
        self.base + self.filled
    }

    /// What to fill next, counted in the file.
    fn portion(&self, file_bytes: u64, zero_ahead_bytes: u64) -> Option<Range<u64>> {
        let wanted = (self.writer_at + self.ahead(zero_ahead_bytes)).min(file_bytes);
        // Filled in whole portions, so that a trickle of appends does not make a trickle of syncs.
        let end = (self.filled + PORTION_BYTES).min(file_bytes - file_bytes % DIRECT_ALIGNMENT);
        (self.filled < end && end <= wanted).then_some(self.filled..end)
    }
}

/// Where the page ends that a position lies in.
pub(crate) fn page_end(position: u64) -> u64 {
    position.next_multiple_of(DIRECT_ALIGNMENT)
}

impl Log {
    /// Fills ahead of the writer as far as the options and the free space say; if that is much, only a part, and asks for another step.
    pub(crate) fn zero_step(&self, mut spendable_bytes: u64) -> Result<(), LogFailure> {
        for _ in 0..STEP_PORTIONS {
            let (base, file, portion) = {
                let mut fill = self.fill.lock();
                let Some(portion) = fill.portion(self.options.file_bytes, self.options.zero_ahead_bytes) else { return Ok(()) };
                let bytes = portion.end - portion.start;
                if bytes > spendable_bytes {
                    return Ok(());
                }
                spendable_bytes -= bytes;
                fill.busy = Some((fill.base, portion.clone()));
                (fill.base, fill.file.clone(), portion)
            };
            let written = file.write_zeros(portion.clone());
            let mut fill = self.fill.lock();
            fill.busy = None;
            if written.is_ok() && fill.base == base {
                fill.filled = fill.filled.max(portion.end);
            }
            drop(fill);
            self.fill_signal.notify_one();
            match written {
                // Somebody else took the space. Nothing is lost by filling less.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                result => result.map_err(|error| self.fail("zero-fill", &log_path(&self.dir, base), error))?,
            }
            file.sync_data().map_err(|error| self.fail("sync", &log_path(&self.dir, base), error))?;
        }
        self.shell.want_house(&self.state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_base::{Disk, OpenMode};
    use duolog_sim::SimDisk;
    use std::path::Path;

    #[test]
    fn the_header_of_a_file_that_was_just_begun_is_not_filled_over() {
        let disk = SimDisk::new(1);
        let file = |name: &str| disk.open(Path::new(name), OpenMode::CreateNew).unwrap();
        let mut fill = Fill::new(0, file("first"), 1 << 20, 1 << 20);
        fill.begin(1 << 20, file("second"), 0);
        let portion = fill.portion(16 << 20, 16 << 20).unwrap();
        assert_eq!(portion.start, page_end(FILE_HEADER_BYTES as u64));
        assert!(!fill.pass(1 << 20, 100 + portion.end, 16 << 20, 0), "what the writer passes needs no zeros");
    }
}
