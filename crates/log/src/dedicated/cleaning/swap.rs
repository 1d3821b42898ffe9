//! Putting a new segment in the place of those it was made of, by Kafka's names: `.cleaned` until it is complete, `.swap` until
//! it has the place, `.deleted` what had it before.
//!
//! The manifest decides: once it lists the new segment, a start finishes the renames; before, it removes the new files. Readers that
//! open a segment wait for the renames, so that they see the files of one segment; those who have it open keep what they have.

use super::{Cleaning, Problem};
use crate::LogFailure;
use crate::dedicated::files::replace;
use crate::dedicated::format::manifest::{Manifest, SegmentRecord};
use crate::dedicated::log::{DedicatedLog, State};
use crate::dedicated::names::{MANIFEST, SegmentFile};
use crate::files::remove_if_there;
use duolog_base::{Disk, PartitionNumber};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub const CLEANED: &str = ".cleaned";
pub const SWAP: &str = ".swap";
const DELETED: &str = ".deleted";

/// Files of a segment that are written anew. The log comes last: with it a replacement is complete.
pub const REPLACED: [SegmentFile; 4] =
    [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex, SegmentFile::Log];

pub fn suffixed(path: PathBuf, suffix: &str) -> PathBuf {
    let mut path = path.into_os_string();
    path.push(suffix);
    PathBuf::from(path)
}

impl DedicatedLog {
    /// Puts a complete segment in the place of `sources`, or leaves everything as it was.
    pub(super) fn replace_segments(
        &self,
        cleaning: &mut Cleaning,
        number: PartitionNumber,
        dir: &Path,
        sources: &[SegmentRecord],
        record: SegmentRecord,
    ) -> Result<(), Problem> {
        let disk = self.disk.as_ref();
        rename_all(disk, dir, record.base, CLEANED, SWAP)?;
        disk.sync_dir(dir)?;
        let manifest = {
            let state = self.state.lock();
            let range = place(&state, number, sources).ok_or(Problem::Gone);
            range.map(|range| new_manifest(&state, number, range, record))
        };
        let told = manifest.and_then(|manifest| Ok(replace(disk, &dir.join(MANIFEST), &manifest.encode())?));
        if let Err(problem) = told {
            REPLACED.iter().try_for_each(|kind| remove_if_there(disk, &suffixed(kind.path(dir, record.base), SWAP)))?;
            return Err(problem);
        }
        disk.sync_dir(dir).map_err(decided)?;
        // From here on it is decided: what goes wrong stops the log, unless the partition is gone.
        cleaning.unsettled = Some(number);
        {
            let _names = self.segments.renaming();
            for source in sources {
                set_aside(disk, dir, source.base, source.base != record.base).map_err(decided)?;
            }
            rename_all(disk, dir, record.base, SWAP, "").map_err(decided)?;
            self.publish_replaced(number, sources, record);
        }
        disk.sync_dir(dir).map_err(decided)?;
        self.counters.files_tidied.add(sources.len() as u64);
        self.counters.tidied_bytes.add(record.bytes);
        sources.iter().try_for_each(|source| remove_set_aside(disk, dir, source.base)).map_err(decided)
    }

    fn publish_replaced(&self, number: PartitionNumber, sources: &[SegmentRecord], record: SegmentRecord) {
        {
            let mut state = self.state.lock();
            if let Some(range) = place(&state, number, sources)
                && let Some(known) = state.partitions.get_mut(&number)
            {
                known.sealed.splice(range, [record]);
                known.touched = true;
            }
        }
        self.segments.forget(number, sources.last().map_or(record.base, |last| last.base + 1));
    }

    /// Lets the manifest of a partition forget a replacement that is complete: the next one of the segment must not be taken for
    /// it. False if there is no room even for that.
    pub(super) fn settle(&self, cleaning: &mut Cleaning) -> Result<bool, LogFailure> {
        let Some(number) = cleaning.unsettled else { return Ok(true) };
        let found = {
            let state = self.state.lock();
            state.partitions.get(&number).map(|known| (self.directory(&known.name), known.manifest(number, false)))
        };
        if let Some((dir, manifest)) = found {
            let disk = self.disk.as_ref();
            let told = replace(disk, &dir.join(MANIFEST), &manifest.encode()).and_then(|()| disk.sync_dir(&dir));
            match told {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(false),
                // Dropped meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|error| self.fail("compact", &dir, error))?,
            }
        }
        cleaning.unsettled = None;
        Ok(true)
    }
}

/// Where the segments are listed, if all of them still are.
fn place(state: &State, number: PartitionNumber, sources: &[SegmentRecord]) -> Option<Range<usize>> {
    let sealed = &state.partitions.get(&number)?.sealed;
    let first = sealed.iter().position(|segment| segment == sources.first().unwrap_or(segment))?;
    let range = first..first + sources.len();
    (sealed.get(range.clone())? == sources).then_some(range)
}

fn new_manifest(state: &State, number: PartitionNumber, range: Range<usize>, record: SegmentRecord) -> Manifest {
    let mut manifest = state.partitions[&number].manifest(number, false);
    manifest.segments.splice(range, [record]);
    manifest.swapped = Some(record.base);
    manifest
}

/// What happens after the decision is no reason to give up only the pass.
fn decided(error: io::Error) -> Problem {
    match error.kind() {
        // The partition was dropped: its directory has another name.
        io::ErrorKind::NotFound => Problem::Gone,
        _ => Problem::Io(error),
    }
}

/// Changes the end of the names of a segment's files, of those that are there.
pub fn rename_all(disk: &dyn Disk, dir: &Path, base: i64, from: &str, to: &str) -> io::Result<()> {
    for kind in REPLACED {
        let path = kind.path(dir, base);
        match disk.rename(&suffixed(path.clone(), from), &suffixed(path, to)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && kind != SegmentFile::Log => {}
            result => result?,
        }
    }
    Ok(())
}

/// Renames the files of a segment that is given up, the producers as of its beginning with them if no segment begins there
/// any more.
fn set_aside(disk: &dyn Disk, dir: &Path, base: i64, with_snapshot: bool) -> io::Result<()> {
    let kinds = REPLACED.iter().copied().chain(with_snapshot.then_some(SegmentFile::Snapshot));
    for kind in kinds {
        let path = kind.path(dir, base);
        match disk.rename(&path, &suffixed(path.clone(), DELETED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

fn remove_set_aside(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<()> {
    SegmentFile::ALL.iter().try_for_each(|kind| remove_if_there(disk, &suffixed(kind.path(dir, base), DELETED)))
}
