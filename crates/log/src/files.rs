//! Names in the log's directory, and the small file operations that several modules share.

use duolog_base::{Disk, DiskFile, OpenMode};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Digits of a position in a file name.
const DIGITS: usize = 20;

/// What a name in the directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// A commit log file, by the position of its beginning.
    Log(u64),
    /// The sealed queue index of a commit log file.
    Queues(u64),
    /// A link of a checkpoint, by the position where its entries begin.
    Checkpoint(u64),
    /// A dead commit log file that waits to be used again; the number is the position it had.
    Spare(u64),
    /// A tidied file, which takes the place of all files from its position to the one it names.
    Tidied(u64),
    /// A part of the key index, by the position from which it knows all keys.
    Keys(u64),
    /// A file that was not finished.
    Unfinished,
}

impl FileName {
    pub fn parse(name: &str) -> Option<FileName> {
        let (stem, extension) = name.split_once('.')?;
        if stem.len() != DIGITS || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let base = stem.parse().ok()?;
        match extension {
            "log" => Some(FileName::Log(base)),
            "queues" => Some(FileName::Queues(base)),
            "checkpoint" => Some(FileName::Checkpoint(base)),
            "spare" => Some(FileName::Spare(base)),
            "tidied" => Some(FileName::Tidied(base)),
            "keys" => Some(FileName::Keys(base)),
            "queues.tmp" | "checkpoint.tmp" | "tidied.tmp" | "keys.tmp" => Some(FileName::Unfinished),
            _ => None,
        }
    }
}

pub fn log_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.log"))
}

pub fn queues_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.queues"))
}

pub fn checkpoint_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.checkpoint"))
}

pub fn spare_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.spare"))
}

pub fn tidied_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.tidied"))
}

pub fn keys_path(dir: &Path, from: u64) -> PathBuf {
    dir.join(format!("{from:020}.keys"))
}

/// The name of a tidied file while it is written.
pub fn unfinished_tidied_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.tidied.tmp"))
}

/// A file that has another name until it is whole.
pub struct Unfinished<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    unfinished: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl<'a> Unfinished<'a> {
    pub fn create(disk: &'a dyn Disk, path: &'a Path) -> io::Result<Unfinished<'a>> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".tmp");
        let unfinished = PathBuf::from(unfinished);
        remove_if_there(disk, &unfinished)?;
        let file = disk.open(&unfinished, OpenMode::CreateNew)?;
        Ok(Unfinished { disk, path, unfinished, file })
    }

    pub fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.file.write_at(slices, position)
    }

    /// Syncs it and gives it its name, durably, if all of it was written.
    pub fn finish(self, dir: &Path, written: io::Result<()>) -> io::Result<()> {
        let Unfinished { disk, path, unfinished, file } = self;
        let written = written.and_then(|()| file.sync_data());
        drop(file);
        if let Err(error) = written {
            if error.kind() == io::ErrorKind::StorageFull {
                // What was written of it is of no use, and space is what is wanted.
                remove_if_there(disk, &unfinished)?;
            }
            return Err(error);
        }
        disk.rename(&unfinished, path)?;
        disk.sync_dir(dir)
    }
}

/// Writes a whole file so that it is either there with all its bytes or not at all: under another name, synced, renamed.
pub fn write_whole(disk: &dyn Disk, dir: &Path, path: &Path, sections: &[Vec<u8>]) -> io::Result<()> {
    let file = Unfinished::create(disk, path)?;
    let slices: Vec<IoSlice<'_>> = sections.iter().map(|section| IoSlice::new(section)).collect();
    let written = file.write_at(&slices, 0);
    file.finish(dir, written)
}

pub fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.length()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

pub fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_and_strangers_left_alone() {
        let path = log_path(Path::new("/d"), 1 << 30);
        assert_eq!(path, Path::new("/d/00000000001073741824.log"));
        assert_eq!(FileName::parse("00000000001073741824.log"), Some(FileName::Log(1 << 30)));
        assert_eq!(FileName::parse("00000000000000000007.queues.tmp"), Some(FileName::Unfinished));
        assert_eq!(FileName::parse("00000000000000000007.keys"), Some(FileName::Keys(7)));
        assert_eq!(FileName::parse("7.log"), None);
        assert_eq!(FileName::parse("lost+found"), None);
    }
}
