//! One process a data directory: an advisory lock on `DATA/.lock`, given back by the system when the process ends.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Why the directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("data directory {directory} is in use by another process")]
    InUse { directory: PathBuf },
    #[error("cannot lock data directory {directory}: {error}")]
    Io { directory: PathBuf, error: io::Error },
}

/// Holds the lock until dropped.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Creates the directory if need be and takes it.
    pub(super) fn take(directory: &Path) -> Result<DirectoryLock, LockError> {
        let failed = |error| LockError::Io { directory: directory.to_owned(), error };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(directory.join(".lock")).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirectoryLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse { directory: directory.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }
}
