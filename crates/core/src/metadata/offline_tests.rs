//! Every region of every metadata file x flip, zero, truncate, swap, stale copy: found without a start, and the file is named.

use super::raft::LogLimits;
use super::*;
use crate::config::BrokerConfig;
use duolog_base::{NodeId, SystemClock};
use duolog_sim::SimDisk;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So small that there are a snapshot and several segments behind it.
const LIMITS: LogLimits = LogLimits { segment_bytes: 1_500, snapshot_after_bytes: 6_000 };
/// Changes after the second snapshot.
const AFTERWARDS: usize = 5;
const HEADER_BYTES: usize = 16;
const FRAME_HEADER_BYTES: usize = 8;

type Files = BTreeMap<PathBuf, Vec<u8>>;

struct Deaf;

impl ImageListener for Deaf {
    fn image_changed(&self, _old: &MetadataImage, _new: &MetadataImage) {}
}

fn dir() -> PathBuf {
    PathBuf::from("/data/meta")
}

async fn open(disk: &SimDisk) -> Result<Arc<Metadata>, MetadataOpenError> {
    let options = MetadataOptions {
        dir: dir(),
        directories: Vec::new(),
        node: NodeId(1),
        disk: Arc::new(disk.clone()),
        static_config: Arc::new(BrokerConfig::default()),
        listener: Arc::new(Deaf),
        clock: Arc::new(SystemClock::default()),
    };
    Metadata::open_with_limits(options, Arc::new(RandomIds), LIMITS).await
}

fn files(disk: &SimDisk) -> Files {
    disk.contents().into_iter().filter(|(path, _)| !path.to_string_lossy().ends_with(".unfinished")).collect()
}

/// The files as they were when there was a snapshot, and as they are one snapshot later.
async fn history() -> (Files, Files) {
    let disk = SimDisk::new(1);
    let metadata = open(&disk).await.unwrap();
    let mut older = Files::new();
    for round in 0.. {
        metadata.ensure_topic(&format!("topic-{round}")).await.unwrap();
        let now = files(&disk);
        let snapshot = |files: &Files| files.keys().find(|path| is_snapshot(path)).cloned();
        if older.is_empty() && snapshot(&now).is_some() && now.len() > 2 {
            older = now;
        } else if !older.is_empty() && snapshot(&now) != snapshot(&older) && now.len() > 3 {
            // What the snapshot covers is purged from the journal by and by.
            for more in 0..AFTERWARDS {
                metadata.ensure_topic(&format!("topic-{round}-{more}")).await.unwrap();
            }
            break;
        }
        assert!(round < 500, "the snapshots that were hoped for");
    }
    metadata.close().await;
    (older, files(&disk))
}

fn is_snapshot(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with("snapshot-")
}

fn check(files: &Files) -> MetadataReport {
    let disk = SimDisk::new(0);
    files.iter().for_each(|(path, bytes)| disk.write_file(path, bytes));
    let report = verify(Arc::new(disk.clone()), &dir()).unwrap();
    assert_eq!(super::offline_tests::files(&disk), *files, "nothing is changed");
    report
}

fn names(problem: &MetadataOpenError, file: &Path) -> bool {
    problem.to_string().contains(&*file.to_string_lossy())
}

/// Header, and of each frame its length, its checksum and its payload; and whether it is the last frame.
fn regions(bytes: &[u8]) -> Vec<(Range<usize>, bool)> {
    let mut regions = vec![(0..HEADER_BYTES, false)];
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let end = at + FRAME_HEADER_BYTES + length;
        let last = end == bytes.len();
        regions.extend([(at..at + 4, last), (at + 4..at + 8, last), (at + 8..end, last)]);
        at = end;
    }
    regions
}

#[tokio::test]
async fn sound_files_are_sound_and_say_what_the_node_said() {
    let (older, files) = history().await;
    for files in [older, files] {
        let report = check(&files);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(report.files, files.len());
        assert!(report.image.unwrap().topics.len() > 5);
    }
}

#[tokio::test]
async fn damage_in_any_region_of_any_file_is_found_and_named() {
    let (_, files) = history().await;
    let newest = files.keys().rfind(|path| !is_snapshot(path)).unwrap().clone();
    let mut cases = 0;
    for (path, bytes) in &files {
        for (range, last) in regions(bytes) {
            let middle = range.start + range.len() / 2;
            let mut flipped = bytes.clone();
            flipped[middle] ^= 0x04;
            let mut zeroed = bytes.clone();
            zeroed[range.clone()].fill(0);
            for (what, damaged) in [("flip", flipped), ("zero", zeroed), ("truncate", bytes[..middle].to_vec())] {
                cases += 1;
                let report = check(
                    &files
                        .iter()
                        .map(|(name, old)| (name.clone(), if name == path { damaged.clone() } else { old.clone() }))
                        .collect(),
                );
                // What was written last was not acknowledged if it is not whole; a shorter journal looks like an older one.
                let torn = *path == newest && (last || what == "truncate");
                let found = matches!(&report.problems[..], [problem] if names(problem, path));
                let expected = if torn { report.problems.is_empty() } else { found };
                assert!(expected, "{what} of {range:?} in {path:?}: {:?}", report.problems);
            }
        }
    }
    assert!(cases > 100, "{cases} cases");
}

#[tokio::test]
async fn files_that_were_exchanged_or_are_missing_are_found() {
    let (_, files) = history().await;
    let segments: Vec<&PathBuf> = files.keys().filter(|path| !is_snapshot(path)).collect();
    for pair in segments.windows(2) {
        let mut swapped = files.clone();
        swapped.insert(pair[0].clone(), files[pair[1]].clone());
        swapped.insert(pair[1].clone(), files[pair[0]].clone());
        assert_eq!(check(&swapped).problems.len(), 1, "{pair:?}");
        let mut repeated = files.clone();
        repeated.insert(pair[1].clone(), files[pair[0]].clone());
        assert_eq!(check(&repeated).problems.len(), 1, "{pair:?}");
    }
    let (first, last) = (segments[0], segments[segments.len() - 1]);
    for path in files.keys().filter(|path| *path != last) {
        let mut missing = files.clone();
        missing.remove(path);
        assert_eq!(check(&missing).problems.len(), 1, "{path:?} of {first:?} to {last:?}");
    }
}

#[tokio::test]
async fn stale_files_are_found() {
    let (older, files) = history().await;
    let snapshot = |files: &Files| {
        files.iter().find(|(path, _)| is_snapshot(path)).map(|(path, bytes)| (path.clone(), bytes.clone())).unwrap()
    };
    let ((old_name, old), (name, new)) = (snapshot(&older), snapshot(&files));
    // An older snapshot under the name of the newer one, or instead of it.
    let mut stale = files.clone();
    stale.insert(name.clone(), old.clone());
    assert!(names(&check(&stale).problems[0], &name));
    stale.remove(&name);
    stale.insert(old_name, old);
    assert_eq!(check(&stale).problems.len(), 1);
    // The journal as it was before the snapshot.
    let mut stale: Files = older.into_iter().filter(|(path, _)| !is_snapshot(path)).collect();
    stale.insert(name.clone(), new.clone());
    assert_eq!(check(&stale).problems.len(), 1);
    // A start finds it, too.
    let disk = SimDisk::new(0);
    stale.iter().for_each(|(path, bytes)| disk.write_file(path, bytes));
    assert!(matches!(open(&disk).await, Err(MetadataOpenError::Corrupt { .. })));
    // No journal at all.
    assert_eq!(check(&BTreeMap::from([(name, new)])).problems.len(), 1);
}
