//! Writing some adjacent sealed files anew as one: partition by partition, without the batches that nobody can read any more.
//!
//! Goes on from step to step as far as its budget allows. The state at the end, the directory's partitions and their ends are those of
//! the newest source, so that the new file says to a search, and to a recovery, what the sources said. Frames other than
//! batches are left out: the states of the files behind them hold what they say.

use super::output::Output;
use super::source::{SourceProblem, SourceReader};
use super::sweep::Passes;
use crate::clean::Cleaned;
use crate::cuts::Cuts;
use crate::format::checksum;
use crate::format::frame::FrameHeader;
use crate::format::index::{IndexBuilder, IndexKind, QueueEntry};
use crate::log::Log;
use crate::sealed::Sealed;
use duolog_base::PartitionNumber;
use duolog_wire::record::BatchHeader;
use std::io;
use std::sync::Arc;

/// Bytes that may still be read and written in this step.
pub(crate) struct Budget {
    pub bytes: u64,
}

impl Budget {
    pub fn is_spent(&self) -> bool {
        self.bytes == 0
    }

    pub fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Why a job is given up.
#[derive(Debug)]
pub(crate) enum JobProblem {
    Io(io::Error),
    /// The file at this base does not hold what its index says, or its index is damaged.
    Damaged {
        base: u64,
        batch_of: Option<PartitionNumber>,
    },
}

impl From<io::Error> for JobProblem {
    fn from(error: io::Error) -> Self {
        JobProblem::Io(error)
    }
}

pub(crate) struct Job {
    pub sources: Vec<Arc<Sealed>>,
    pub base: u64,
    pub end: u64,
    /// The partitions of the new file with their ends.
    partitions: Vec<(u32, i64)>,
    /// How many of them are done.
    done: usize,
    /// Offset to go on with in the one after; `None` before it is begun.
    cursor: Option<i64>,
    /// The truncations of that one when it was begun.
    cuts: Cuts,
    reader: SourceReader,
    output: Output,
    builder: IndexBuilder,
    /// What made batches dead lies before this position: it must be durable before they go.
    pub killed_before: u64,
}

impl Job {
    pub fn begin(log: &Log, sources: Vec<Arc<Sealed>>) -> io::Result<Job> {
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else { unreachable!("a job has sources") };
        let (base, end) = (first.base, last.end);
        let output = Output::create(log.disk.as_ref(), &log.dir, base, last.generation)?;
        let partitions = last.index().records().map(|record| (record.partition, record.end_offset)).collect();
        Ok(Job {
            base,
            end,
            partitions,
            done: 0,
            cursor: None,
            cuts: Cuts::default(),
            reader: SourceReader::default(),
            output,
            builder: IndexBuilder::default(),
            killed_before: 0,
            sources,
        })
    }

    /// Copies as much as the budget allows; true when all is copied.
    pub fn copy(&mut self, log: &Log, passes: &Passes, budget: &mut Budget) -> Result<bool, JobProblem> {
        while let Some((partition, end_offset)) = self.partitions.get(self.done).copied() {
            if budget.is_spent() {
                self.output.sync()?;
                return Ok(false);
            }
            let cursor = match self.cursor {
                Some(cursor) => Some(cursor),
                None => {
                    self.builder.begin(partition, end_offset);
                    self.first_live(log, partition)
                }
            };
            if let Some(cursor) = cursor
                && !self.copy_partition(partition, cursor, passes, budget)?
            {
                continue;
            }
            self.done += 1;
            self.cursor = None;
        }
        Ok(true)
    }

    /// The log start of a partition, whose truncations are noted; `None` if it is dropped.
    fn first_live(&mut self, log: &Log, partition: u32) -> Option<i64> {
        let state = log.state.lock();
        self.killed_before = state.next;
        let known = state.partitions.get(&PartitionNumber(partition))?;
        self.cuts = known.cuts().clone();
        Some(known.log_start())
    }

    /// Copies batches from `cursor` on; false if the budget was spent before the last.
    fn copy_partition(
        &mut self,
        partition: u32,
        mut cursor: i64,
        passes: &Passes,
        budget: &mut Budget,
    ) -> Result<bool, JobProblem> {
        let cuts = self.cuts.clone();
        let mut cleaner = passes.cleaner(partition, &cuts);
        for source in self.sources.clone() {
            let Some(record) = source.live_run(partition, &cuts) else { continue };
            for entry in source.run_entries(&record, cursor).map_err(|_| damaged_index(&source))? {
                if budget.is_spent() {
                    self.cursor = Some(cursor);
                    return Ok(false);
                }
                let read_before = self.reader.read_bytes;
                let (header, batch) = self.reader.frame(&source, partition, &entry).map_err(|problem| match problem {
                    SourceProblem::Io(error) => JobProblem::Io(error),
                    SourceProblem::Damaged => {
                        JobProblem::Damaged { base: source.base, batch_of: Some(PartitionNumber(partition)) }
                    }
                })?;
                let cleaned = cleaner.as_mut().map_or(Cleaned::Keep, |cleaner| cleaner.decide(batch));
                let written_before = self.output.bytes();
                match cleaned {
                    Cleaned::Keep => put(&mut self.output, &mut self.builder, &header, batch, entry.max_timestamp)?,
                    Cleaned::Drop => {}
                    Cleaned::Replace(batch) => {
                        let max_timestamp = BatchHeader::parse(&batch).expect("the cleaner makes batches").max_timestamp.0;
                        put(&mut self.output, &mut self.builder, &header, &batch, max_timestamp)?;
                    }
                }
                budget.spend(self.reader.read_bytes - read_before + self.output.bytes() - written_before);
                cursor = entry.last_offset() + 1;
            }
        }
        Ok(true)
    }

    /// Completes the new file under its name. Everything before [`Job::killed_before`] is durable.
    pub fn publish(self, log: &Log) -> io::Result<Published> {
        let last = self.sources.last().expect("a job has sources");
        let sections = self.builder.finish(IndexKind::Tidied, last.generation, self.base, self.end, last.index().state());
        let bytes = self.output.bytes();
        self.output.publish(log.disk.as_ref(), &log.dir, &sections)?;
        Ok(Published { sources: self.sources, bytes })
    }

    pub fn abandon(self, log: &Log) -> io::Result<()> {
        self.output.abandon(log.disk.as_ref())
    }
}

fn damaged_index(source: &Sealed) -> JobProblem {
    JobProblem::Damaged { base: source.base, batch_of: None }
}

/// What the new file takes the place of, and the bytes of its frames.
pub(crate) struct Published {
    pub sources: Vec<Arc<Sealed>>,
    pub bytes: u64,
}

fn put(
    output: &mut Output,
    builder: &mut IndexBuilder,
    header: &FrameHeader,
    batch: &[u8],
    max_timestamp: i64,
) -> io::Result<()> {
    let position = output.position();
    let frame =
        FrameHeader { position, durable: position, payload_bytes: batch.len() as u32, body_crc: checksum(batch), ..*header };
    builder.push(&QueueEntry::of_frame(&frame, max_timestamp));
    output.push(&frame, batch)
}
