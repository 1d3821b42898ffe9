//! The key index: where in the log messages with a key are.
//!
//! The log does not know what a key is: core gives it a function that says which hashes a batch has. Only batches whose tag word says
//! that a RocketMQ client sent them ([`crate::TAGS_KNOWN`]) are asked. The dedicated layout has no such index.
//!
//! The newest keys are in memory (`memory`), taken by the append itself, in the order of the log. `steps` writes them as part files
//! (`part`), each of which covers a range of positions, as far as these are durable: so a part never speaks of positions that are
//! written anew after a crash. What neither covers is a gap (`gaps`), which `rebuild` fills from the log. All of it is derived.
//!
//! An answer is a list of places to look at: hashes collide, and messages die. Called by `append`, `house`, `threads`, and
//! by the store's queries.

mod gaps;
mod memory;
mod part;
mod rebuild;
mod steps;
pub(crate) mod verify;

use crate::TAGS_KNOWN;
use crate::append::Queued;
use crate::files::{FileName, keys_path, remove_if_there, write_whole};
use crate::format::file_header::FILE_HEADER_BYTES;
use crate::format::frame::frame_bytes;
use crate::format::keys::{KeyEntry, encode};
use crate::log::Log;
use arc_swap::ArcSwap;
use duolog_base::{Disk, Offset, PartitionNumber};
use gaps::Gaps;
use hashbrown::HashSet;
use memory::{Memory, PlacedKey};
use parking_lot::Mutex;
use part::Part;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Names the keys of a batch: for each of them the message's offset less the base offset, and the key's hash. Batches that cannot be
/// decoded have none. The same batch must have the same keys for ever.
pub type KeyExtractor = fn(batch: &[u8], found: &mut dyn FnMut(i32, u64));

/// How keys are indexed.
#[derive(Clone, Copy, Debug)]
pub struct KeyOptions {
    pub extractor: KeyExtractor,
    /// Keys in memory (32 bytes each) at which they are written as a part. Twice as many if the disk is full; what is more is read
    /// from the log again when there is room.
    pub in_memory: usize,
}

/// Where messages with a key may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlaces {
    /// Newest first, as far as the index knows: by ranges of the log, and by offset within a partition.
    pub places: Vec<(PartitionNumber, Offset)>,
    /// False while part of the index is being built: there may be more.
    pub complete: bool,
}

/// A key of a batch that is about to be appended.
pub(crate) struct FoundKey {
    /// Which batch of the append.
    batch: usize,
    offset_delta: i32,
    hash: u64,
}

pub(crate) struct KeyIndex {
    options: KeyOptions,
    /// Taken for moments, by appends with the log's state held.
    memory: Mutex<Memory>,
    /// In ascending order of their first positions.
    parts: ArcSwap<Vec<Arc<Part>>>,
    /// Held by whoever writes or removes parts.
    changing: Mutex<Changing>,
    /// A file was sealed since the last part was written.
    due: AtomicBool,
}

#[derive(Default)]
struct Changing {
    /// The disk was full; the next try comes with the next step of the housekeeping.
    stalled: bool,
    /// Beginnings of ranges that could not be read.
    unreadable: Vec<u64>,
}

impl KeyIndex {
    /// Takes the parts that are there, of a log that was just opened: it has these positions, the last frame is that of its new
    /// generation, and the file it goes on with begins at `file_base`.
    pub fn open(disk: &dyn Disk, dir: &Path, options: KeyOptions, log: Range<u64>, file_base: u64) -> io::Result<KeyIndex> {
        let (oldest, generation_at) = (log.start, log.end - frame_bytes(0));
        // What has no keys is no gap.
        let end = if generation_at == file_base + FILE_HEADER_BYTES as u64 { file_base } else { generation_at };
        let mut parts = Vec::new();
        for name in disk.list(dir)? {
            let Some(FileName::Keys(from)) = FileName::parse(&name) else { continue };
            match Part::open(disk, dir, from)? {
                Ok(part) if part.to() > oldest && part.to() <= end => parts.push(Arc::new(part)),
                Ok(_) => remove_if_there(disk, &keys_path(dir, from))?,
                Err(problem) => {
                    tracing::warn!(from, problem = problem.describe(), "part of the key index is built again");
                    remove_if_there(disk, &keys_path(dir, from))?;
                }
            }
        }
        parts.sort_unstable_by_key(|part| part.from());
        let gaps = Gaps::between(oldest..end, parts.iter().map(|part| part.range()));
        Ok(KeyIndex {
            memory: Mutex::new(Memory::new(end, gaps, options.in_memory)),
            options,
            parts: ArcSwap::from_pointee(parts),
            changing: Mutex::default(),
            due: AtomicBool::new(false),
        })
    }

    /// The keys of an append's batches, in their order: of those that are given with a word of their tags.
    pub fn extract<'a>(&self, buffer: &[u8], batches: impl Iterator<Item = (&'a Range<usize>, u64)>) -> Vec<FoundKey> {
        let mut found = Vec::new();
        for (index, (range, _)) in batches.enumerate().filter(|(_, (_, tag_filter))| tag_filter & TAGS_KNOWN != 0) {
            let mut take = |offset_delta, hash| found.push(FoundKey { batch: index, offset_delta, hash });
            (self.options.extractor)(&buffer[range.clone()], &mut take);
        }
        found
    }

    /// Takes the keys of what was accepted and queued, with the log's state held. True if it is time to write a part.
    pub fn take(&self, found: &[FoundKey], is_new: impl Iterator<Item = bool>, queued: &[Queued]) -> bool {
        let accepted = is_new.enumerate().filter(|(_, is_new)| *is_new).map(|(index, _)| index);
        let frames = queued.iter().filter_map(|queued| match queued {
            Queued::Frame { header, .. } => Some(header),
            Queued::NextFile { .. } => None,
        });
        let mut memory = self.memory.lock();
        let mut filled = false;
        for (batch, frame) in accepted.zip(frames) {
            let first = found.partition_point(|key| key.batch < batch);
            for key in found[first..].iter().take_while(|key| key.batch == batch) {
                let offset = frame.offset + i64::from(key.offset_delta);
                let entry = KeyEntry { hash: key.hash, partition: frame.partition, offset };
                filled |= memory.push(PlacedKey { entry, position: frame.position });
            }
        }
        memory.bound(self.options.in_memory * 2);
        filled && memory.len() >= self.options.in_memory
    }

    /// Up to `limit` places of a hash, of those that are `wanted`.
    fn find(&self, hash: u64, limit: usize, wanted: &mut dyn FnMut(PartitionNumber, Offset) -> bool) -> KeyPlaces {
        // What leaves memory, or is no gap any more, is in a part before: so parts are looked at last.
        let (chunks, current, mut complete) = {
            let memory = self.memory.lock();
            let (chunks, current) = memory.copy(|key| key.entry.hash == hash);
            (chunks, current, memory.gaps.is_empty())
        };
        let parts = self.parts.load_full();
        let mut seen = HashSet::new();
        let mut places = Vec::new();
        let mut take = |entry: &KeyEntry| {
            let place = (PartitionNumber(entry.partition), Offset(entry.offset));
            if places.len() < limit && wanted(place.0, place.1) && seen.insert(place) {
                places.push(place);
            }
            places.len() < limit
        };
        let newest = current.iter().rev().chain(chunks.iter().rev().flat_map(|chunk| chunk.iter().rev()));
        let mut newest = newest.map(|key| &key.entry).filter(|entry| entry.hash == hash);
        let more = newest.all(&mut take);
        for part in parts.iter().rev().take_while(|_| more) {
            let found = part.find(hash);
            complete &= !part.is_damaged();
            if !found.iter().rev().all(&mut take) {
                break;
            }
        }
        KeyPlaces { places, complete }
    }

    /// Makes a part of what is known of `range`, together with the one before if there is room in it. The caller holds `changing`.
    fn write_part(&self, disk: &dyn Disk, dir: &Path, range: Range<u64>, mut entries: Vec<KeyEntry>) -> io::Result<()> {
        let mut parts = self.parts.load().as_ref().clone();
        let has_room = |part: &Part| part.to() == range.start && part.entries() + entries.len() <= self.options.in_memory;
        let before = parts.iter().find(|part| has_room(part));
        let from = match before.and_then(|part| Some((part.from(), part.all()?))) {
            Some((from, older)) => {
                entries.extend(older);
                from
            }
            None => range.start,
        };
        entries.sort_unstable();
        entries.dedup();
        write_whole(disk, dir, &keys_path(dir, from), &[encode(from, range.end, &entries)])?;
        let part = Part::open(disk, dir, from)?;
        let part = part.map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem.describe()))?;
        parts.retain(|part| part.from() != from);
        parts.insert(parts.partition_point(|part| part.from() < from), Arc::new(part));
        self.parts.store(Arc::new(parts));
        self.memory.lock().gaps.cover(range);
        Ok(())
    }
}

impl Log {
    /// Where messages whose key has this hash may be, up to `limit` of the places that are `wanted`. The caller looks at the messages
    /// themselves. May wait for the disk, for pages of mapped files. Nothing is known without [`crate::LogOptions::keys`].
    pub fn find_key(&self, hash: u64, limit: usize, wanted: &mut dyn FnMut(PartitionNumber, Offset) -> bool) -> KeyPlaces {
        self.keys.as_ref().map_or_else(KeyPlaces::default, |keys| keys.find(hash, limit, wanted))
    }
}
