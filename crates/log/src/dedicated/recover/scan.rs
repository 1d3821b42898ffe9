//! Scanning segments batch by batch: what they imply, where they end, and whether that is an end or damage.

use super::Recovery;
use super::directory::Known;
use crate::dedicated::SegmentPolicy;
use crate::dedicated::cursor::{Batches, Found};
use crate::dedicated::growing::Growing;
use crate::dedicated::names::SegmentFile;
use crate::dedicated::partition::encode_producers;
use crate::dedicated::segments::remove_segment;
use crate::partition::{EpochStart, Partition};
use duolog_base::{DiskFile, Offset, OpenMode};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What is known before the first segment that is scanned.
pub(super) struct Start {
    /// Where the first segment begins and from which on none is missing; `None` if they may have gaps between them.
    pub anchor: Option<i64>,
    /// Batches within a segment may begin behind gaps.
    pub gaps: bool,
    /// Everything before this offset was durable once.
    pub durable_end: i64,
    pub epochs: Vec<EpochStart>,
    pub leader_epoch: i32,
    pub known: Known,
}

/// What a scan found.
pub(super) struct Scanned {
    /// Each with the snapshot of the producers at its end.
    pub segments: Vec<(Growing, Arc<Vec<u8>>)>,
    pub end: i64,
    pub epochs: Vec<EpochStart>,
    pub leader_epoch: i32,
    pub known: Known,
    /// Something that was durable is not there.
    pub damaged: bool,
}

/// How a segment ended.
enum SegmentEnd {
    /// With the file.
    Whole,
    /// Before it, at this position.
    Torn(u64),
}

impl Recovery<'_> {
    /// Reads the segments with these base offsets. A torn end is cut, with all behind it; damage is left as it is.
    pub fn scan(&mut self, dir: &Path, bases: &BTreeSet<i64>, start: Start) -> io::Result<Scanned> {
        let Start { anchor, gaps, durable_end, epochs, leader_epoch, known } = start;
        let mut epoch_log = Partition::restored(0, 0, leader_epoch);
        epochs.into_iter().for_each(|epoch| epoch_log.restore_epoch(epoch));
        let end = anchor.unwrap_or_else(|| bases.first().copied().unwrap_or(0));
        let mut scanned = Scanned { segments: Vec::new(), end, epochs: Vec::new(), leader_epoch, known, damaged: false };
        let mut behind = bases.iter().copied();
        while let Some(base) = behind.next() {
            let follows = if anchor.is_some() { base == scanned.end } else { base >= scanned.end };
            if !follows {
                scanned.damaged = scanned.end < durable_end || anchor.is_none();
                if !scanned.damaged {
                    self.cut_segments(dir, std::iter::once(base).chain(behind))?;
                }
                break;
            }
            let file = self.disk.open(&SegmentFile::Log.path(dir, base), OpenMode::Write)?;
            // What a sync has failed to write may be in the cache and nowhere else.
            file.evict()?;
            let ended = self.scan_segment(base, file.clone(), !gaps, &mut scanned, &mut epoch_log)?;
            self.unsynced = true;
            let SegmentEnd::Torn(position) = ended else { continue };
            scanned.damaged = scanned.end < durable_end;
            if !scanned.damaged {
                self.report.torn_bytes += file.length()? - position;
                file.set_len(position)?;
                self.cut_segments(dir, behind)?;
            }
            break;
        }
        scanned.damaged |= scanned.end < durable_end;
        scanned.epochs = epoch_log.epochs().to_vec();
        scanned.leader_epoch = epoch_log.leader_epoch();
        Ok(scanned)
    }

    /// Without gaps, an offset that jumps is damage: a batch's checksum does not cover it.
    fn scan_segment(
        &mut self,
        base: i64,
        file: Arc<dyn DiskFile>,
        without_gaps: bool,
        scanned: &mut Scanned,
        epochs: &mut Partition,
    ) -> io::Result<SegmentEnd> {
        let interval_bytes = SegmentPolicy::default().index_interval_bytes;
        let mut growing = Growing::new(base, self.now);
        let mut batches = Batches::new(file)?;
        let (producers, transactions) = &mut scanned.known;
        let end = loop {
            let position = batches.position;
            match batches.next(Offset(growing.end))? {
                Found::End => break SegmentEnd::Whole,
                Found::Batch(header, batch)
                    if fits(header.last_offset(), base, position) && (!without_gaps || header.base_offset.0 == growing.end) =>
                {
                    growing.take(&header, interval_bytes);
                    if header.leader_epoch.0 >= 0 {
                        epochs.begin_epoch(header.leader_epoch.0, header.base_offset.0);
                    }
                    producers.appended(&header, header.base_offset, self.now);
                    transactions.take(&header, batch).into_iter().for_each(|aborted| growing.take_aborted(aborted));
                    self.report.scanned_frames += 1;
                    self.report.scanned_bytes += batch.len() as u64;
                }
                Found::Batch(..) | Found::Damage => break SegmentEnd::Torn(position),
            }
        };
        scanned.end = growing.end;
        let snapshot = Arc::new(encode_producers(producers, transactions));
        scanned.segments.push((growing, snapshot));
        Ok(end)
    }

    /// Removes segments behind a torn end: nobody was ever told that they are durable.
    fn cut_segments(&mut self, dir: &Path, bases: impl Iterator<Item = i64>) -> io::Result<()> {
        for base in bases {
            self.report.torn_bytes += self.disk.open(&SegmentFile::Log.path(dir, base), OpenMode::Read)?.length()?;
            remove_segment(self.disk, dir, base)?;
            self.unsynced = true;
        }
        Ok(())
    }
}

/// Whether the indexes of a segment reach to a batch.
fn fits(last_offset: Offset, base: i64, position: u64) -> bool {
    i32::try_from(last_offset.0 - base).is_ok() && i32::try_from(position).is_ok()
}
