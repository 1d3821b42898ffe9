//! The manifest of a partition's directory (`duolog.manifest`): what is sealed in it, and which partition it is.
//!
//! Kafka's files say neither how long they ought to be nor, but for batches and snapshots, whether they are intact. The manifest
//! does: a text of lines `key: value`, replaced as a whole whenever a segment is sealed and when the log is closed.
//!
//! ```text
//! version: 1
//! partition_number: 7
//! topic_id: bSR1w0SmRLWZx2dJ7f9wQw
//! quarantined: a segment is missing            only if it is
//! sealed_end: 1000                              next offset after the sealed segments, also when they are gone
//! leader_epoch: 3
//! epoch: 0 0                                    epoch and start offset, one line each
//! segment: 0 1000 1048301 0 1700000000123 998 1700000000123 3fa85f64 00000000 -
//!                                               base, end, bytes, first timestamp, largest timestamp and its offset,
//!                                               checksums of the three indexes (-: no such file); one line each
//! active: ...                                   the same for the segment written to, only if the log was closed
//! snapshot: 1000 8d3e11f0                       offset and checksum of the newest producer snapshot
//! gaps: yes                                     batches of segments that are not listed may begin behind gaps
//! swapped: 0                                    base of a segment that was compacted and may still have its unfinished names
//! checksum: 5ad70c1b                            CRC32C of all bytes before this line
//! ```

use super::checksum;
use crate::partition::EpochStart;
use duolog_base::{PartitionNumber, TopicId};
use std::fmt::Write;
use std::str::FromStr;

pub const MANIFEST_VERSION: u32 = 1;

/// A segment as the manifest has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    pub base: i64,
    /// Next offset after its last batch.
    pub end: i64,
    pub bytes: u64,
    /// Largest timestamp of its first batch, by which its age is counted.
    pub first_timestamp: i64,
    pub max_timestamp: i64,
    /// Last offset of the first batch with the largest timestamp.
    pub max_timestamp_offset: i64,
    pub offset_crc: u32,
    pub time_crc: u32,
    /// `None`: there is no transaction index.
    pub transaction_crc: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub number: PartitionNumber,
    pub topic_id: TopicId,
    pub quarantined: Option<String>,
    /// Next offset after the sealed segments, also when they are gone.
    pub sealed_end: i64,
    pub leader_epoch: i32,
    pub epochs: Vec<EpochStart>,
    /// Ascending in offsets.
    pub segments: Vec<SegmentRecord>,
    pub active: Option<SegmentRecord>,
    /// Offset and checksum.
    pub snapshot: Option<(i64, u32)>,
    /// Batches of segments that are not sealed may begin behind gaps: a leader's compaction has left them.
    pub gaps: bool,
    /// A segment that was compacted and may still have its unfinished names.
    pub swapped: Option<i64>,
}

/// Why a manifest is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestProblem {
    Damaged,
    NewerVersion(u32),
}

impl Manifest {
    /// Next offset after all it lists.
    pub fn end(&self) -> i64 {
        self.active.map_or(self.sealed_end, |segment| segment.end)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        let crc = checksum(out.as_bytes());
        let _ = writeln!(out, "checksum: {crc:08x}");
        out.into_bytes()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "version: {MANIFEST_VERSION}")?;
        writeln!(out, "partition_number: {}", self.number)?;
        writeln!(out, "topic_id: {}", self.topic_id)?;
        if let Some(reason) = &self.quarantined {
            writeln!(out, "quarantined: {reason}")?;
        }
        writeln!(out, "sealed_end: {}", self.sealed_end)?;
        writeln!(out, "leader_epoch: {}", self.leader_epoch)?;
        self.epochs.iter().try_for_each(|epoch| writeln!(out, "epoch: {} {}", epoch.epoch, epoch.start))?;
        self.segments.iter().try_for_each(|segment| write_segment(out, "segment", segment))?;
        self.active.iter().try_for_each(|segment| write_segment(out, "active", segment))?;
        self.snapshot.iter().try_for_each(|(offset, crc)| writeln!(out, "snapshot: {offset} {crc:08x}"))?;
        if self.gaps {
            writeln!(out, "gaps: yes")?;
        }
        self.swapped.iter().try_for_each(|base| writeln!(out, "swapped: {base}"))
    }

    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestProblem> {
        let body = intact_body(bytes).ok_or(ManifestProblem::Damaged)?;
        let (first, rest) = body.split_once('\n').ok_or(ManifestProblem::Damaged)?;
        let version = first.strip_prefix("version: ").and_then(|text| text.parse().ok()).ok_or(ManifestProblem::Damaged)?;
        if version > MANIFEST_VERSION {
            return Err(ManifestProblem::NewerVersion(version));
        }
        parse(rest).ok_or(ManifestProblem::Damaged)
    }
}

fn write_segment(out: &mut String, key: &str, segment: &SegmentRecord) -> std::fmt::Result {
    let SegmentRecord { base, end, bytes, first_timestamp, max_timestamp, max_timestamp_offset, .. } = segment;
    write!(out, "{key}: {base} {end} {bytes} {first_timestamp} {max_timestamp} {max_timestamp_offset} ")?;
    write!(out, "{:08x} {:08x} ", segment.offset_crc, segment.time_crc)?;
    match segment.transaction_crc {
        Some(crc) => writeln!(out, "{crc:08x}"),
        None => writeln!(out, "-"),
    }
}

/// What stands before the checksum, if the checksum is right.
fn intact_body(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let at = text.rfind("checksum: ")?;
    let (body, crc) = text.split_at(at);
    (crc == format!("checksum: {:08x}\n", checksum(body.as_bytes()))).then_some(body)
}

fn parse(text: &str) -> Option<Manifest> {
    let (mut number, mut topic_id, mut quarantined, mut sealed_end, mut leader_epoch) = (None, None, None, 0, 0);
    let (mut epochs, mut segments, mut active, mut snapshot, mut swapped) = (Vec::new(), Vec::new(), None, None, None);
    let mut gaps = false;
    for line in text.lines() {
        let (key, value) = line.split_once(": ")?;
        match key {
            "partition_number" => number = Some(PartitionNumber(value.parse().ok()?)),
            "topic_id" => topic_id = Some(TopicId::parse(value)?),
            "quarantined" => quarantined = Some(value.to_owned()),
            "sealed_end" => sealed_end = value.parse().ok()?,
            "leader_epoch" => leader_epoch = value.parse().ok()?,
            "epoch" => {
                let (epoch, start) = value.split_once(' ')?;
                epochs.push(EpochStart { epoch: epoch.parse().ok()?, start: start.parse().ok()? });
            }
            "segment" => segments.push(parse_segment(value)?),
            "active" => active = Some(parse_segment(value)?),
            "snapshot" => {
                let (offset, crc) = value.split_once(' ')?;
                snapshot = Some((offset.parse().ok()?, u32::from_str_radix(crc, 16).ok()?));
            }
            "gaps" if value == "yes" => gaps = true,
            "swapped" => swapped = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    let (number, topic_id) = (number?, topic_id?);
    Some(Manifest { number, topic_id, quarantined, sealed_end, leader_epoch, epochs, segments, active, snapshot, gaps, swapped })
}

fn parse_segment(text: &str) -> Option<SegmentRecord> {
    let mut words = text.split(' ');
    let segment = SegmentRecord {
        base: number(words.next())?,
        end: number(words.next())?,
        bytes: number(words.next())?,
        first_timestamp: number(words.next())?,
        max_timestamp: number(words.next())?,
        max_timestamp_offset: number(words.next())?,
        offset_crc: u32::from_str_radix(words.next()?, 16).ok()?,
        time_crc: u32::from_str_radix(words.next()?, 16).ok()?,
        transaction_crc: match words.next()? {
            "-" => None,
            crc => Some(u32::from_str_radix(crc, 16).ok()?),
        },
    };
    (words.next().is_none() && segment.base <= segment.end).then_some(segment)
}

fn number<T: FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let segment = SegmentRecord {
            base: 0,
            end: 1000,
            bytes: 4096,
            first_timestamp: 5,
            max_timestamp: 77,
            max_timestamp_offset: 998,
            offset_crc: 0x3fa8_5f64,
            time_crc: 0,
            transaction_crc: None,
        };
        Manifest {
            number: PartitionNumber(7),
            topic_id: TopicId(1),
            quarantined: None,
            sealed_end: 1000,
            leader_epoch: 3,
            epochs: vec![EpochStart { epoch: 0, start: 0 }, EpochStart { epoch: 3, start: 900 }],
            segments: vec![segment],
            active: Some(SegmentRecord { base: 1000, end: 1003, transaction_crc: Some(16), ..segment }),
            snapshot: Some((1003, 9)),
            gaps: false,
            swapped: Some(0),
        }
    }

    const GOLDEN: &str = "version: 1
partition_number: 7
topic_id: AAAAAAAAAAAAAAAAAAAAAQ
sealed_end: 1000
leader_epoch: 3
epoch: 0 0
epoch: 3 900
segment: 0 1000 4096 5 77 998 3fa85f64 00000000 -
active: 1000 1003 4096 5 77 998 3fa85f64 00000000 00000010
snapshot: 1003 00000009
swapped: 0
";

    #[test]
    fn the_text_stays_as_it_is_and_reads_back() {
        let text = manifest().encode();
        let golden = format!("{GOLDEN}checksum: {:08x}\n", checksum(GOLDEN.as_bytes()));
        assert_eq!(String::from_utf8(text.clone()).unwrap(), golden);
        assert_eq!(Manifest::decode(&text), Ok(manifest()));
        let bare = Manifest { quarantined: Some("it is".into()), active: None, snapshot: None, swapped: None, ..manifest() };
        assert_eq!(Manifest::decode(&bare.encode()), Ok(bare.clone()));
        assert_eq!((bare.end(), manifest().end()), (1000, 1003));
        let with_gaps = Manifest { gaps: true, ..manifest() };
        assert_eq!(Manifest::decode(&with_gaps.encode()), Ok(with_gaps));
    }

    #[test]
    fn any_flipped_bit_and_any_lost_end_is_noticed() {
        let text = manifest().encode();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Manifest::decode(&flipped), Err(ManifestProblem::Damaged), "bit {bit}");
        }
        assert!((0..text.len()).all(|length| Manifest::decode(&text[..length]).is_err()));
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let body = "version: 2\nanything: at all\n";
        let text = format!("{body}checksum: {:08x}\n", checksum(body.as_bytes()));
        assert_eq!(Manifest::decode(text.as_bytes()), Err(ManifestProblem::NewerVersion(2)));
    }
}
