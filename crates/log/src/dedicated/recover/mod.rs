//! Opening: from directories to the state they imply.
//!
//! What a manifest lists is taken as it is. Everything behind it is scanned batch by batch, unless the log was closed: then the
//! manifest lists all of it. Where the scan meets something that is not an intact batch, it is the end of the partition, unless the
//! manifest or the recovery points say that more was durable: then it is damage, and the partition is quarantined. What was
//! scanned is synced before anything is called durable, and the mark of the orderly stop goes before anything is appended.

mod directory;
mod scan;

use super::files::read_if_there;
use super::format::checkpoints::{Offsets, decode_offsets};
use super::log::Checkpoints;
use super::names::{CLEAN, CLEANER, LOG_STARTS, MANIFEST, PartitionName, RECOVERY_POINTS, is_leftover, is_removed};
use super::partition::Dedicated;
use crate::{OpenError, RecoveryReport};
use duolog_base::{Disk, PartitionNumber, Position, TimestampMs};
use hashbrown::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// What was found.
pub(super) struct Recovered {
    pub partitions: HashMap<PartitionNumber, Dedicated>,
    pub unclaimed: HashMap<PartitionName, Dedicated>,
    pub checkpoints: Checkpoints,
    /// Partitions with segments to seal.
    pub rolled: Vec<PartitionNumber>,
    /// Directories to remove.
    pub removed: Vec<PathBuf>,
    pub report: RecoveryReport,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    root: &'a Path,
    now: TimestampMs,
    /// The log was closed.
    clean: bool,
    checkpoints: Checkpoints,
    /// Something was read, cut or written that must be durable before the log is used.
    unsynced: bool,
    report: RecoveryReport,
}

pub(super) fn recover(disk: &dyn Disk, root: &Path, now: TimestampMs) -> Result<Recovered, OpenError> {
    let failed = |error| OpenError::Io { path: root.to_owned(), error };
    // The directory's own name lies in its parent.
    let made = disk.create_dir_all(root).and_then(|()| root.parent().map_or(Ok(()), |parent| disk.sync_dir(parent)));
    made.map_err(failed)?;
    let names = disk.list(root).map_err(failed)?;
    for name in names.iter().filter(|name| is_leftover(name)) {
        disk.remove(&root.join(name)).map_err(failed)?;
    }
    let mut recovery = Recovery {
        disk,
        root,
        now,
        clean: names.iter().any(|name| name == CLEAN),
        checkpoints: Checkpoints {
            starts: read_offsets(disk, &root.join(LOG_STARTS)).map_err(failed)?,
            recovery_points: read_offsets(disk, &root.join(RECOVERY_POINTS)).map_err(failed)?,
            cleaned: read_offsets(disk, &root.join(CLEANER)).map_err(failed)?,
        },
        unsynced: false,
        report: RecoveryReport::default(),
    };
    if !recovery.clean {
        // So that what is read leaves the cache before, and comes from the medium.
        disk.sync_all(root).map_err(failed)?;
    }
    let (mut partitions, mut unclaimed) = (HashMap::new(), HashMap::new());
    for name in names.iter().filter_map(|name| PartitionName::parse(name)) {
        let found_in = name.to_string();
        if let Some((number, found)) = recovery.directory(&name)? {
            match number {
                Some(number) => {
                    if partitions.insert(number, found).is_some() {
                        return Err(OpenError::Corrupt {
                            path: root.join(found_in).join(MANIFEST),
                            position: Position(0),
                            problem: "the manifest is that of another directory, too",
                        });
                    }
                }
                None => _ = unclaimed.insert(name, found),
            }
        }
    }
    recovery.settle()?;
    let Recovery { checkpoints, mut report, clean, .. } = recovery;
    report.clean_shutdown = clean && report.scanned_frames == 0;
    let quarantined = partitions.iter().filter(|(_, known): &(_, &Dedicated)| known.quarantine.is_some());
    report.quarantined = quarantined.map(|(number, _)| *number).collect();
    report.quarantined.sort_unstable();
    let rolled = partitions.iter().filter(|(_, known)| !known.rolled.is_empty()).map(|(number, _)| *number).collect();
    let removed = names.iter().filter(|name| is_removed(name)).map(|name| root.join(name)).collect();
    Ok(Recovered { partitions, unclaimed, checkpoints, rolled, removed, report })
}

impl Recovery<'_> {
    /// Makes durable what was found.
    fn settle(&mut self) -> Result<(), OpenError> {
        let failed = |error| OpenError::Io { path: self.root.to_owned(), error };
        if self.unsynced {
            self.disk.sync_all(self.root).map_err(failed)?;
        }
        if self.clean {
            let mark = self.root.join(CLEAN);
            self.disk.remove(&mark).and_then(|()| self.disk.sync_dir(self.root)).map_err(failed)?;
        }
        Ok(())
    }
}

/// A checkpoint of the root. A damaged one counts as missing: what it says is known from the segments as well, if less well.
fn read_offsets(disk: &dyn Disk, path: &Path) -> io::Result<Offsets> {
    let Some(bytes) = read_if_there(disk, path)? else { return Ok(Offsets::new()) };
    Ok(decode_offsets(&bytes).unwrap_or_else(|| {
        tracing::error!(path = %path.display(), "a checkpoint is damaged and not used");
        Offsets::new()
    }))
}
