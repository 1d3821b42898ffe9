//! Housekeeping: seals full files, writes checkpoints, repairs indexes, fills ahead of the writer, frees or recycles dead files,
//! watches the free space.
//!
//! One at a time (the `house` lock), in small portions, never on the way of an append.

use crate::checkpoint::Chain;
use crate::files::queues_path;
use crate::format::index::{IndexAbout, IndexKind};
use crate::log::{AppendLimits, FullFile, Log, OpenFile};
use crate::recycle::Condemned;
use crate::sealed::Sealed;
use crate::{AppendOrigin, LogFailure};
use duolog_base::{PartitionNumber, TimestampMs};
use std::io;
use std::sync::Arc;

/// Partitions looked at in one go under the lock.
const CHUNK_PARTITIONS: usize = 256;

/// What the housekeeping owns.
pub(crate) struct House {
    /// A file found dead, and the position before which all that killed it lies.
    condemned: Option<(u64, u64)>,
    /// The checkpoint of the active file.
    pub chain: Chain,
    /// Files whose damaged index could not be rebuilt.
    pub beyond_repair: Vec<u64>,
    /// Dead files that somebody may still see.
    pub waiting: Vec<Condemned>,
}

impl House {
    pub fn new(chain: Chain, waiting: Vec<Condemned>) -> House {
        House { condemned: None, chain, beyond_repair: Vec::new(), waiting }
    }
}

impl House {
    /// The oldest file may be another one now.
    pub fn forget_condemned(&mut self) {
        self.condemned = None;
    }
}

impl Log {
    /// Background work in small portions: zero-filling ahead, sealing rolled files, freeing and recycling dead
    /// files, checking free space. Called every second or so by core's housekeeping, may do disk I/O.
    pub fn house_step(&self, now: TimestampMs) -> Result<(), LogFailure> {
        self.prepare_step()?;
        let mut house = self.house.lock();
        if self.is_closed()? {
            return Ok(());
        }
        while self.free_oldest(&mut house)? {}
        self.keep_keys(self.oldest_position())?;
        self.recycle_step(&mut house);
        if self.check_space()? == 0 {
            self.remove_spares(&mut house)?;
            self.check_space()?;
        }
        drop(house);
        self.tidy_step(now)
    }

    /// The part of the housekeeping that the writer asks for: sealing, checkpoints, repair and zero-filling.
    pub(crate) fn prepare_step(&self) -> Result<(), LogFailure> {
        let mut house = self.house.lock();
        if self.is_closed()? {
            return Ok(());
        }
        while self.seal_oldest(&mut house)? {}
        self.checkpoint_step(&mut house)?;
        self.repair_step(&mut house)?;
        let spendable = self.check_space()?;
        self.zero_step(spendable)?;
        drop(house);
        self.write_keys_step()
    }

    /// Seals what can be sealed, so that the next opening need not read it.
    pub(crate) fn seal_full_files(&self) -> Result<(), LogFailure> {
        let mut house = self.house.lock();
        while self.seal_oldest(&mut house)? {}
        Ok(())
    }

    /// Where the oldest file begins. The caller holds `house`, so that none is sealed meanwhile.
    fn oldest_position(&self) -> u64 {
        if let Some(oldest) = self.sealed.load().first() {
            return oldest.base;
        }
        let state = self.state.lock();
        state.files.front().map_or(state.file_base, |file| file.base)
    }

    /// Whether the files may belong to somebody else by now.
    pub(crate) fn is_closed(&self) -> Result<bool, LogFailure> {
        self.state.lock().progress.is_closed()
    }

    /// Looks at the free space and says how far appends may go; answers the bytes above the reserve.
    pub(crate) fn check_space(&self) -> Result<u64, LogFailure> {
        let free = self.disk.free_bytes(&self.dir).map_err(|error| self.fail("look at free space", &self.dir, error))?;
        let spendable = |origin| free.saturating_sub(self.options.reserve_for(origin));
        let filled_to = self.fill.lock().filled_to();
        let mut state = self.state.lock();
        let covered = state.progress.written.max(filled_to);
        let limit = |origin| match spendable(origin) {
            0 => 0,
            bytes => covered.saturating_add(bytes),
        };
        state.append_limits = AppendLimits { client: limit(AppendOrigin::Client), internal: limit(AppendOrigin::Internal) };
        Ok(spendable(AppendOrigin::Client))
    }

    /// Seals the oldest open file if it is full and durable.
    fn seal_oldest(&self, house: &mut House) -> Result<bool, LogFailure> {
        let (file, full) = {
            let state = self.state.lock();
            match state.files.front() {
                Some(file @ OpenFile { full: Some(full), .. }) if state.progress.durable >= full.end => {
                    (file.clone(), full.clone())
                }
                _ => return Ok(false),
            }
        };
        let path = queues_path(&self.dir, file.base);
        let sealed = match self.seal(&file, &full) {
            // Nothing depends on the index being there soon: the entries stay in memory until there is room for it.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(path = %path.display(), "no space to seal a file");
                return Ok(false);
            }
            result => result.map_err(|error| self.fail("seal", &path, error))?,
        };
        let mut files = self.sealed.load().as_ref().clone();
        files.push(Arc::new(sealed));
        self.counters.seals.add(1);
        if let Some(keys) = &self.keys {
            keys.file_was_sealed();
        }
        // Published before the entries go, so that a reader always finds them in one of the two.
        self.sealed.store(Arc::new(files));
        let numbers = self.partitions();
        for chunk in numbers.chunks(CHUNK_PARTITIONS) {
            let mut state = self.state.lock();
            let seal = |number| Some(state.partitions.get_mut(number)?.seal_before(full.end));
            let given_up: Vec<_> = chunk.iter().filter_map(seal).collect();
            drop(state);
            drop(given_up);
        }
        self.state.lock().files.pop_front();
        self.drop_links_before(house, full.end)?;
        Ok(true)
    }

    fn seal(&self, file: &OpenFile, full: &FullFile) -> io::Result<Sealed> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a sealed index does not read back");
        let about = IndexAbout { kind: IndexKind::Sealed, generation: file.generation, base: file.base, end: full.end };
        self.write_index(&queues_path(&self.dir, file.base), about, &full.state)?;
        match Sealed::open(self.disk.as_ref(), &self.dir, file.base, Some(file.handle.clone())) {
            Ok(sealed) => sealed.ok_or_else(damaged),
            Err(crate::sealed::SealedProblem::Io(error)) => Err(error),
            Err(crate::sealed::SealedProblem::Index(_)) => Err(damaged()),
        }
    }

    /// Frees the oldest sealed file if all it holds is dead for good. The newest one stays: it holds the state from which a
    /// recovery goes on in the file after it.
    fn free_oldest(&self, house: &mut House) -> Result<bool, LogFailure> {
        let oldest = match self.sealed.load().as_slice() {
            [oldest, _, ..] => oldest.clone(),
            _ => return Ok(false),
        };
        if !self.is_dead(house, &oldest) {
            return Ok(false);
        }
        let rest = self.sealed.load()[1..].to_vec();
        self.sealed.store(Arc::new(rest));
        let path = oldest.path(&self.dir);
        let gone = self.retire(house, oldest, None).and_then(|()| self.disk.sync_dir(&self.dir));
        gone.map_err(|error| self.fail("free", &path, error))?;
        self.forget_cuts();
        Ok(true)
    }

    /// Truncations before the oldest file concern nothing that is still there.
    fn forget_cuts(&self) {
        let oldest = self.oldest_position();
        for chunk in self.partitions().chunks(CHUNK_PARTITIONS) {
            let mut state = self.state.lock();
            for number in chunk {
                if let Some(known) = state.partitions.get_mut(number) {
                    known.forget_cuts_before(oldest);
                }
            }
        }
    }

    /// Whether no partition will ever read the file again. Takes two steps, so that what killed the file is on disk itself before
    /// the file goes.
    fn is_dead(&self, house: &mut House, file: &Sealed) -> bool {
        if let Some((base, killed_before)) = house.condemned
            && base == file.base
        {
            return self.state.lock().progress.durable >= killed_before;
        }
        let records: Vec<_> = file.index().records().filter(|record| record.entries > 0).collect();
        let dead = records.chunks(CHUNK_PARTITIONS).all(|chunk| {
            let state = self.state.lock();
            chunk.iter().all(|record| {
                let known = state.partitions.get(&PartitionNumber(record.partition));
                known.is_none_or(|known| {
                    let end = record.end_offset.min(known.cuts().end_for(file.end));
                    known.log_start() >= end || record.base_offset >= end
                })
            })
        });
        if !dead {
            return false;
        }
        let state = self.state.lock();
        house.condemned = Some((file.base, state.next));
        state.progress.durable >= state.next
    }
}
