//! Cutting off the end of a partition in the dedicated layout, and beginning one anew.
//!
//! Done at once, with housekeeping, writer and syncer held off: segments behind the end are removed, the one in which it lies is cut
//! and is the active one from then on, whatever it was before. A crash in between leaves the old end, or a part of it from
//! its beginning on, or the new end, by this order:
//!
//! 1. the checkpoints say no more that anything behind the end was durable, or where the log began;
//! 2. the manifest lists no segment behind the end, and none that is to be cut: what is left of them is scanned;
//! 3. segments go from the newest on, then the last one is cut.

use super::cursor::{Batches, Found, damaged};
use super::files::{create, read_if_there, replace};
use super::format::checkpoints::encode_epochs;
use super::format::manifest::{Manifest, SegmentRecord};
use super::format::snapshot;
use super::growing::Growing;
use super::house::House;
use super::log::DedicatedLog;
use super::names::{CLEANER, EPOCHS, LOG_STARTS, MANIFEST, PartitionName, RECOVERY_POINTS, SegmentFile};
use super::partition::{Active, Dedicated, encode_producers, restore_producers, snapshot_mark};
use super::segments::remove_segment;
use super::transactions::Transactions;
use super::writer::Writer;
use crate::files::remove_if_there;
use crate::partition::Partition;
use crate::producer::Producers;
use crate::{LogFailure, ReadError, TruncateError};
use duolog_base::{Disk, Offset, OpenMode, PartitionNumber, Position, TimestampMs};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A partition before it is cut, all of it durable.
struct Before {
    name: Arc<PartitionName>,
    dir: PathBuf,
    next_offset: i64,
    log_start: i64,
    sealed_end: i64,
    interval_bytes: u32,
    /// The last segment that begins before the offset asked for.
    last: Option<SegmentRecord>,
    /// The producers at the beginning or the end of full segments, from which the cut one can be read.
    snapshots: Vec<(i64, Arc<Vec<u8>>)>,
    producers: Producers,
}

/// What is left of it.
struct After {
    log: Partition,
    transactions: Transactions,
    sealed_end: i64,
    gaps: bool,
    /// The segment that was cut, and is written to from now on.
    active: Option<Growing>,
    /// Segments that begin here or behind it go.
    removed_from: i64,
    /// The producers as of the end, if no segment tells them.
    snapshot: Option<Vec<u8>>,
}

/// What goes from the disk.
struct Removed {
    from: i64,
    /// Offsets whose producer snapshots stay.
    snapshots: RangeInclusive<i64>,
    /// The segment that is cut, and the bytes of it that are kept.
    cut: Option<(i64, u64)>,
}

/// What is left of the last segment, and what is known at its end. Without bytes if it is kept as it is, or not at all.
struct Kept {
    growing: Growing,
    gaps: bool,
    producers: Producers,
    transactions: Transactions,
}

impl DedicatedLog {
    /// Cuts everything at or behind `to`; a batch that holds `to` goes as a whole, and the log ends with the batch before. Durable when
    /// it returns; the position is one to wait for all the same. Nothing is done if the log ends at `to` or before. Waits for the disk.
    /// Nobody may append to the partition meanwhile.
    pub fn truncate(&self, partition: PartitionNumber, to: Offset) -> Result<Position, TruncateError> {
        self.cut(partition, || {
            let Some(before) = self.before_cut(partition, to)? else { return Ok(None) };
            let after = self.after_cut(partition, to.0, &before)?;
            Ok(Some((before, after)))
        })
    }

    /// Throws everything away that the partition holds and begins anew, empty, at `at`. What was wrong with it does not matter any
    /// more. Durable when it returns; otherwise as [`DedicatedLog::truncate`].
    pub fn restart_at(&self, partition: PartitionNumber, at: Offset) -> Result<Position, TruncateError> {
        assert!(at >= Offset(0), "offsets begin at zero");
        self.cut(partition, || {
            let state = self.state.lock();
            let known = state.partitions.get(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
            let after = After::empty(known.log.after_restart(at.0), Transactions::default());
            Ok(Some((self.before(known, i64::MIN), after)))
        })
    }

    /// Carries out what `plan` says of the partition once all of it is on disk, if there is something to do: what was there, and what is
    /// left.
    fn cut(
        &self,
        partition: PartitionNumber,
        plan: impl Fn() -> Result<Option<(Before, After)>, TruncateError>,
    ) -> Result<Position, TruncateError> {
        loop {
            self.settle_once()?;
            let mut house = self.house.lock();
            let mut writer = self.writer.lock();
            let _syncer = self.syncer.lock();
            if !self.is_settled(partition)? {
                continue;
            }
            let Some((before, after)) = plan()? else { return Ok(self.durable_position()) };
            if self.carry_out(&mut house, &mut writer, partition, &before, after)? {
                return Ok(self.durable_position());
            }
        }
    }

    /// What lies at `end` or behind it may still be cut off, and is not compacted by key. Where nothing was said, all may be.
    pub fn set_stable_end(&self, partition: PartitionNumber, end: Offset) {
        if let Some(known) = self.state.lock().partitions.get_mut(&partition) {
            known.log.set_stable_end(end.0);
        }
    }

    fn settle_once(&self) -> Result<(), TruncateError> {
        if self.state.lock().progress.is_stopped() {
            return Err(TruncateError::Stopped);
        }
        self.write_step().and_then(|_| self.sync_step()).map(|_| ()).map_err(|_| TruncateError::Stopped)
    }

    /// Whether nothing of the partition is on its way to the disk.
    fn is_settled(&self, partition: PartitionNumber) -> Result<bool, TruncateError> {
        let state = self.state.lock();
        if state.progress.is_stopped() {
            return Err(TruncateError::Stopped);
        }
        Ok(!state.dirty.concerns(partition) && state.queue.iter().all(|queued| queued.partition() != partition))
    }

    /// `None` if there is nothing to cut.
    fn before_cut(&self, partition: PartitionNumber, to: Offset) -> Result<Option<Before>, TruncateError> {
        let mut state = self.state.lock();
        let known = state.partitions.get_mut(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
        if let Some(reason) = &known.quarantine {
            return Err(TruncateError::Quarantined(reason.clone()));
        }
        let start = Offset(known.log.log_start());
        if to < start {
            return Err(TruncateError::BelowStart { asked: to, start });
        }
        if to.0 >= known.log.next_offset() {
            known.log.forget_epochs_from(to.0);
            known.touched = true;
            return Ok(None);
        }
        Ok(Some(self.before(known, to.0)))
    }

    fn before(&self, known: &Dedicated, to: i64) -> Before {
        let unsealed = known.unsealed().map(|segment| segment.growing.bounds());
        let last = known.sealed.iter().copied().chain(unsealed).rev().find(|segment| segment.base < to);
        Before {
            name: known.name.clone(),
            dir: self.directory(&known.name),
            next_offset: known.log.next_offset(),
            log_start: known.log.log_start(),
            sealed_end: known.sealed_end,
            interval_bytes: known.policy.index_interval_bytes,
            last,
            snapshots: known.rolled.iter().map(|rolled| (rolled.segment.growing.end, rolled.snapshot.clone())).collect(),
            producers: known.log.producers().clone(),
        }
    }

    /// Finds out what is left: where the last whole batch before `to` ends, and what is known there.
    fn after_cut(&self, partition: PartitionNumber, to: i64, before: &Before) -> Result<After, TruncateError> {
        let kept = match &before.last {
            Some(last) if last.end > to => self.scan_kept(last, to, before),
            last => self.keep_whole(last.as_ref().map_or(before.log_start, |last| last.end), to, before),
        };
        let Kept { growing, gaps, producers: found, transactions } = kept.map_err(cannot_be_read)?;
        let end = growing.end.max(before.log_start);
        let (mut producers, lost) = before.producers.cut(end);
        producers.take_from(found, &lost);
        let state = self.state.lock();
        let known = state.partitions.get(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
        let log = known.log.after_cut(end, producers);
        let Some(last) = before.last.filter(|_| end > before.log_start) else { return Ok(After::empty(log, transactions)) };
        let active = (growing.bytes > 0).then_some(growing);
        let snapshot = active.is_none().then(|| encode_producers(log.producers(), &transactions));
        Ok(After {
            log,
            transactions,
            sealed_end: active.as_ref().map_or(end, |active| active.base).min(before.sealed_end),
            gaps: known.gaps || gaps,
            removed_from: if active.is_some() || last.end <= to { last.base + 1 } else { last.base },
            active,
            snapshot,
        })
    }

    /// Reads the segment that is cut up to the batch that holds `to` or lies behind it.
    fn scan_kept(&self, segment: &SegmentRecord, to: i64, before: &Before) -> io::Result<Kept> {
        let (mut producers, mut transactions) = self.known_at(segment.base..=segment.base, before)?;
        let mut growing = Growing::new(segment.base, TimestampMs::NONE);
        let mut batches = Batches::new(self.disk.open(&SegmentFile::Log.path(&before.dir, segment.base), OpenMode::Read)?)?;
        let mut gaps = false;
        loop {
            let position = batches.position;
            match batches.next(Offset(growing.end))? {
                Found::Batch(header, _) if header.last_offset().0 >= to => break,
                Found::Batch(header, batch) => {
                    gaps |= header.base_offset.0 > growing.end;
                    growing.take(&header, before.interval_bytes);
                    let time = before.producers.last_append(header.producer_id).unwrap_or(header.max_timestamp);
                    producers.appended(&header, header.base_offset, time);
                    transactions.take(&header, batch).into_iter().for_each(|aborted| growing.take_aborted(aborted));
                }
                Found::End if position >= segment.bytes => break,
                Found::End | Found::Damage => return Err(damaged()),
            }
        }
        Ok(Kept { growing, gaps, producers, transactions })
    }

    /// The last segment that is left ends before `to`, at `end`.
    fn keep_whole(&self, end: i64, to: i64, before: &Before) -> io::Result<Kept> {
        let (producers, transactions) = self.known_at(end..=to, before)?;
        Ok(Kept { growing: Growing::new(end, TimestampMs::NONE), gaps: false, producers, transactions })
    }

    /// The producers and transactions at offsets between which there is no batch, where a segment begins or ends. If their snapshot is
    /// lost, nothing is known.
    fn known_at(&self, offsets: RangeInclusive<i64>, before: &Before) -> io::Result<(Producers, Transactions)> {
        let disk = self.disk.as_ref();
        let in_memory = before.snapshots.iter().find(|(end, _)| offsets.contains(end));
        let entries = match in_memory {
            Some((_, bytes)) => snapshot::decode(bytes),
            None => {
                let names = disk.list(&before.dir).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(Vec::new()),
                    _ => Err(error),
                })?;
                let found = names.iter().filter_map(|name| SegmentFile::parse(name));
                let at =
                    found.filter(|(kind, at)| *kind == SegmentFile::Snapshot && offsets.contains(at)).map(|(_, at)| at).max();
                let bytes = at.map(|at| read_if_there(disk, &SegmentFile::Snapshot.path(&before.dir, at))).transpose()?.flatten();
                bytes.and_then(|bytes| snapshot::decode(&bytes))
            }
        };
        let (mut producers, mut transactions) = <(Producers, Transactions)>::default();
        restore_producers(&entries.unwrap_or_default(), &mut producers, &mut transactions);
        Ok((producers, transactions))
    }

    /// Cuts, on disk and in memory. The caller holds off everybody who writes. False if somebody has appended meanwhile.
    fn carry_out(
        &self,
        house: &mut House,
        writer: &mut Writer,
        partition: PartitionNumber,
        before: &Before,
        after: After,
    ) -> Result<bool, TruncateError> {
        self.abandon_pass(house, partition).map_err(|_| TruncateError::Stopped)?;
        if after.removed_from == i64::MIN {
            house.cleaning.is_sound(partition);
        }
        let end = after.log.next_offset();
        let cut = after.active.as_ref().map(|active| (active.base, active.bytes));
        let snapshots = if after.removed_from == i64::MIN { end..=end } else { i64::MIN..=end };
        let removed = Removed { from: after.removed_from, snapshots, cut };
        let manifest = {
            let state = self.state.lock();
            let known = state.partitions.get(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
            if known.log.next_offset() != before.next_offset {
                return Ok(false);
            }
            known.has_directory.then(|| after.manifest(partition, known))
        };
        if let Some(manifest) = &manifest {
            self.lower_checkpoints(&before.name, after.log.log_start(), end).map_err(|_| TruncateError::Stopped)?;
            self.decide(&before.dir, manifest, after.snapshot.as_deref()).map_err(|error| self.stop(&before.dir, error))?;
        }
        writer.forget(partition);
        {
            let mut state = self.state.lock();
            let known = state.partitions.get_mut(&partition).ok_or(TruncateError::UnknownPartition(partition))?;
            assert_eq!(known.log.next_offset(), before.next_offset, "nobody appends to a partition that is being cut");
            after.publish(known, end);
        }
        let _names = self.segments.renaming();
        self.segments.forget(partition, i64::MAX);
        if manifest.is_some() {
            remove_behind(self.disk.as_ref(), &before.dir, &removed).map_err(|error| self.stop(&before.dir, error))?;
        }
        Ok(true)
    }

    /// What the checkpoints say of a partition that begins at `start` at the latest and was never durable beyond `end`.
    fn lower_checkpoints(&self, name: &PartitionName, start: i64, end: i64) -> Result<(), LogFailure> {
        let mut checkpoints = self.checkpoints.lock();
        let checkpoints = &mut *checkpoints;
        let all = [
            (&mut checkpoints.starts, LOG_STARTS, start),
            (&mut checkpoints.recovery_points, RECOVERY_POINTS, end),
            (&mut checkpoints.cleaned, CLEANER, end),
        ];
        for (offsets, file, most) in all {
            if let Some(offset) = offsets.get_mut(name).filter(|offset| **offset > most) {
                *offset = most;
                self.write_offsets(file, offsets)?;
            }
        }
        Ok(())
    }

    fn decide(&self, dir: &Path, manifest: &Manifest, producers: Option<&[u8]>) -> io::Result<()> {
        let disk = self.disk.as_ref();
        if let (Some(bytes), Some((end, _))) = (producers, manifest.snapshot) {
            create(disk, &SegmentFile::Snapshot.path(dir, end), bytes)?.sync_data()?;
        }
        replace(disk, &dir.join(EPOCHS), &encode_epochs(&manifest.epochs))?;
        replace(disk, &dir.join(MANIFEST), &manifest.encode())?;
        disk.sync_dir(dir)
    }

    fn stop(&self, dir: &Path, error: io::Error) -> TruncateError {
        self.fail("cut", dir, error);
        TruncateError::Stopped
    }
}

impl After {
    /// Nothing is left, and offsets go on where the log ends now.
    fn empty(log: Partition, transactions: Transactions) -> After {
        let snapshot = Some(encode_producers(log.producers(), &transactions));
        let sealed_end = log.next_offset();
        After { log, transactions, sealed_end, gaps: false, active: None, removed_from: i64::MIN, snapshot }
    }

    /// Where the newest producer snapshot is, and its checksum.
    fn snapshot_mark(&self, known: &Dedicated) -> Option<(i64, u32)> {
        let end = self.log.next_offset();
        match &self.snapshot {
            Some(bytes) => Some(snapshot_mark(Offset(end), bytes)),
            None => known.snapshot.filter(|(offset, _)| *offset <= end),
        }
    }

    fn keeps(&self, segment: &SegmentRecord) -> bool {
        segment.base < self.removed_from && segment.end <= self.log.next_offset()
    }

    fn manifest(&self, number: PartitionNumber, known: &Dedicated) -> Manifest {
        Manifest {
            number,
            topic_id: known.topic_id,
            quarantined: None,
            sealed_end: self.sealed_end,
            leader_epoch: self.log.leader_epoch(),
            epochs: self.log.epochs().to_vec(),
            segments: known.sealed.iter().copied().filter(|segment| self.keeps(segment)).collect(),
            active: None,
            snapshot: self.snapshot_mark(known),
            gaps: self.gaps,
            swapped: None,
        }
    }

    fn publish(self, known: &mut Dedicated, end: i64) {
        known.sealed.retain(|segment| self.keeps(segment));
        known.rolled.retain(|rolled| self.keeps(&rolled.segment.growing.bounds()));
        known.snapshot = self.snapshot_mark(known);
        known.durable_start = known.durable_start.min(end);
        (known.sealed_end, known.gaps, known.quarantine, known.touched) = (self.sealed_end, self.gaps, None, true);
        known.transactions = self.transactions;
        known.active = self.active.map(|growing| Active { written: growing.bytes, growing: Arc::new(growing), file: None });
        drop(known.log.cut_back(self.log));
    }
}

/// Removes what is not kept, from the newest on, then cuts the segment in which the end lies. Producers as of the end, or as of an offset
/// before it, are told by snapshots that stay.
fn remove_behind(disk: &dyn Disk, dir: &Path, removed: &Removed) -> io::Result<()> {
    let found = disk.list(dir)?;
    let mut bases: Vec<i64> = found.iter().filter_map(|name| SegmentFile::parse(name)).map(|(_, base)| base).collect();
    bases.sort_unstable();
    bases.dedup();
    for base in bases.into_iter().rev().filter(|base| *base >= removed.from) {
        match removed.snapshots.contains(&base) {
            true => {
                remove_derived(disk, dir, base)?;
                remove_if_there(disk, &SegmentFile::Log.path(dir, base))?;
            }
            false => remove_segment(disk, dir, base)?,
        }
    }
    if let Some((base, bytes)) = removed.cut {
        disk.sync_dir(dir)?;
        remove_derived(disk, dir, base)?;
        let file = disk.open(&SegmentFile::Log.path(dir, base), OpenMode::Write)?;
        file.set_len(bytes)?;
        file.sync_data()?;
    }
    disk.sync_dir(dir)
}

fn remove_derived(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<()> {
    let derived = [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex];
    derived.iter().try_for_each(|kind| remove_if_there(disk, &kind.path(dir, base)))
}

fn cannot_be_read(error: io::Error) -> TruncateError {
    TruncateError::Read(ReadError::Io(Arc::new(error)))
}
