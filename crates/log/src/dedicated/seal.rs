//! Sealing: writes the indexes of full segments and the manifest that names them, for the housekeeping and for an orderly stop.
//!
//! The manifest comes last: what it lists is on disk for good and has a checksum in it. Everything else may be torn by a crash
//! before, and is then built again.

use super::files::{create, replace};
use super::format::checkpoints::{CLEAN_MARK, Offsets, encode_epochs, encode_offsets};
use super::format::manifest::Manifest;
use super::growing::Growing;
use super::house::House;
use super::log::DedicatedLog;
use super::names::{CLEAN, EPOCHS, LOG_STARTS, MANIFEST, PartitionName, RECOVERY_POINTS, SegmentFile};
use super::partition::{Dedicated, snapshot_mark};
use super::{PartitionHome, log::State};
use crate::LogFailure;
use crate::files::remove_if_there;
use duolog_base::{DiskFile, Offset, OpenMode, PartitionNumber, TopicId};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Partitions of an orderly stop above which their files are synced together.
const FEW_PARTITIONS: usize = 2;

/// What is to be written for a partition.
struct Job {
    number: PartitionNumber,
    name: Arc<PartitionName>,
    segments: Vec<Arc<Growing>>,
    /// Producers as of these offsets.
    snapshots: Vec<(i64, Arc<Vec<u8>>)>,
    manifest: Manifest,
    /// A snapshot that nothing refers to any more.
    superseded: Option<i64>,
}

impl DedicatedLog {
    /// Seals all full segments that are durable.
    pub(super) fn seal_rolled(&self, _house: &mut House) -> Result<(), LogFailure> {
        let mut numbers = std::mem::take(&mut self.state.lock().rolled);
        numbers.sort_unstable();
        numbers.dedup();
        let mut left = Vec::new();
        for number in numbers {
            let job = self.seal_job(number);
            if let Some(job) = job {
                match self.write_job(&job) {
                    // Nothing depends on the indexes being there soon: they stay in memory until there is room for them.
                    Err((_, error)) if error.kind() == io::ErrorKind::StorageFull => {
                        tracing::warn!(partition = %number, "no space to seal a segment");
                        left.push(number);
                        continue;
                    }
                    Err((path, error)) => return Err(self.fail("seal", &path, error)),
                    Ok(()) => self.publish_sealed(&job)?,
                }
            }
            if self.state.lock().partitions.get(&number).is_some_and(|known| !known.rolled.is_empty()) {
                left.push(number);
            }
        }
        self.state.lock().rolled.append(&mut left);
        Ok(())
    }

    /// What sealing the durable segments of a partition writes; `None` if there are none.
    fn seal_job(&self, number: PartitionNumber) -> Option<Job> {
        let state = self.state.lock();
        let known = state.partitions.get(&number)?;
        let count = known.rolled.iter().take_while(|rolled| rolled.end_position <= state.progress.durable).count();
        job_of(number, known, count)
    }

    /// Writes the files of a job, each durable before the manifest is.
    fn write_job(&self, job: &Job) -> Result<(), (PathBuf, io::Error)> {
        let dir = self.directory(&job.name);
        let failed = |error| (dir.clone(), error);
        for file in self.write_derived(&dir, job).map_err(failed)? {
            file.sync_data().map_err(failed)?;
        }
        replace(self.disk.as_ref(), &dir.join(EPOCHS), &encode_epochs(&job.manifest.epochs)).map_err(failed)?;
        replace(self.disk.as_ref(), &dir.join(MANIFEST), &job.manifest.encode()).map_err(failed)?;
        self.disk.sync_dir(&dir).map_err(failed)
    }

    /// Writes indexes and snapshots without making them durable.
    fn write_derived(&self, dir: &Path, job: &Job) -> io::Result<Vec<Arc<dyn DiskFile>>> {
        let disk = self.disk.as_ref();
        let mut files = Vec::new();
        for segment in &job.segments {
            files.push(create(disk, &SegmentFile::OffsetIndex.path(dir, segment.base), &segment.offsets)?);
            files.push(create(disk, &SegmentFile::TimeIndex.path(dir, segment.base), &segment.times)?);
            let aborted = SegmentFile::TransactionIndex.path(dir, segment.base);
            match segment.aborted.is_empty() {
                true => remove_if_there(disk, &aborted)?,
                false => files.push(create(disk, &aborted, &segment.aborted)?),
            }
        }
        for (offset, bytes) in &job.snapshots {
            files.push(create(disk, &SegmentFile::Snapshot.path(dir, *offset), bytes)?);
        }
        Ok(files)
    }

    fn publish_sealed(&self, job: &Job) -> Result<(), LogFailure> {
        self.counters.seals.add(job.segments.len() as u64);
        {
            let mut state = self.state.lock();
            let Some(known) = state.partitions.get_mut(&job.number) else { return Ok(()) };
            for segment in &job.segments {
                known.rolled.pop_front();
                known.sealed.push(segment.record());
            }
            known.sealed_end = job.manifest.sealed_end;
            known.snapshot = job.manifest.snapshot;
        }
        self.remove_superseded(job)
    }

    fn remove_superseded(&self, job: &Job) -> Result<(), LogFailure> {
        let Some(offset) = job.superseded else { return Ok(()) };
        let path = SegmentFile::Snapshot.path(&self.directory(&job.name), offset);
        remove_if_there(self.disk.as_ref(), &path).map_err(|error| self.fail("remove", &path, error))
    }

    /// Makes a directory that does not say whose it is the partition's. If it was another topic's, it is set aside.
    pub(super) fn claim(&self, number: PartitionNumber, home: &PartitionHome) -> Result<(), LogFailure> {
        let _house = self.house.lock();
        let Some(mut found) = self.state.lock().unclaimed.remove(&home.name) else { return Ok(()) };
        let dir = self.directory(&home.name);
        if found.topic_id != TopicId::NONE && found.topic_id != home.topic_id {
            let aside = self.dir.join(home.name.stray(Some(number)));
            tracing::error!(dir = %dir.display(), aside = %aside.display(), "a directory of another topic is set aside");
            let renamed = self.disk.rename(&dir, &aside).and_then(|()| self.disk.sync_dir(&self.dir));
            return renamed.map_err(|error| self.fail("rename", &dir, error));
        }
        (found.topic_id, found.policy, found.touched) = (home.topic_id, home.policy, true);
        let job = claiming_job(number, &mut found);
        self.write_job(&job).map_err(|(path, error)| self.fail("claim", &path, error))?;
        self.state.lock().partitions.insert(number, found);
        self.publish_sealed(&job)
    }

    /// Writes down all that the next opening needs, and then that it is all there.
    pub(super) fn write_closed(&self) -> Result<(), LogFailure> {
        let mut house = self.house.lock();
        self.stop_cleaning(&mut house)?;
        let jobs: Vec<Job> = {
            let mut state = self.state.lock();
            assert_eq!(state.progress.durable, state.next, "an orderly stop is written down when everything is durable");
            let State { partitions, .. } = &mut *state;
            partitions.iter_mut().filter_map(|(number, known)| closing_job(*number, known)).collect()
        };
        self.write_closing_jobs(&jobs).map_err(|(path, error)| self.fail("close", &path, error))?;
        jobs.iter().try_for_each(|job| self.remove_superseded(job))?;
        self.write_recovery_points()?;
        let mark = self.dir.join(CLEAN);
        let marked = replace(self.disk.as_ref(), &mark, CLEAN_MARK.as_bytes()).and_then(|()| self.disk.sync_dir(&self.dir));
        marked.map_err(|error| self.fail("close", &mark, error))
    }

    fn write_closing_jobs(&self, jobs: &[Job]) -> Result<(), (PathBuf, io::Error)> {
        if jobs.len() <= FEW_PARTITIONS {
            return jobs.iter().try_for_each(|job| self.write_job(job));
        }
        let disk = self.disk.as_ref();
        let unfinished = |dir: &Path| dir.join(format!("{MANIFEST}.tmp"));
        for job in jobs {
            let dir = self.directory(&job.name);
            let written = self.write_derived(&dir, job).and_then(|_| {
                create(disk, &dir.join(EPOCHS), &encode_epochs(&job.manifest.epochs))?;
                create(disk, &unfinished(&dir), &job.manifest.encode())
            });
            written.map_err(|error| (dir.clone(), error))?;
        }
        disk.sync_all(&self.dir).map_err(|error| (self.dir.clone(), error))?;
        for job in jobs {
            let dir = self.directory(&job.name);
            disk.rename(&unfinished(&dir), &dir.join(MANIFEST)).map_err(|error| (dir, error))?;
        }
        disk.sync_all(&self.dir).map_err(|error| (self.dir.clone(), error))
    }

    /// Writes down up to which offset each partition is durable.
    pub(super) fn write_recovery_points(&self) -> Result<(), LogFailure> {
        let mut checkpoints = self.checkpoints.lock();
        {
            let state = self.state.lock();
            let served = state.partitions.values().filter(|known| known.has_directory && known.quarantine.is_none());
            for known in served {
                let end = DedicatedLog::durable_end(&state, known);
                checkpoints.recovery_points.insert(known.name.as_ref().clone(), end.0);
            }
        }
        self.write_offsets(RECOVERY_POINTS, &checkpoints.recovery_points)?;
        match self.disk.open(&self.dir.join(LOG_STARTS), OpenMode::Read) {
            Ok(_) => Ok(()),
            Err(_) => self.write_offsets(LOG_STARTS, &checkpoints.starts),
        }
    }

    /// Replaces a checkpoint in the root, durably.
    pub(super) fn write_offsets(&self, file: &str, offsets: &Offsets) -> Result<(), LogFailure> {
        let path = self.dir.join(file);
        let written = replace(self.disk.as_ref(), &path, &encode_offsets(offsets)).and_then(|()| self.disk.sync_dir(&self.dir));
        written.map_err(|error| self.fail("checkpoint", &path, error))
    }
}

/// Seals the first `count` full segments.
fn job_of(number: PartitionNumber, known: &Dedicated, count: usize) -> Option<Job> {
    let last = known.rolled.get(count.checked_sub(1)?)?;
    let segments: Vec<Arc<Growing>> = known.rolled.iter().take(count).map(|rolled| rolled.segment.growing.clone()).collect();
    let mut manifest = known.manifest(number, false);
    manifest.segments.extend(segments.iter().map(|segment| segment.record()));
    manifest.sealed_end = last.segment.growing.end;
    manifest.snapshot = Some(snapshot_mark(Offset(manifest.sealed_end), &last.snapshot));
    let snapshots = known.rolled.iter().take(count).map(|rolled| (rolled.segment.growing.end, rolled.snapshot.clone())).collect();
    Some(Job { number, name: known.name.clone(), segments, snapshots, superseded: superseded(known, &manifest), manifest })
}

/// Seals all that was found, the newest segment as well: what is sealed is never held to following on without gaps, and none of it
/// can be taken for a torn tail.
fn claiming_job(number: PartitionNumber, known: &mut Dedicated) -> Job {
    if known.active.as_ref().is_some_and(|active| active.growing.bytes > 0) {
        known.roll(0);
    }
    let end = known.log.next_offset();
    let newest = Arc::new(known.encode_producers());
    let segments: Vec<Arc<Growing>> = known.rolled.iter().map(|rolled| rolled.segment.growing.clone()).collect();
    let mut manifest = known.manifest(number, false);
    manifest.segments.extend(segments.iter().map(|segment| segment.record()));
    // An empty segment that is left begins here, whatever is missing before it.
    manifest.sealed_end = end;
    manifest.snapshot = Some(snapshot_mark(Offset(end), &newest));
    let older = known.rolled.iter().map(|rolled| (rolled.segment.growing.end, rolled.snapshot.clone()));
    let snapshots = older.filter(|(offset, _)| *offset != end).chain([(end, newest.clone())]).collect();
    Job { number, name: known.name.clone(), segments, snapshots, manifest, superseded: None }
}

/// What an orderly stop writes for a partition; `None` if it is on disk already.
fn closing_job(number: PartitionNumber, known: &mut Dedicated) -> Option<Job> {
    if !known.touched || !known.has_directory || known.quarantine.is_some() || !known.rolled.is_empty() {
        return None;
    }
    let mut segments = Vec::new();
    if let Some(active) = &mut known.active {
        Arc::make_mut(&mut active.growing).finish();
        segments.push(active.growing.clone());
    }
    let snapshot = Arc::new(known.encode_producers());
    let mut manifest = known.manifest(number, true);
    let end = known.log.next_offset();
    manifest.snapshot = Some(snapshot_mark(Offset(end), &snapshot));
    let superseded = superseded(known, &manifest);
    Some(Job { number, name: known.name.clone(), segments, snapshots: vec![(end, snapshot)], manifest, superseded })
}

/// The snapshot on disk, if it is neither the new one nor that of a segment's beginning.
fn superseded(known: &Dedicated, manifest: &Manifest) -> Option<i64> {
    let (offset, _) = known.snapshot?;
    let begins = known.unsealed().any(|segment| segment.growing.base == offset)
        || known.sealed.iter().any(|segment| segment.base == offset)
        || manifest.snapshot.is_some_and(|(newer, _)| newer == offset);
    (!begins).then_some(offset)
}
