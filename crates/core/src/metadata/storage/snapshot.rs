//! The image as of one entry, as a file of records; written beside the old one and renamed when it is durable.
//!
//! ```text
//! snapshot = header  frame(SnapshotMeta)  frame([record])*  frame("end")
//! ```

use super::format::{
    EntryId, FORMAT_VERSION, HEADER_BYTES, HeaderProblem, Members, check_header, decode, encode_frame, frame_at, header,
};
use super::segment::read_whole;
use super::{corrupt, io_error};
use crate::metadata::error::MetadataOpenError;
use crate::metadata::record::{FEATURE_LEVEL, MetadataRecord};
use duolog_base::{Disk, OpenMode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PREFIX: &str = "snapshot-";
const UNFINISHED: &str = ".unfinished";
/// Records of one frame.
const RECORDS_A_FRAME: usize = 1_000;
const END: &str = "end";

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::metadata) struct SnapshotMeta {
    /// Last entry that is in it.
    pub last: Option<EntryId>,
    /// The members as of that entry, and the entry that made them so.
    pub members: Members,
    pub members_from: Option<EntryId>,
    /// [`MetadataImage::applied`](crate::metadata::MetadataImage::applied) of the image.
    pub applied: u64,
    /// Feature level of the records.
    pub level: u32,
}

/// A snapshot as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metadata) struct Snapshot {
    pub meta: SnapshotMeta,
    pub records: Vec<MetadataRecord>,
}

/// The snapshots of one directory; at most one matters.
pub(in crate::metadata) struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Whether snapshots may be written; held while one is.
    open: Mutex<bool>,
}

impl Snapshots {
    pub(in crate::metadata) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Snapshots {
        Snapshots { disk, dir, open: Mutex::new(true) }
    }

    /// Waits for a snapshot that is being written, and refuses later ones.
    pub(in crate::metadata) fn close(&self) {
        *self.open.lock() = false;
    }

    /// The newest snapshot. Removes what was not finished.
    pub(in crate::metadata) fn load(&self) -> Result<Option<Snapshot>, MetadataOpenError> {
        let failed = |error| io_error(&self.dir, error);
        let names = self.disk.list(&self.dir).map_err(failed)?;
        for name in names.iter().filter(|name| name.ends_with(UNFINISHED)) {
            self.disk.remove(&self.dir.join(name)).map_err(failed)?;
        }
        self.inspect()
    }

    /// The newest snapshot. Changes nothing.
    pub(in crate::metadata) fn inspect(&self) -> Result<Option<Snapshot>, MetadataOpenError> {
        let names = self.disk.list(&self.dir).map_err(|error| io_error(&self.dir, error))?;
        newest(&names).map(|index| self.read_checked(index)).transpose()
    }

    fn read_checked(&self, index: u64) -> Result<Snapshot, MetadataOpenError> {
        let path = self.path(index);
        let bytes = self.read(index).map_err(|error| io_error(&path, error))?;
        match check_header(&bytes) {
            Err(HeaderProblem::Newer(found)) => {
                return Err(MetadataOpenError::NewerFormat { path, found, supported: FORMAT_VERSION });
            }
            Err(HeaderProblem::NotOurs) => return Err(corrupt(&path, 0, "the header is damaged")),
            Ok(()) => {}
        }
        let snapshot = parse(&bytes).map_err(|(position, problem)| corrupt(&path, position, problem))?;
        if snapshot.meta.level > FEATURE_LEVEL {
            return Err(MetadataOpenError::NewerRecords { found: snapshot.meta.level, supported: FEATURE_LEVEL });
        }
        match snapshot.meta.last.map_or(0, |last| last.index) == index {
            true => Ok(snapshot),
            false => Err(corrupt(&path, HEADER_BYTES as u64, "the snapshot is of another entry than its name says")),
        }
    }

    /// Bytes of the newest snapshot, to be sent to another node.
    pub(in crate::metadata) fn newest_bytes(&self) -> io::Result<Option<Vec<u8>>> {
        match newest(&self.disk.list(&self.dir)?) {
            Some(index) => self.read(index).map(Some),
            None => Ok(None),
        }
    }

    /// Makes `bytes` the newest snapshot, durably, and removes older ones.
    pub(in crate::metadata) fn save(&self, index: u64, bytes: &[u8]) -> io::Result<()> {
        let open = self.open.lock();
        if !*open {
            return Err(io::Error::other("the metadata log is closed"));
        }
        let path = self.path(index);
        let unfinished = self.dir.join(format!("{PREFIX}{index:020}{UNFINISHED}"));
        match self.disk.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.open(&unfinished, OpenMode::CreateNew)?;
        file.write_at(&[IoSlice::new(bytes)], 0)?;
        file.sync_data()?;
        self.disk.rename(&unfinished, &path)?;
        self.disk.sync_dir(&self.dir)?;
        let older = self
            .disk
            .list(&self.dir)?
            .iter()
            .filter_map(|name| snapshot_index(name))
            .filter(|old| *old < index)
            .collect::<Vec<_>>();
        older.iter().try_for_each(|old| self.disk.remove(&self.path(*old)))
    }

    fn read(&self, index: u64) -> io::Result<Vec<u8>> {
        read_whole(&*self.disk.open(&self.path(index), OpenMode::Read)?)
    }

    fn path(&self, index: u64) -> PathBuf {
        self.dir.join(Path::new(&format!("{PREFIX}{index:020}")))
    }
}

impl Snapshot {
    pub(in crate::metadata) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = header().to_vec();
        encode_frame(&mut bytes, &self.meta)?;
        self.records.chunks(RECORDS_A_FRAME).try_for_each(|records| encode_frame(&mut bytes, &records))?;
        encode_frame(&mut bytes, &END)?;
        Ok(bytes)
    }

    /// From bytes another node sent.
    pub(in crate::metadata) fn decode(bytes: &[u8]) -> io::Result<Snapshot> {
        let damaged = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
        check_header(bytes).map_err(|_| damaged("not a snapshot of this format"))?;
        parse(bytes).map_err(|(_, problem)| damaged(problem))
    }
}

fn newest(names: &[String]) -> Option<u64> {
    names.iter().filter_map(|name| snapshot_index(name)).max()
}

fn snapshot_index(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Reads the frames after the header; an error says where and what.
fn parse(bytes: &[u8]) -> Result<Snapshot, (u64, &'static str)> {
    let frame = |position| frame_at(bytes, position).ok_or((position as u64, "a frame is damaged"));
    let (payload, mut position) = frame(HEADER_BYTES)?;
    let meta = decode(payload).ok_or((HEADER_BYTES as u64, "the first frame is not understood"))?;
    let mut records = Vec::new();
    loop {
        let (payload, next) = frame(position)?;
        if decode::<String>(payload).is_some_and(|word| word == END) {
            return Ok(Snapshot { meta, records });
        }
        let more: Vec<MetadataRecord> = decode(payload).ok_or((position as u64, "a frame is not understood"))?;
        records.extend(more);
        position = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_base::RealDisk;

    fn snapshot(index: u64, records: usize) -> Snapshot {
        let last = Some(EntryId { term: 1, node: 1, index });
        let meta = SnapshotMeta { last, members: Members::default(), members_from: None, applied: index, level: FEATURE_LEVEL };
        Snapshot { meta, records: (0..records).map(|next| MetadataRecord::ProducerIds { next: next as i64 }).collect() }
    }

    #[test]
    fn the_newest_snapshot_is_read_back_and_older_ones_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(Arc::new(RealDisk), dir.path().to_owned());
        assert_eq!(snapshots.load().unwrap(), None);
        snapshots.save(5, &snapshot(5, 3).encode().unwrap()).unwrap();
        std::fs::write(dir.path().join("snapshot-00000000000000000009.unfinished"), b"half").unwrap();
        snapshots.save(7, &snapshot(7, 2500).encode().unwrap()).unwrap();
        assert_eq!(snapshots.load().unwrap(), Some(snapshot(7, 2500)));
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["snapshot-00000000000000000007"]);
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_and_not_an_empty_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(Arc::new(RealDisk), dir.path().to_owned());
        let mut bytes = snapshot(5, 3).encode().unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        snapshots.save(5, &bytes).unwrap();
        assert!(matches!(snapshots.load(), Err(MetadataOpenError::Corrupt { .. })));
        bytes.truncate(middle);
        snapshots.save(6, &bytes).unwrap();
        assert!(matches!(snapshots.load(), Err(MetadataOpenError::Corrupt { .. })), "an end is required");
    }
}
