//! The byte maps of `docs/storage-format.md`, written down once more: which region of a file means what.

use std::ops::Range;
use std::path::Path;

const FILE_HEADER_BYTES: usize = 64;
const FRAME_HEADER_BYTES: usize = 64;
const DIRECTORY_RECORD_BYTES: usize = 48;
const ENTRY_BYTES: usize = 40;
const TIDIED_END_BYTES: usize = 32;
const BATCH: u8 = 1;

/// Name and place of each field.
type Fields = &'static [(&'static str, Range<usize>)];

const FILE_HEADER: Fields = &[
    ("file magic", 0..8),
    ("file version", 8..12),
    ("file generation", 12..16),
    ("file base", 16..24),
    ("file header rest", 24..60),
    ("file header checksum", 60..64),
];

const FRAME_HEADER: Fields = &[
    ("frame magic", 0..4),
    ("frame kind", 4..5),
    ("frame encoding", 5..6),
    ("frame zeros", 6..8),
    ("frame position", 8..16),
    ("frame tag filter", 16..24),
    ("frame offset", 24..32),
    ("frame generation", 32..36),
    ("frame partition", 36..40),
    ("frame length", 40..44),
    ("frame epoch", 44..48),
    ("frame last offset", 48..52),
    ("frame lag", 52..56),
    ("frame body checksum", 56..60),
    ("frame header checksum", 60..64),
];

const INDEX_HEADER: Fields = &[
    ("index magic", 0..8),
    ("index version", 8..12),
    ("index generation", 12..16),
    ("index base", 16..24),
    ("index end", 24..32),
    ("index records", 32..36),
    ("index state bytes", 36..40),
    ("index entries", 40..48),
    ("index directory checksum", 48..52),
    ("index entries checksum", 52..56),
    ("index state checksum", 56..60),
    ("index header checksum", 60..64),
];

const TIDIED_END: Fields = &[
    ("end magic", 0..8),
    ("end version", 8..12),
    ("end zeros", 12..16),
    ("end index place", 16..24),
    ("end more zeros", 24..28),
    ("end checksum", 28..32),
];

const CLEANER_CHECKPOINT: Fields =
    &[("cleaner magic", 0..8), ("cleaner version", 8..12), ("cleaner count", 12..16), ("cleaner entry", 16..32)];

/// A stretch of a file that means one thing.
#[derive(Clone, Debug)]
pub struct Region {
    pub class: &'static str,
    pub range: Range<usize>,
    /// Number of the frame it belongs to, counted in the file, and whether that is the last one.
    pub frame: Option<(usize, bool)>,
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The regions of a sound file.
pub fn of_file(path: &Path, bytes: &[u8]) -> Vec<Region> {
    match path.extension().and_then(|name| name.to_str()) {
        Some("log") => of_log(bytes),
        Some("queues" | "checkpoint") => of_index(bytes, 0..bytes.len()),
        Some("tidied") => of_tidied(bytes),
        None => of_cleaner_checkpoint(bytes),
        _ => vec![Region { class: "spare", range: 0..bytes.len(), frame: None }],
    }
}

fn fields(fields: Fields, at: usize, frame: Option<(usize, bool)>) -> impl Iterator<Item = Region> {
    let place = move |range: &Range<usize>| at + range.start..at + range.end;
    fields.iter().map(move |(class, range)| Region { class, range: place(range), frame })
}

/// Places of the frames of a log file.
pub fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), FILE_HEADER_BYTES);
    while bytes.get(at..at + 4) == Some(b"DLf1") {
        let end = at + (FRAME_HEADER_BYTES + u32_at(bytes, at + 40)).next_multiple_of(8);
        found.push(at..end);
        at = end;
    }
    found
}

fn of_cleaner_checkpoint(bytes: &[u8]) -> Vec<Region> {
    let mut regions: Vec<Region> = fields(CLEANER_CHECKPOINT, 0, None).collect();
    regions.push(Region { class: "cleaner checksum", range: bytes.len() - 4..bytes.len(), frame: None });
    regions
}

/// Frames, index, end.
fn of_tidied(bytes: &[u8]) -> Vec<Region> {
    let end_at = bytes.len() - TIDIED_END_BYTES;
    let index_at = u32_at(bytes, end_at + 16);
    let mut regions = of_log(&bytes[..index_at]);
    regions.retain(|region| region.class != "tail");
    regions.extend(of_index(bytes, index_at..end_at));
    regions.extend(fields(TIDIED_END, end_at, None));
    regions
}

fn of_log(bytes: &[u8]) -> Vec<Region> {
    let mut regions: Vec<Region> = fields(FILE_HEADER, 0, None).collect();
    let frames = frames(bytes);
    for (number, frame) in frames.iter().enumerate() {
        let (at, which) = (frame.start, Some((number, number + 1 == frames.len())));
        let kind = bytes[at + 4];
        let body = at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + u32_at(bytes, at + 40);
        let class = match kind {
            BATCH => "whole frame",
            _ => "control frame",
        };
        regions.push(Region { class, range: frame.clone(), frame: which });
        if kind != BATCH {
            continue;
        }
        regions.extend(fields(FRAME_HEADER, at, which));
        let parts = [("batch offset", 0..8), ("batch length", 8..12), ("batch epoch", 12..16), ("batch magic", 16..17)];
        for (class, range) in parts {
            regions.push(Region { class, range: body.start + range.start..body.start + range.end, frame: which });
        }
        regions.push(Region { class: "batch rest", range: body.start + 17..body.end, frame: which });
        if body.end < frame.end {
            regions.push(Region { class: "padding", range: body.end..frame.end, frame: which });
        }
    }
    let end = frames.last().map_or(FILE_HEADER_BYTES, |frame| frame.end);
    regions.push(Region { class: "tail", range: end..bytes.len(), frame: None });
    regions
}

fn of_index(bytes: &[u8], index: Range<usize>) -> Vec<Region> {
    let begin = index.start;
    let mut regions: Vec<Region> = fields(INDEX_HEADER, begin, None).collect();
    let (records, entries) = (u32_at(bytes, begin + 32), u32_at(bytes, begin + 40));
    let mut at = begin + FILE_HEADER_BYTES;
    let mut several = |class, count: usize, size: usize| {
        for _ in 0..count {
            regions.push(Region { class, range: at..at + size, frame: None });
            at += size;
        }
    };
    several("directory record", records, DIRECTORY_RECORD_BYTES);
    several("queue entry", entries, ENTRY_BYTES);
    several("state section", 1, u32_at(bytes, begin + 36));
    assert_eq!(at, index.end, "the byte map covers the index");
    regions
}
