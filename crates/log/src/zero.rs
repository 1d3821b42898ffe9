//! Zero-filling ahead of the writer, so that a sync writes data and no file-system metadata.
//!
//! Done in small portions by the housekeeping. The writer never waits for more than one of them: it marks how far it will write
//! before it writes, and a portion is written under the same lock.

use crate::LogFailure;
use crate::files::log_path;
use crate::format::file_header::FILE_HEADER_BYTES;
use crate::log::Log;
use duolog_base::DiskFile;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// One portion. Synced before the next, so that a sync of the log finds little of it to write.
const PORTION_BYTES: u64 = 256 << 10;
/// How far ahead of the writer a log is filled that has taken little so far; it doubles from there.
const FIRST_AHEAD_BYTES: u64 = 4 << 20;

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
}

impl Fill {
    pub fn new(base: u64, file: Arc<dyn DiskFile>, present_bytes: u64, writer_at: u64) -> Fill {
        Fill { base, file, filled: present_bytes.max(writer_at), written: 0, writer_at }
    }

    /// The writer turns to the next file.
    pub fn begin(&mut self, base: u64, file: Arc<dyn DiskFile>, present_bytes: u64) {
        self.base = base;
        self.file = file;
        // The header is there already, whatever the file's length was before.
        self.filled = present_bytes.max(FILE_HEADER_BYTES as u64);
        self.writer_at = FILE_HEADER_BYTES as u64;
    }

    /// The writer is about to write up to `end` (counted in the file). Answers whether the zeros run low.
    pub fn pass(&mut self, base: u64, end: u64, file_bytes: u64, zero_ahead_bytes: u64) -> bool {
        debug_assert_eq!(self.base, base, "the writer says when it turns to another file");
        self.written += end.saturating_sub(self.writer_at);
        self.writer_at = end;
        self.filled = self.filled.max(end);
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
    fn portion(&self, file_bytes: u64, zero_ahead_bytes: u64) -> Option<std::ops::Range<u64>> {
        let wanted = (self.writer_at + self.ahead(zero_ahead_bytes)).min(file_bytes);
        // Filled in whole portions, so that a trickle of appends does not make a trickle of syncs.
        let end = (self.filled + PORTION_BYTES).min(file_bytes);
        (self.filled < end && end <= wanted).then_some(self.filled..end)
    }
}

impl Log {
    /// Fills ahead of the writer as far as the options and the free space say.
    pub(crate) fn zero_step(&self, mut spendable_bytes: u64) -> Result<(), LogFailure> {
        let zeros = vec![0; PORTION_BYTES as usize];
        loop {
            let (base, file) = {
                let mut fill = self.fill.lock();
                let Some(portion) = fill.portion(self.options.file_bytes, self.options.zero_ahead_bytes) else { return Ok(()) };
                let bytes = portion.end - portion.start;
                if bytes > spendable_bytes {
                    return Ok(());
                }
                spendable_bytes -= bytes;
                let slice = IoSlice::new(&zeros[..bytes as usize]);
                match fill.file.write_at(&[slice], portion.start) {
                    // Somebody else took the space. Nothing is lost by filling less.
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                    result => result.map_err(|error| self.fail("zero-fill", &log_path(&self.dir, fill.base), error))?,
                }
                fill.filled = portion.end;
                (fill.base, fill.file.clone())
            };
            file.sync_data().map_err(|error| self.fail("sync", &log_path(&self.dir, base), error))?;
        }
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
        let portion = fill.portion(8 << 20, 8 << 20).unwrap();
        assert_eq!(portion.start, FILE_HEADER_BYTES as u64);
        assert!(!fill.pass(1 << 20, 100 + portion.end, 8 << 20, 0), "what the writer passes needs no zeros");
    }
}
