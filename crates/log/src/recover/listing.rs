//! What lies in the log's directory: which files make up the log, and which are left-overs that go.
//!
//! A tidied file takes the place of all files whose positions it covers. They are removed after it was published; a crash may
//! have come before that.

use crate::OpenError;
use crate::files::{FileName, log_path, queues_path, remove_if_there, spare_path, tidied_path};
use crate::format::FORMAT_VERSION;
use crate::format::index::IndexProblem;
use crate::recycle::Condemned;
use crate::sealed::{Sealed, SealedProblem};
use crate::tidy::rebuild_tidied;
use duolog_base::{Disk, Position};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory, after what is of no use is gone.
pub(super) struct Listing {
    /// Where the files of the log begin, ascending.
    pub bases: Vec<u64>,
    pub tidied: BTreeMap<u64, Arc<Sealed>>,
    /// Where the links of checkpoints begin.
    pub checkpoints: Vec<u64>,
    pub spares: Vec<Condemned>,
}

impl Listing {
    pub fn read(disk: &dyn Disk, dir: &Path, keep_spares: usize) -> Result<Listing, OpenError> {
        let io_error = |error| OpenError::Io { path: dir.to_owned(), error };
        let names = disk.list(dir).map_err(io_error)?;
        let names: Vec<FileName> = names.iter().filter_map(|name| FileName::parse(name)).collect();
        let mut logs: Vec<u64> =
            names.iter().filter_map(|name| if let FileName::Log(base) = name { Some(*base) } else { None }).collect();
        logs.sort_unstable();
        let tidied = open_tidied(disk, dir, &names, &logs)?;
        let superseded = |base: u64| {
            let before = tidied.range(..=base).next_back();
            before.is_some_and(|(_, file): (&u64, &Arc<Sealed>)| base < file.end)
        };
        logs.retain(|base| !superseded(*base));
        let mut listing = Listing { bases: Vec::new(), tidied: BTreeMap::new(), checkpoints: Vec::new(), spares: Vec::new() };
        let remove = |path: PathBuf| remove_if_there(disk, &path).map_err(io_error);
        if !tidied.is_empty() {
            // A process may have died right after giving a tidied file its name: what it was made of must not go before that.
            disk.sync_dir(dir).map_err(io_error)?;
        }
        for name in names {
            match name {
                FileName::Log(base) if superseded(base) => remove(log_path(dir, base))?,
                FileName::Queues(base) if logs.binary_search(&base).is_err() => remove(queues_path(dir, base))?,
                FileName::Tidied(base) if superseded(base) && !tidied.contains_key(&base) => remove(tidied_path(dir, base))?,
                FileName::Checkpoint(from) => listing.checkpoints.push(from),
                FileName::Spare(base) if listing.spares.len() < keep_spares => {
                    listing.spares.push(Condemned::found(disk, spare_path(dir, base)).map_err(io_error)?);
                }
                FileName::Spare(base) => remove(spare_path(dir, base))?,
                FileName::Log(_) | FileName::Queues(_) | FileName::Tidied(_) | FileName::Keys(_) | FileName::Unfinished => {}
            }
        }
        remove_unfinished(disk, dir).map_err(io_error)?;
        listing.bases = logs;
        listing.bases.extend(tidied.keys());
        listing.bases.sort_unstable();
        listing.tidied = tidied;
        Ok(listing)
    }
}

fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = disk.list(dir)?;
    let unfinished = names.iter().filter(|name| FileName::parse(name) == Some(FileName::Unfinished));
    unfinished.map(|name| dir.join(name)).try_for_each(|path| disk.remove(&path))
}

/// The tidied files that are part of the log: not those that a larger one has taken in.
fn open_tidied(disk: &dyn Disk, dir: &Path, names: &[FileName], logs: &[u64]) -> Result<BTreeMap<u64, Arc<Sealed>>, OpenError> {
    let mut bases: Vec<u64> =
        names.iter().filter_map(|name| if let FileName::Tidied(base) = name { Some(*base) } else { None }).collect();
    bases.sort_unstable();
    let mut tidied = BTreeMap::new();
    let mut covered = 0;
    for base in bases {
        if base < covered {
            continue;
        }
        let path = tidied_path(dir, base);
        match Sealed::open_tidied(disk, dir, base) {
            Ok(file) => {
                covered = file.end;
                tidied.insert(base, Arc::new(file));
            }
            Err(SealedProblem::Io(error)) => return Err(OpenError::Io { path, error }),
            Err(SealedProblem::Index(IndexProblem::NewerVersion(found))) => {
                return Err(OpenError::NewerFormat { path, found, supported: FORMAT_VERSION });
            }
            Err(SealedProblem::Index(problem)) => {
                tracing::warn!(path = %path.display(), problem = problem.describe(), "a tidied file is written anew from its frames");
                let io_error = |error| OpenError::Io { path: path.clone(), error };
                if let Some(file) = rebuild_tidied(disk, dir, base).map_err(io_error)? {
                    covered = file.end;
                    tidied.insert(base, Arc::new(file));
                } else if logs.binary_search(&base).is_ok() {
                    tracing::warn!(path = %path.display(), "the files it was made of are used instead");
                    disk.rename(&path, &path.with_extension("tidied.damaged")).map_err(io_error)?;
                } else {
                    return Err(OpenError::Corrupt { path, position: Position(base), problem: problem.describe() });
                }
            }
        }
    }
    Ok(tidied)
}
