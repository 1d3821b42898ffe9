//! Checkpoints of the active file: what a recovery would otherwise have to read from its frames.
//!
//! Written by the housekeeping whenever enough has become durable since the last one, and when the log is closed. A checkpoint
//! is a chain of files: each holds the queue entries since the one before, so that all of them together cost no more than one,
//! and the state of all partitions, of which the last one counts. It is written only when all it reflects is durable.

use crate::LogFailure;
use crate::files::{checkpoint_path, remove_if_there};
use crate::format::index::{IndexAbout, IndexKind, QueueEntry};
use crate::format::state;
use crate::house::House;
use crate::index_file::IndexFile;
use crate::log::{Log, State};
use crate::snapshot::StateCopy;
use duolog_base::PartitionNumber;
use std::io;
use std::ops::Range;
use std::path::Path;

/// The state of all partitions is written with every link: a link is put off until the log has grown by so many times its size.
const STATE_SHARE: u64 = 16;
/// Links of one chain; then it is written anew as one.
const MAX_LINKS: usize = 32;
/// Entries copied, and partitions looked at, in one go under the lock.
const CHUNK_ENTRIES: usize = 4 << 10;
const CHUNK_PARTITIONS: usize = 256;

/// The chain of the active file, as far as it is written.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// Where the entries of each link begin; the link's name says the same. The first begins with its log file.
    pub links: Vec<u64>,
    /// The position that the last link reflects.
    pub end: u64,
    /// State that waits to be durable, to be written with the next link.
    pub waiting: Option<StateCopy>,
}

impl Log {
    /// Takes the next link on its way if it is due.
    pub(crate) fn checkpoint_step(&self, house: &mut House) -> Result<(), LogFailure> {
        let (durable, file_base, due) = {
            let state = self.state.lock();
            (state.progress.durable, state.file_base, state.progress.durable >= state.checkpoint_at)
        };
        if house.chain.waiting.is_none() && due {
            house.chain.waiting = Some(self.copy_state());
        }
        let Some(copy) = house.chain.waiting.take() else { return Ok(()) };
        if copy.file_base != file_base {
            // That file is full and will be sealed: it needs no checkpoint any more.
            self.state.lock().checkpoint_at = file_base + self.options.checkpoint_bytes;
            return Ok(());
        }
        if durable < copy.position {
            self.state.lock().checkpoint_at = copy.position;
            house.chain.waiting = Some(copy);
            return Ok(());
        }
        self.write_link(house, &copy)
    }

    /// Writes down what is known at the end of the active file, all of it durable, so that the next opening reads no frames.
    pub(crate) fn write_checkpoint(&self) -> Result<(), LogFailure> {
        let mut house = self.house.lock();
        let copy = self.copy_state();
        assert_eq!(self.state.lock().progress.durable, copy.position, "a checkpoint is written when everything is durable");
        if house.chain.end == copy.position && house.chain.links.last().is_some_and(|from| *from >= copy.file_base) {
            return Ok(());
        }
        self.write_link(&mut house, &copy)
    }

    fn write_link(&self, house: &mut House, copy: &StateCopy) -> Result<(), LogFailure> {
        let chain = &mut house.chain;
        let goes_on = chain.links.last().is_some_and(|last| *last >= copy.file_base) && chain.links.len() < MAX_LINKS;
        let from = if goes_on { chain.end } else { copy.file_base };
        let path = checkpoint_path(&self.dir, from);
        let about = IndexAbout { kind: IndexKind::Checkpoint, generation: copy.generation, base: from, end: copy.position };
        let written = self.write_index(&path, about, &copy.section);
        let interval = self.options.checkpoint_bytes.max(STATE_SHARE * copy.section.len() as u64);
        self.state.lock().checkpoint_at = copy.position + interval;
        match written {
            // Only the next opening is the slower for it.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(path = %path.display(), "no space for a checkpoint");
                return Ok(());
            }
            result => result.map_err(|error| self.fail("checkpoint", &path, error))?,
        }
        self.counters.checkpoints.add(1);
        tracing::debug!(from, end = copy.position, "checkpoint written");
        chain.end = copy.position;
        if goes_on {
            chain.links.push(from);
            return Ok(());
        }
        let before = std::mem::replace(&mut chain.links, vec![from]);
        self.remove_links(before.into_iter().filter(|link| *link != from))
    }

    /// Removes the links of a file that was sealed.
    pub(crate) fn drop_links_before(&self, house: &mut House, end: u64) -> Result<(), LogFailure> {
        let (gone, left) = std::mem::take(&mut house.chain.links).into_iter().partition(|link| *link < end);
        house.chain.links = left;
        let gone: Vec<u64> = gone;
        self.remove_links(gone.into_iter())
    }

    fn remove_links(&self, links: impl Iterator<Item = u64>) -> Result<(), LogFailure> {
        for link in links {
            let path = checkpoint_path(&self.dir, link);
            remove_if_there(self.disk.as_ref(), &path).map_err(|error| self.fail("remove", &path, error))?;
        }
        Ok(())
    }

    /// Writes an index of the unsealed batches from one position to another, as they were at the second one, with the state there.
    pub(crate) fn write_index(&self, path: &Path, about: IndexAbout, section: &[u8]) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a state section does not read back");
        let ends = state::ends(section).ok_or_else(damaged)?;
        let mut file = IndexFile::create(self.disk.as_ref(), path, ends.len())?;
        let mut walk = UnsealedWalk { ends: &ends, at: 0, from: about.base, range: about.base..about.end };
        let mut chunk = Vec::with_capacity(CHUNK_ENTRIES);
        let mut begun = 0;
        while walk.at < ends.len() {
            walk.copy_chunk(&self.state.lock(), &mut chunk);
            for (at, entry) in chunk.drain(..) {
                ends[begun..=at].iter().for_each(|(number, end)| file.begin(*number, *end));
                begun = at + 1;
                file.push(&entry);
            }
        }
        ends[begun..].iter().for_each(|(number, end)| file.begin(*number, *end));
        file.finish(&self.dir, about, section)
    }
}

/// A walk over the unsealed entries of many partitions, some at a time.
struct UnsealedWalk<'a> {
    /// Partitions in ascending order, with their ends.
    ends: &'a [(u32, i64)],
    /// The next partition to look at, and the position to go on from in there.
    at: usize,
    from: u64,
    /// The positions of interest.
    range: Range<u64>,
}

impl UnsealedWalk<'_> {
    /// Adds some entries to `chunk`, each with the place of its partition in the list.
    fn copy_chunk(&mut self, state: &State, chunk: &mut Vec<(usize, QueueEntry)>) {
        for (number, _) in self.ends[self.at..].iter().take(CHUNK_PARTITIONS) {
            let room = CHUNK_ENTRIES - chunk.len();
            let before = chunk.len();
            if let Some(known) = state.partitions.get(&PartitionNumber(*number)) {
                let entries = known.unsealed_as_of(self.from, self.range.end);
                chunk.extend(entries.take(room).map(|entry| (self.at, entry)));
            }
            if let Some((_, last)) = chunk[before..].last().filter(|_| chunk.len() == CHUNK_ENTRIES) {
                // There may be more of this partition.
                self.from = last.end_position();
                return;
            }
            self.at += 1;
            self.from = self.range.start;
        }
    }
}
