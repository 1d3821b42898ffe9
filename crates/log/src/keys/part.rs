//! A part file of the key index: immutable, mapped, searched without any lock.
//!
//! Derived from the log: a damaged one is dropped and its positions are read again.

use crate::files::keys_path;
use crate::format::keys::{KeyEntry, KeysHeader, KeysProblem, KeysView};
use crate::map::FileBytes;
use duolog_base::{Disk, OpenMode};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Part {
    header: KeysHeader,
    bytes: FileBytes,
    /// Somebody has met a damaged block.
    damaged: AtomicBool,
}

impl Part {
    /// The part whose positions begin at `from`, of which only the header is checked.
    pub fn open(disk: &dyn Disk, dir: &Path, from: u64) -> io::Result<Result<Part, KeysProblem>> {
        let file = disk.open(&keys_path(dir, from), OpenMode::Read)?;
        let bytes = FileBytes::of_sealed(file.as_ref())?;
        let header = match KeysView::check(&bytes) {
            Ok(view) if view.header.from == from => view.header,
            Ok(_) => return Ok(Err(KeysProblem::Header)),
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(Ok(Part { header, bytes, damaged: AtomicBool::new(false) }))
    }

    pub fn from(&self) -> u64 {
        self.header.from
    }

    pub fn to(&self) -> u64 {
        self.header.to
    }

    /// The positions it covers.
    pub fn range(&self) -> Range<u64> {
        self.header.from..self.header.to
    }

    pub fn entries(&self) -> usize {
        self.header.entries as usize
    }

    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// The entries of a hash, ascending; fewer than there are if the part turns out to be damaged.
    pub fn find(&self, hash: u64) -> Vec<KeyEntry> {
        let mut found = Vec::new();
        let searched = self.view().and_then(|view| view.find(hash, &mut |entry| found.push(entry)));
        if let Err(problem) = searched {
            self.note(problem);
        }
        found
    }

    /// All entries, unless it turns out to be damaged.
    pub fn all(&self) -> Option<Vec<KeyEntry>> {
        match self.view().and_then(|view| view.all()) {
            Ok(all) => Some(all),
            Err(problem) => {
                self.note(problem);
                None
            }
        }
    }

    fn view(&self) -> Result<KeysView<'_>, KeysProblem> {
        KeysView::check(&self.bytes)
    }

    fn note(&self, problem: KeysProblem) {
        if !self.damaged.swap(true, Ordering::Relaxed) {
            tracing::warn!(from = self.header.from, problem = problem.describe(), "part of the key index is built again");
        }
    }
}
