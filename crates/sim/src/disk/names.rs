//! The simulated name space: which names exist, which of them the medium knows, and the changes in between.
//!
//! A change is durable once the directory it was made in is synced; syncing a directory also makes durable that it exists
//! itself, as journalling file systems do. At a crash each other change survives or not, for itself; a rename is one change, and takes what
//! is in a directory with it.

use crate::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InodeNumber(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    File(InodeNumber),
    Directory,
}

#[derive(Clone, Debug)]
enum Change {
    Create { path: PathBuf, entry: Entry },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

impl Change {
    fn paths(&self) -> [&Path; 2] {
        match self {
            Change::Create { path, .. } | Change::Remove { path } => [path, path],
            Change::Rename { from, to } => [from, to],
        }
    }

    fn is_made_in(&self, dir: &Path) -> bool {
        self.paths().iter().any(|path| parent(path) == dir)
    }
}

type Entries = BTreeMap<PathBuf, Entry>;

#[derive(Clone, Default)]
pub(super) struct Names {
    now: Entries,
    durable: Entries,
    /// Changes that lead from `durable` to `now`, in order.
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn file(&self, path: &Path) -> io::Result<InodeNumber> {
        match self.now.get(path) {
            Some(Entry::File(inode)) => Ok(*inode),
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn check_absent(&self, path: &Path) -> io::Result<()> {
        match self.now.contains_key(path) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => self.check_directory(parent(path)),
        }
    }

    pub(super) fn check_directory(&self, dir: &Path) -> io::Result<()> {
        match self.now.get(dir) {
            Some(Entry::Directory) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None if is_root(dir) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create(&mut self, path: &Path, inode: InodeNumber) -> io::Result<()> {
        self.check_absent(path)?;
        self.change(Change::Create { path: path.to_owned(), entry: Entry::File(inode) });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.check_directory(parent(to))?;
        match (self.now.get(from), self.now.get(to)) {
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
            (Some(Entry::Directory), Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Entry::File(_)), Some(Entry::Directory)) => return Err(io::ErrorKind::IsADirectory.into()),
            _ => {}
        }
        if from != to {
            self.change(Change::Rename { from: from.to_owned(), to: to.to_owned() });
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.change(Change::Remove { path: path.to_owned() });
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        self.check_directory(path)?;
        if self.now.keys().any(|other| parent(other) == path) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.change(Change::Remove { path: path.to_owned() });
        Ok(())
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        for dir in path.ancestors() {
            match self.check_directory(dir) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(dir.to_owned()),
                Err(error) => return Err(error),
            }
        }
        for path in missing.into_iter().rev() {
            self.change(Change::Create { path, entry: Entry::Directory });
        }
        Ok(())
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.check_directory(dir)?;
        let children = self.now.keys().filter(|path| parent(path) == dir);
        Ok(children.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned()).collect())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.check_directory(dir)?;
        // Backwards: a change takes with it the earlier ones that made the names it is about.
        let mut paths: BTreeSet<PathBuf> = dir.ancestors().map(Path::to_owned).collect();
        let mut synced = vec![false; self.pending.len()];
        let mut moved: Vec<PathBuf> = Vec::new();
        for (index, change) in self.pending.iter().enumerate().rev() {
            // What was in a directory before its renaming goes with it.
            let within = change.paths().iter().any(|path| moved.iter().any(|dir| path.starts_with(dir)));
            if within || change.is_made_in(dir) || change.paths().iter().any(|path| paths.contains(*path)) {
                synced[index] = true;
                paths.extend(change.paths().map(Path::to_owned));
                if let Change::Rename { from, .. } = change {
                    moved.push(from.clone());
                }
            }
        }
        let pending = std::mem::take(&mut self.pending);
        for (change, synced) in pending.into_iter().zip(synced) {
            match synced {
                true => apply(&mut self.durable, &change),
                false => self.pending.push(change),
            }
        }
        Ok(())
    }

    pub(super) fn sync_all(&mut self) {
        self.pending.clear();
        self.durable = self.now.clone();
    }

    pub(super) fn crash(&mut self, random: &mut Random) {
        let chance = random.pick(&[0, 1, 2, 3, 4]);
        for change in std::mem::take(&mut self.pending) {
            if random.chance(chance, 4) {
                apply(&mut self.durable, &change);
            }
        }
        self.now = self.durable.clone();
    }

    /// Makes a name exist, durably, with its directories.
    pub(super) fn place(&mut self, path: &Path, inode: InodeNumber) {
        for dir in parent(path).ancestors().filter(|dir| !is_root(dir)) {
            self.now.insert(dir.to_owned(), Entry::Directory);
            self.durable.insert(dir.to_owned(), Entry::Directory);
        }
        self.now.insert(path.to_owned(), Entry::File(inode));
        self.durable.insert(path.to_owned(), Entry::File(inode));
    }

    /// Files that exist now, by name.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, InodeNumber)> {
        self.now.iter().filter_map(|(path, entry)| match entry {
            Entry::File(inode) => Some((path.as_path(), *inode)),
            Entry::Directory => None,
        })
    }

    pub(super) fn is_durable(&self) -> bool {
        self.pending.is_empty()
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.pending.push(change);
    }
}

/// Makes a change, unless one it builds on was lost.
fn apply(entries: &mut Entries, change: &Change) {
    let has_parent = |entries: &Entries, path: &Path| {
        let dir = parent(path);
        is_root(dir) || entries.get(dir) == Some(&Entry::Directory)
    };
    match change {
        Change::Create { path, entry } if has_parent(entries, path) => _ = entries.insert(path.clone(), *entry),
        Change::Rename { from, to } if has_parent(entries, to) => {
            let moved: Vec<PathBuf> = entries.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in moved {
                if let (Some(entry), Ok(rest)) = (entries.remove(&path), path.strip_prefix(from)) {
                    let place = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    entries.insert(place, entry);
                }
            }
        }
        // A directory that was not emptied on the medium stays.
        Change::Remove { path } if !entries.keys().any(|other| parent(other) == path) => _ = entries.remove(path),
        Change::Create { .. } | Change::Rename { .. } | Change::Remove { .. } => {}
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Directories that always exist: the root, and the one that relative paths start from.
fn is_root(dir: &Path) -> bool {
    dir.parent().is_none()
}
