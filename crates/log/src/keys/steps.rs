//! Writing parts of what is in memory, and removing those that speak of dead positions: a piece of the housekeeping.

use super::{Changing, KeyIndex};
use crate::LogFailure;
use crate::files::{keys_path, remove_if_there};
use crate::log::Log;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl KeyIndex {
    /// A file was sealed: the next opening should not have to read it for its keys.
    pub fn file_was_sealed(&self) {
        self.due.store(true, Ordering::Relaxed);
    }

    /// Whether `rebuild` has something to do.
    fn needs_rebuild(&self) -> bool {
        !self.memory.lock().gaps.is_empty() || self.parts.load().iter().any(|part| part.is_damaged())
    }
}

impl Log {
    /// Writes a part if enough keys are in memory, or if a file was sealed.
    pub(crate) fn write_keys_step(&self) -> Result<(), LogFailure> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let mut changing = keys.changing.lock();
        if self.is_closed()? {
            return Ok(());
        }
        let due = keys.due.load(Ordering::Relaxed) || keys.memory.lock().len() >= keys.options.in_memory;
        match due && !changing.stalled {
            true => self.write_keys(keys, &mut changing),
            false => Ok(()),
        }
    }

    /// Writes what is left in memory, so that the next opening reads nothing.
    pub(crate) fn close_keys(&self) -> Result<(), LogFailure> {
        self.keys.as_ref().map_or(Ok(()), |keys| self.write_keys(keys, &mut keys.changing.lock()))
    }

    fn write_keys(&self, keys: &KeyIndex, changing: &mut Changing) -> Result<(), LogFailure> {
        keys.due.store(false, Ordering::Relaxed);
        let (from, chunks, current) = {
            let memory = keys.memory.lock();
            let (chunks, current) = memory.copy(|_| true);
            (memory.from(), chunks, current)
        };
        let to = self.durable_position().0;
        if to <= from {
            return Ok(());
        }
        let all = chunks.iter().flat_map(|chunk| chunk.iter()).chain(&current);
        let entries = all.take_while(|key| key.position < to).map(|key| key.entry).collect();
        match keys.write_part(self.disk.as_ref(), &self.dir, from..to, entries) {
            Ok(()) => {
                self.counters.key_parts.add(1);
                keys.memory.lock().discard_before(to);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(dir = %self.dir.display(), "no space to write a part of the key index");
                changing.stalled = true;
                keys.due.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.fail("write the key index", &keys_path(&self.dir, from), error)),
        }
    }

    /// What comes with the clock: removes parts of what is gone, tries again what could not be done. The log begins at `oldest`.
    pub(crate) fn keep_keys(&self, oldest: u64) -> Result<(), LogFailure> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let mut changing = keys.changing.lock();
        changing.stalled = false;
        let (kept, gone): (Vec<_>, Vec<_>) = keys.parts.load().iter().cloned().partition(|part| part.to() > oldest);
        if !gone.is_empty() {
            keys.parts.store(Arc::new(kept));
        }
        for part in gone {
            let path = keys_path(&self.dir, part.from());
            remove_if_there(self.disk.as_ref(), &path).map_err(|error| self.fail("remove", &path, error))?;
        }
        keys.memory.lock().gaps.cover(0..oldest);
        drop(changing);
        if keys.needs_rebuild() {
            self.state.lock().keys_wanted = true;
            self.keys_signal.notify_one();
        }
        Ok(())
    }
}
