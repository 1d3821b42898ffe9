//! Rebuilding the entries of a sealed index whose damage a reader has come across, from the log file they index.
//!
//! Directory and state were checked when the file was opened; only the entries are looked at late, because they are many. The
//! rebuilt index takes the place of the damaged one only if every batch that the directory counts is found intact. Otherwise
//! the log file is damaged, too, and reads of the file go on to fail.

use crate::LogFailure;
use crate::files::{queues_path, write_whole};
use crate::format::file_header::FILE_HEADER_BYTES;
use crate::format::frame::FrameKind;
use crate::format::index::{IndexBuilder, IndexKind, QueueEntry};
use crate::house::House;
use crate::log::Log;
use crate::scan::{Found, FrameFile};
use crate::sealed::{Sealed, SealedProblem};
use crate::truncate::decode_truncation;
use duolog_wire::record::BatchHeader;
use hashbrown::HashMap;
use std::io;
use std::sync::Arc;

impl Log {
    /// A reader has come across a damaged index.
    pub(crate) fn want_repair(&self) {
        self.shell.want_house(&self.state);
    }

    /// Rebuilds what readers have found damaged.
    pub(crate) fn repair_step(&self, house: &mut House) -> Result<(), LogFailure> {
        let files = self.sealed.load_full();
        for (at, file) in files.iter().enumerate().filter(|(_, file)| file.is_damaged() && !file.is_tidied()) {
            if house.beyond_repair.contains(&file.base) {
                continue;
            }
            let path = queues_path(&self.dir, file.base);
            match self.rebuild(file) {
                Ok(Some(rebuilt)) => {
                    tracing::warn!(path = %path.display(), "a damaged queue index was rebuilt");
                    let mut files = self.sealed.load().as_ref().clone();
                    files[at] = Arc::new(rebuilt);
                    self.sealed.store(Arc::new(files));
                }
                Ok(None) => {
                    tracing::error!(path = %path.display(), "a damaged queue index cannot be rebuilt: its log file is damaged, too");
                    house.beyond_repair.push(file.base);
                }
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    tracing::warn!(path = %path.display(), "no space to rebuild a queue index");
                }
                Err(error) => return Err(self.fail("rebuild", &path, error)),
            }
        }
        Ok(())
    }

    fn rebuild(&self, file: &Sealed) -> io::Result<Option<Sealed>> {
        let mut found = entries_of(file)?;
        let index = file.index();
        let mut builder = IndexBuilder::default();
        for record in index.records() {
            builder.begin(record.partition, record.end_offset);
            let run = found.remove(&record.partition).unwrap_or_default();
            let bytes: u64 = run.iter().map(|entry| u64::from(entry.batch_bytes)).sum();
            if (run.len(), bytes) != (record.entries as usize, record.bytes) {
                return Ok(None);
            }
            run.iter().for_each(|entry| builder.push(entry));
        }
        let sections = builder.finish(IndexKind::Sealed, file.generation, file.base, file.end, index.state());
        write_whole(self.disk.as_ref(), &self.dir, &queues_path(&self.dir, file.base), &sections)?;
        match Sealed::open(self.disk.as_ref(), &self.dir, file.base, Some(file.log.clone())) {
            Ok(rebuilt) => Ok(rebuilt),
            Err(SealedProblem::Io(error)) => Err(error),
            Err(SealedProblem::Index(problem)) => Err(io::Error::new(io::ErrorKind::InvalidData, problem.describe())),
        }
    }
}

/// What the intact frames of a file imply.
fn entries_of(file: &Sealed) -> io::Result<HashMap<u32, Vec<QueueEntry>>> {
    let mut found: HashMap<u32, Vec<QueueEntry>> = HashMap::new();
    let mut frames = FrameFile::new(file.log.clone(), file.base, Some(file.end))?;
    let mut position = file.base + FILE_HEADER_BYTES as u64;
    while position < file.end {
        position = match frames.frame_at(position, 0)? {
            Found::Frame(header) => {
                let run = found.entry(header.partition).or_default();
                match header.kind {
                    FrameKind::Batch => {
                        if let Ok(batch) = BatchHeader::parse(frames.payload(&header)?) {
                            run.push(QueueEntry::of_frame(&header, batch.max_timestamp.0));
                        }
                    }
                    FrameKind::Truncation => {
                        let after = decode_truncation(&header, frames.payload(&header)?);
                        let end = after.map_or(0, |after| after.kept_end());
                        run.retain(|entry| entry.last_offset() < end);
                    }
                    FrameKind::LogStart | FrameKind::Drop | FrameKind::GenerationStart => {}
                }
                header.end()
            }
            Found::DamagedBody(header) => header.end(),
            Found::Nothing | Found::Unknown { .. } => match frames.search(position + 1, file.end, 0)? {
                Some(header) => header.position,
                None => break,
            },
        };
    }
    Ok(found)
}
