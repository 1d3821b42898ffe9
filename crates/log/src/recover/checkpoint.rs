//! The checkpoint of a file that has no sealed index: the state from which its scan goes on.

use super::Recovery;
use crate::OpenError;
use crate::files::{checkpoint_path, remove_if_there};
use crate::format::index::{IndexKind, IndexProblem, IndexView};
use crate::format::{FORMAT_VERSION, state};
use crate::map::FileBytes;
use crate::partition::Partition;
use duolog_base::{OpenMode, PartitionNumber};
use hashbrown::HashMap;
use std::io;

impl Recovery<'_> {
    /// Loads what the checkpoint of the file at `base` has to say; answers the position it reflects, if there is one. A file may be
    /// shorter than that if it was damaged: what it has lost is known, and found missing by whoever reads it.
    pub(super) fn load_checkpoint(&mut self, base: u64) -> Result<Option<u64>, OpenError> {
        let mut links = Vec::new();
        let mut end = base;
        while let Some((bytes, next)) = self.read_link(end)? {
            links.push((end, bytes));
            end = next;
        }
        self.chain.links = links.iter().map(|(from, _)| *from).collect();
        self.chain.end = end;
        let Some((_, last)) = links.last() else { return Ok(None) };
        let last = view(last);
        let partitions = state::decode(last.state()).expect("looked at when the link was read");
        self.partitions = partitions.into_iter().map(|(number, partition)| (PartitionNumber(number), partition)).collect();
        self.generation = self.generation.max(last.header.generation);
        self.trusted = true;
        for (_, bytes) in &links {
            restore_entries(&mut self.partitions, &view(bytes));
        }
        Ok(Some(end))
    }

    /// Whether a checkpoint says that the file at `base` was written to and durable.
    pub(super) fn has_checkpoint(&self, base: u64) -> Result<bool, OpenError> {
        Ok(self.read_link(base)?.is_some())
    }

    /// The link whose entries begin at `from`, and the position it reflects; `None` if it is not there or not usable.
    fn read_link(&self, from: u64) -> Result<Option<(FileBytes, u64)>, OpenError> {
        let path = checkpoint_path(self.dir, from);
        let io_error = |error| OpenError::Io { path: path.clone(), error };
        let file = match self.disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(io_error)?,
        };
        let bytes = FileBytes::of_sealed(file.as_ref()).map_err(io_error)?;
        let end = match IndexView::check(&bytes, IndexKind::Checkpoint) {
            Err(IndexProblem::NewerVersion(found)) => {
                return Err(OpenError::NewerFormat { path, found, supported: FORMAT_VERSION });
            }
            Ok(view) if view.header.base == from && view.header.end > from => {
                // One that reaches further belongs to the next file, one of an older generation to a file that is gone.
                let next_base = self.bases.iter().copied().find(|base| *base > from);
                let fits = next_base.is_none_or(|next| view.header.end <= next) && view.header.generation >= self.generation;
                let sound = fits && view.entries_are_intact() && state::decode(view.state()).is_some();
                sound.then_some(view.header.end)
            }
            _ => None,
        };
        if end.is_none() {
            tracing::warn!(path = %path.display(), "checkpoint is of no use; the log file is read instead");
        }
        Ok(end.map(|end| (bytes, end)))
    }

    /// Removes checkpoints that belong to nothing that is still to be recovered.
    pub(super) fn remove_stale_checkpoints(&self) -> Result<(), OpenError> {
        for from in self.checkpoints.iter().filter(|from| !self.chain.links.contains(from)) {
            let path = checkpoint_path(self.dir, *from);
            remove_if_there(self.disk, &path).map_err(|error| OpenError::Io { path, error })?;
        }
        Ok(())
    }
}

fn view(bytes: &FileBytes) -> IndexView<'_> {
    IndexView::split(bytes, IndexKind::Checkpoint).expect("checked when the link was read, and immutable since")
}

fn restore_entries(partitions: &mut HashMap<PartitionNumber, Partition>, link: &IndexView<'_>) {
    for record in link.records().filter(|record| record.entries > 0) {
        // A partition that is not in the last link was dropped.
        if let Some(partition) = partitions.get_mut(&PartitionNumber(record.partition)) {
            let end = partition.cuts().end_for(link.header.end);
            link.run(&record).below(end).iter().for_each(|entry| partition.restore_entry(entry));
        }
    }
}
