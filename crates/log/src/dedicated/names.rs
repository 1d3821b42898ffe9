//! Names below a `dedicated` directory: Kafka's, so that its tools and its broker know them.
//!
//! A partition has a directory `<topic>-<index>`; a segment is the files that share the number of its base offset. A directory that
//! is being removed ends in `-delete`, one that was set aside because nobody knows it in `-stray`. Only [`MANIFEST`] is ours.

use duolog_base::{PartitionIndex, PartitionNumber};
use std::fmt;
use std::path::{Path, PathBuf};

/// Digits of an offset in a file name.
const DIGITS: usize = 20;
/// Characters of the topic kept in the name of a directory that is being removed, which would become too long otherwise.
const KEPT_CHARACTERS: usize = 200;
const REMOVED: &str = "-delete";
const STRAY: &str = "-stray";

/// What is sealed in a partition's directory, and which partition it is.
pub const MANIFEST: &str = "duolog.manifest";
pub const EPOCHS: &str = "leader-epoch-checkpoint";
pub const PARTITION_METADATA: &str = "partition.metadata";

/// In the root: log starts, offsets known to be durable, and the mark of an orderly stop.
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// First offsets that were not compacted yet.
pub const CLEANER: &str = "cleaner-offset-checkpoint";
pub const CLEAN: &str = ".kafka_cleanshutdown";

/// A file of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentFile {
    Log,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    /// The idempotent producers as of its offset: the base offset of a segment, or the end of the log.
    Snapshot,
}

impl SegmentFile {
    pub const ALL: [SegmentFile; 5] = [
        SegmentFile::Log,
        SegmentFile::OffsetIndex,
        SegmentFile::TimeIndex,
        SegmentFile::TransactionIndex,
        SegmentFile::Snapshot,
    ];

    fn extension(self) -> &'static str {
        match self {
            SegmentFile::Log => "log",
            SegmentFile::OffsetIndex => "index",
            SegmentFile::TimeIndex => "timeindex",
            SegmentFile::TransactionIndex => "txnindex",
            SegmentFile::Snapshot => "snapshot",
        }
    }

    pub fn path(self, dir: &Path, offset: i64) -> PathBuf {
        dir.join(format!("{offset:020}.{}", self.extension()))
    }

    /// The kind and the offset of a name; `None` for any other file.
    pub fn parse(name: &str) -> Option<(SegmentFile, i64)> {
        let (stem, extension) = name.split_once('.')?;
        if stem.len() != DIGITS || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kind = Self::ALL.into_iter().find(|kind| kind.extension() == extension)?;
        Some((kind, stem.parse().ok()?))
    }
}

/// Whether a file is what an interrupted replacement or deletion left, of ours or of Kafka's.
pub fn is_leftover(name: &str) -> bool {
    name.ends_with(".tmp") || name.ends_with(".deleted") || name.ends_with(".cleaned")
}

/// The name of a partition, as its directory says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    pub topic: String,
    pub index: PartitionIndex,
}

impl PartitionName {
    /// Reads a directory's name; `None` if it is no partition's.
    pub fn parse(directory: &str) -> Option<PartitionName> {
        let (topic, index) = directory.rsplit_once('-')?;
        let canonical = index == "0" || (!index.starts_with('0') && index.bytes().all(|byte| byte.is_ascii_digit()));
        if topic.is_empty() || !canonical {
            return None;
        }
        Some(PartitionName { topic: topic.to_owned(), index: PartitionIndex(index.parse().ok()?) })
    }

    /// The name while the files are being removed.
    pub fn removed(&self, number: Option<PartitionNumber>) -> String {
        self.aside(number, REMOVED)
    }

    /// The name when the directory belongs to nobody.
    pub fn stray(&self, number: Option<PartitionNumber>) -> String {
        self.aside(number, STRAY)
    }

    fn aside(&self, number: Option<PartitionNumber>, suffix: &str) -> String {
        let topic: String = self.topic.chars().take(KEPT_CHARACTERS).collect();
        let unique = number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
        format!("{topic}-{}.{unique}{suffix}", self.index)
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// Whether a directory is one that is being removed.
pub fn is_removed(directory: &str) -> bool {
    directory.ends_with(REMOVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_segments_are_recognised_and_strangers_left_alone() {
        let path = SegmentFile::TimeIndex.path(Path::new("/d"), 57);
        assert_eq!(path, Path::new("/d/00000000000000000057.timeindex"));
        assert_eq!(SegmentFile::parse("00000000000000000057.snapshot"), Some((SegmentFile::Snapshot, 57)));
        for stranger in ["57.log", "00000000000000000057.log.deleted", "leader-epoch-checkpoint", "99999999999999999999.log"] {
            assert_eq!(SegmentFile::parse(stranger), None, "{stranger}");
        }
        assert!(is_leftover("00000000000000000057.log.deleted"));
    }

    #[test]
    fn directories_name_their_partition() {
        let name = PartitionName { topic: "a-b.c".into(), index: PartitionIndex(12) };
        assert_eq!(name.to_string(), "a-b.c-12");
        assert_eq!(PartitionName::parse("a-b.c-12"), Some(name.clone()));
        for other in ["a", "-1", "a-", "a-01", "a-x", "a--1", "recovery-point-offset-checkpoint", "a-0.7-delete", "a-4294967296"]
        {
            assert_eq!(PartitionName::parse(other).filter(|name| name.topic == "a"), None, "{other}");
        }
        assert_eq!(name.removed(Some(PartitionNumber(7))), "a-b.c-12.7-delete");
        assert!(is_removed(&name.removed(None)) && !is_removed(&name.stray(None)));
        let long = PartitionName { topic: "t".repeat(249), index: PartitionIndex(i32::MAX) };
        assert!(long.removed(Some(PartitionNumber(u32::MAX))).len() <= 255);
    }
}
