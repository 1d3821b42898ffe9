//! What an interrupted replacement of segments left in a directory: finished if it was decided, undone otherwise.

use super::swap::{CLEANED, REPLACED, SWAP, suffixed};
use crate::dedicated::cursor::{Batches, Found};
use crate::dedicated::files::replace;
use crate::dedicated::format::manifest::Manifest;
use crate::dedicated::names::{MANIFEST, SegmentFile};
use crate::dedicated::segments::remove_segment;
use crate::files::remove_if_there;
use duolog_base::{Disk, Offset, OpenMode};
use std::io;
use std::path::Path;

/// Settles a directory before its segments are looked at; whether something was changed. Without a manifest the names decide, as
/// for Kafka.
pub fn settle_directory(disk: &dyn Disk, dir: &Path, manifest: Option<&mut Manifest>) -> io::Result<bool> {
    let names = disk.list(dir)?;
    let swaps = || names.iter().filter_map(|name| SegmentFile::parse(name.strip_suffix(SWAP)?));
    let Some(manifest) = manifest else {
        let logs: Vec<i64> = swaps().filter(|(kind, _)| *kind == SegmentFile::Log).map(|(_, base)| base).collect();
        let unfinished = names.iter().filter_map(|name| SegmentFile::parse(name.strip_suffix(CLEANED)?));
        // Another segment of the same replacement is not complete: none of them takes its place.
        let undecided = unfinished.map(|(_, base)| base).min().unwrap_or(i64::MAX);
        for (kind, base) in swaps().filter(|(_, base)| *base >= undecided || !logs.contains(base)) {
            disk.remove(&suffixed(kind.path(dir, base), SWAP))?;
        }
        for base in logs.iter().copied().filter(|base| *base < undecided) {
            finish_by_name(disk, dir, base)?;
        }
        return Ok(swaps().next().is_some());
    };
    let swapped = manifest.swapped.take();
    for (kind, base) in swaps().filter(|(_, base)| Some(*base) != swapped) {
        disk.remove(&suffixed(kind.path(dir, base), SWAP))?;
    }
    let Some(base) = swapped else { return Ok(swaps().next().is_some()) };
    tracing::info!(dir = %dir.display(), base, "a compacted segment takes its place");
    finish(disk, dir, base)?;
    let listed = manifest.segments.iter().find(|segment| segment.base == base);
    if listed.is_some_and(|segment| segment.transaction_crc.is_none()) {
        remove_if_there(disk, &SegmentFile::TransactionIndex.path(dir, base))?;
    }
    disk.sync_dir(dir)?;
    replace(disk, &dir.join(MANIFEST), &manifest.encode())?;
    Ok(true)
}

/// Gives the files their names, those that do not have them yet.
fn finish(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<()> {
    for kind in REPLACED {
        let path = kind.path(dir, base);
        match disk.rename(&suffixed(path.clone(), SWAP), &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// Puts a segment in the place of all that begin within its offsets. One that is not intact is left alone: it tells nothing.
fn finish_by_name(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<()> {
    let path = suffixed(SegmentFile::Log.path(dir, base), SWAP);
    let mut batches = Batches::new(disk.open(&path, OpenMode::Read)?)?;
    let mut end = base;
    loop {
        match batches.next(Offset(end))? {
            Found::Batch(header, _) => end = header.next_offset().0,
            Found::End => break,
            Found::Damage => {
                tracing::error!(path = %path.display(), "a compacted segment is damaged and does not take its place");
                return Ok(());
            }
        }
    }
    let names = disk.list(dir)?;
    let logs = names.iter().filter_map(|name| SegmentFile::parse(name)).filter(|(kind, _)| *kind == SegmentFile::Log);
    for (_, replaced) in logs.filter(|(_, other)| (base + 1..end).contains(other)) {
        remove_segment(disk, dir, replaced)?;
    }
    finish(disk, dir, base)
}
