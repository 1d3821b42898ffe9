//! One partition's directory.

use super::Recovery;
use super::scan::{Scanned, Start};
use crate::OpenError;
use crate::dedicated::cleaning::settle_directory;
use crate::dedicated::cursor::Headers;
use crate::dedicated::files::{read_if_there, replace};
use crate::dedicated::format::checkpoints::decode_partition_metadata;
use crate::dedicated::format::manifest::{MANIFEST_VERSION, Manifest, ManifestProblem, SegmentRecord};
use crate::dedicated::format::{checksum, snapshot};
use crate::dedicated::growing::Growing;
use crate::dedicated::names::{MANIFEST, PARTITION_METADATA, PartitionName, SegmentFile, is_leftover};
use crate::dedicated::partition::{Active, Dedicated, Rolled, restore_producers, restored_log};
use crate::dedicated::segments::remove_segment;
use crate::dedicated::transactions::Transactions;
use crate::dedicated::{PartitionHome, SegmentPolicy};
use crate::partition::EpochStart;
use crate::producer::Producers;
use duolog_base::{OpenMode, PartitionNumber, TopicId};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SEGMENT_MISSING: &str = "a segment is missing";
const RECORDS_MISSING: &str = "records that were durable are damaged or missing";
const START_ABOVE_END: &str = "the log start lies above the end";

/// Producers and transactions as of an offset.
pub(super) type Known = (Producers, Transactions);

impl Recovery<'_> {
    /// What a directory holds, and which partition it says it is; `None` if nothing was ever written to it.
    pub fn directory(&mut self, name: &PartitionName) -> Result<Option<(Option<PartitionNumber>, Dedicated)>, OpenError> {
        let dir = self.root.join(name.to_string());
        let mut manifest = self.manifest(&dir)?;
        let failed = |error| OpenError::Io { path: dir.clone(), error };
        self.unsynced |= settle_directory(self.disk, &dir, manifest.as_mut()).map_err(failed)?;
        let mut logs = self.logs(&dir).map_err(failed)?;
        self.report.files += logs.len();
        let Some(manifest) = manifest else {
            return match logs.is_empty() {
                true => Ok(None),
                false => self.foreign(name, &dir, &logs).map(|found| Some((None, found))).map_err(failed),
            };
        };
        let number = manifest.number;
        if logs.is_empty() && manifest.sealed_end == 0 && manifest.segments.is_empty() && self.durable_end(name) == 0 {
            // Made for a first batch that did not come to be.
            let home = PartitionHome { name: name.clone(), topic_id: manifest.topic_id, policy: SegmentPolicy::default() };
            let found = Dedicated { has_directory: true, gaps: manifest.gaps, ..Dedicated::new(home) };
            return Ok(Some((Some(number), found)));
        }
        // What else lies about in a directory where something is missing may be what is missed, or the manifest another's.
        let settled = manifest.quarantined.is_none() && !self.lacks_segments(name, &manifest, &logs);
        let unlisted =
            |base: &i64| settled && *base < manifest.sealed_end && !manifest.segments.iter().any(|listed| listed.base == *base);
        for base in logs.iter().copied().filter(unlisted).collect::<Vec<_>>() {
            // Given up before it was removed.
            remove_segment(self.disk, &dir, base).map_err(failed)?;
            logs.remove(&base);
        }
        let found = self.listed(name, &dir, manifest, &logs).map_err(failed)?;
        Ok(Some((Some(number), found)))
    }

    fn manifest(&self, dir: &Path) -> Result<Option<Manifest>, OpenError> {
        let path = dir.join(MANIFEST);
        let bytes = read_if_there(self.disk, &path).map_err(|error| OpenError::Io { path: path.clone(), error })?;
        match bytes.as_deref().map(Manifest::decode) {
            None => Ok(None),
            Some(Ok(manifest)) => Ok(Some(manifest)),
            Some(Err(ManifestProblem::NewerVersion(found))) => {
                Err(OpenError::NewerFormat { path, found, supported: MANIFEST_VERSION })
            }
            Some(Err(ManifestProblem::Damaged)) => {
                tracing::error!(path = %path.display(), "a manifest is damaged; all of the partition is read instead");
                Ok(None)
            }
        }
    }

    /// The segments in a directory, after what is of no use is gone.
    fn logs(&self, dir: &Path) -> io::Result<BTreeSet<i64>> {
        let mut logs = BTreeSet::new();
        for name in self.disk.list(dir)? {
            if is_leftover(&name) {
                self.disk.remove(&dir.join(&name))?;
            } else if let Some((SegmentFile::Log, base)) = SegmentFile::parse(&name) {
                logs.insert(base);
            }
        }
        Ok(logs)
    }

    /// Next offset after all that a recovery point says was durable.
    fn durable_end(&self, name: &PartitionName) -> i64 {
        self.checkpoints.recovery_points.get(name).copied().unwrap_or(0)
    }

    /// Whether a segment is not there that is listed and holds something above the log start.
    fn lacks_segments(&self, name: &PartitionName, manifest: &Manifest, logs: &BTreeSet<i64>) -> bool {
        let log_start = self.checkpoints.starts.get(name).copied().unwrap_or(0);
        manifest.segments.iter().any(|segment| segment.end > log_start && !logs.contains(&segment.base))
    }

    /// A directory without a manifest: all of it is read, gaps between segments are possible.
    fn foreign(&mut self, name: &PartitionName, dir: &Path, logs: &BTreeSet<i64>) -> io::Result<Dedicated> {
        let metadata = read_if_there(self.disk, &dir.join(PARTITION_METADATA))?;
        let topic_id = metadata.and_then(|bytes| decode_partition_metadata(&bytes)).unwrap_or(TopicId::NONE);
        let first = logs.first().copied().unwrap_or(0);
        let known = self.snapshot(dir, first, None)?.unwrap_or_default();
        let durable_end = self.durable_end(name);
        let start = Start { anchor: None, gaps: true, durable_end, epochs: Vec::new(), leader_epoch: 0, known };
        let scanned = self.scan(dir, logs, start)?;
        let home = PartitionHome { name: name.clone(), topic_id, policy: SegmentPolicy::default() };
        let mut found = Dedicated { sealed_end: first, ..Dedicated::new(home) };
        self.put_together(name, &mut found, first, scanned);
        Ok(found)
    }

    /// A directory with a manifest.
    fn listed(&mut self, name: &PartitionName, dir: &Path, manifest: Manifest, logs: &BTreeSet<i64>) -> io::Result<Dedicated> {
        let home = PartitionHome { name: name.clone(), topic_id: manifest.topic_id, policy: SegmentPolicy::default() };
        let present: Vec<SegmentRecord> =
            manifest.segments.iter().copied().filter(|segment| logs.contains(&segment.base)).collect();
        let quarantine = match self.lacks_segments(name, &manifest, logs) {
            true => Some(SEGMENT_MISSING.to_owned()),
            false => manifest.quarantined.clone(),
        };
        let first = present.first().map_or(manifest.sealed_end, |first| first.base);
        let mut found = Dedicated {
            sealed: present,
            sealed_end: manifest.sealed_end,
            snapshot: manifest.snapshot,
            gaps: manifest.gaps,
            quarantine,
            ..Dedicated::new(home)
        };
        let unsealed: BTreeSet<i64> = logs.range(manifest.sealed_end..).copied().collect();
        if self.clean
            && let Some((active, known)) = self.closed(dir, &manifest, &unsealed)?
        {
            found.active = active;
            found.touched = false;
            let scanned = Scanned::nothing(manifest.end(), manifest.epochs, manifest.leader_epoch, known);
            self.put_together(name, &mut found, first, scanned);
            return Ok(found);
        }
        let sealed_end = manifest.sealed_end;
        let known = match self.snapshot(dir, sealed_end, None)? {
            Some(known) => known,
            None => self.producers_of(dir, &found.sealed)?,
        };
        let durable_end = self.durable_end(name).max(manifest.end());
        let epochs = manifest.epochs.iter().copied().filter(|epoch| epoch.start < sealed_end).collect();
        let leader_epoch = manifest.leader_epoch;
        let start = Start { anchor: Some(sealed_end), gaps: manifest.gaps, durable_end, epochs, leader_epoch, known };
        let scanned = self.scan(dir, &unsealed, start)?;
        self.put_together(name, &mut found, first, scanned);
        if found.quarantine.is_some() && found.quarantine != manifest.quarantined {
            let noted = Manifest { quarantined: found.quarantine.clone(), ..manifest };
            replace(self.disk, &dir.join(MANIFEST), &noted.encode())?;
            self.unsynced = true;
        }
        Ok(found)
    }

    /// The active segment as it was when the log was closed, if everything is as it was then.
    fn closed(&self, dir: &Path, manifest: &Manifest, unsealed: &BTreeSet<i64>) -> io::Result<Option<(Option<Active>, Known)>> {
        let Some((offset, crc)) = manifest.snapshot.filter(|(offset, _)| *offset == manifest.end()) else { return Ok(None) };
        if !unsealed.iter().eq(manifest.active.iter().map(|active| &active.base)) {
            return Ok(None);
        }
        let Some(known) = self.snapshot(dir, offset, Some(crc))? else { return Ok(None) };
        let Some(record) = &manifest.active else { return Ok(Some((None, known))) };
        let length = self.disk.open(&SegmentFile::Log.path(dir, record.base), OpenMode::Read)?.length()?;
        let offsets = self.intact(&SegmentFile::OffsetIndex.path(dir, record.base), record.offset_crc)?;
        let times = self.intact(&SegmentFile::TimeIndex.path(dir, record.base), record.time_crc)?;
        let aborted = match record.transaction_crc {
            Some(crc) => self.intact(&SegmentFile::TransactionIndex.path(dir, record.base), crc)?,
            None => Some(Vec::new()),
        };
        let (Some(offsets), Some(times), Some(aborted), true) = (offsets, times, aborted, length == record.bytes) else {
            return Ok(None);
        };
        let growing = Arc::new(Growing::restored(record, offsets, times, aborted, self.now));
        Ok(Some((Some(Active { growing, written: record.bytes, file: None }), known)))
    }

    /// The bytes of a file, if they have this checksum.
    fn intact(&self, path: &Path, crc: u32) -> io::Result<Option<Vec<u8>>> {
        Ok(read_if_there(self.disk, path)?.filter(|bytes| checksum(bytes) == crc))
    }

    /// What was known at `offset`: nothing at the very beginning, otherwise what the snapshot says; `None` if there is no intact one.
    fn snapshot(&self, dir: &Path, offset: i64, crc: Option<u32>) -> io::Result<Option<Known>> {
        let path: PathBuf = SegmentFile::Snapshot.path(dir, offset);
        let bytes = read_if_there(self.disk, &path)?.filter(|bytes| crc.is_none_or(|crc| checksum(bytes) == crc));
        let Some(entries) = bytes.and_then(|bytes| snapshot::decode(&bytes)) else {
            return Ok((offset == 0).then(Known::default));
        };
        let (mut producers, mut transactions) = Known::default();
        restore_producers(&entries, &mut producers, &mut transactions);
        Ok(Some((producers, transactions)))
    }

    /// The producers of sealed segments, from their batches: for a snapshot that is lost.
    fn producers_of(&self, dir: &Path, sealed: &[SegmentRecord]) -> io::Result<Known> {
        tracing::warn!(dir = %dir.display(), "a producer snapshot is lost; the segments are read instead");
        let (mut producers, transactions) = Known::default();
        for segment in sealed {
            let file = self.disk.open(&SegmentFile::Log.path(dir, segment.base), OpenMode::Read)?;
            let mut headers = Headers::new(file.as_ref(), 0, segment.bytes);
            // Whoever reads a damaged segment is told so; here it ends what can be known.
            while let Ok(Some((header, _))) = headers.next() {
                producers.appended(&header, header.base_offset, self.now);
            }
        }
        Ok((producers, transactions))
    }

    /// Adds what was scanned, and the offsets, to what the manifest says.
    fn put_together(&self, name: &PartitionName, found: &mut Dedicated, first: i64, scanned: Scanned) {
        let Scanned { segments, end, epochs, leader_epoch, known: (producers, transactions), damaged } = scanned;
        let log_start = self.checkpoints.starts.get(name).copied().unwrap_or(0).max(first);
        found.log = restored_log(end, log_start, leader_epoch, &epochs, producers);
        found.transactions = transactions;
        found.durable_start = log_start.min(end);
        found.has_directory = true;
        let mut segments = segments;
        if let Some((last, _)) = segments.pop() {
            found.active = Some(restored_active(last));
        }
        found.rolled = segments
            .into_iter()
            .map(|(mut growing, snapshot)| {
                growing.finish();
                Rolled { segment: restored_active(growing), end_position: 0, snapshot }
            })
            .collect();
        if damaged && found.quarantine.is_none() {
            found.quarantine = Some(RECORDS_MISSING.to_owned());
        }
        if log_start > end && found.quarantine.is_none() {
            found.quarantine = Some(START_ABOVE_END.to_owned());
        }
        if let Some(reason) = &found.quarantine {
            tracing::error!(partition = %name, reason, "a partition is quarantined");
        }
    }
}

fn restored_active(growing: Growing) -> Active {
    let written = growing.bytes;
    Active { growing: Arc::new(growing), written, file: None }
}

impl Scanned {
    /// Everything was known.
    fn nothing(end: i64, epochs: Vec<EpochStart>, leader_epoch: i32, known: Known) -> Scanned {
        Scanned { segments: Vec::new(), end, epochs, leader_epoch, known, damaged: false }
    }
}
