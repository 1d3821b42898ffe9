//! The small file operations of the dedicated layout.

use crate::files::{read_whole, remove_if_there};
use duolog_base::{Disk, DiskFile, OpenMode};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Puts a file in place of another, with all its bytes or not at all. The name is durable after a sync of the directory.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    let unfinished = PathBuf::from(unfinished);
    create(disk, &unfinished, bytes)?.sync_data()?;
    disk.rename(&unfinished, path)
}

/// Writes a new file over whatever has its name, without making it durable.
pub fn create(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
    remove_if_there(disk, path)?;
    let file = disk.open(path, OpenMode::CreateNew)?;
    if !bytes.is_empty() {
        file.write_at(&[IoSlice::new(bytes)], 0)?;
    }
    Ok(file)
}

/// The bytes of a file, if it is there.
pub fn read_if_there(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match disk.open(path, OpenMode::Read) {
        Ok(file) => read_whole(file.as_ref()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
