//! Bytes of an immutable file: mapped where the file has a descriptor, copied into memory where it has none (the simulator).
//!
//! The only unsafe code of this crate.

use crate::files::read_whole;
use duolog_base::DiskFile;
use memmap2::{Mmap, MmapOptions};
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::AsRawFd;

#[derive(Debug)]
pub enum FileBytes {
    Mapped(Mmap),
    Copied(Vec<u8>),
}

impl FileBytes {
    /// A part of `file`, of which the same holds as for [`FileBytes::of_sealed`].
    pub fn of_part(file: &dyn DiskFile, part: Range<u64>) -> io::Result<FileBytes> {
        let bytes = usize::try_from(part.end - part.start).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let Some(descriptor) = file.descriptor().filter(|_| bytes > 0) else {
            let mut copy = vec![0; bytes];
            file.read_exact_at(&mut copy, part.start)?;
            return Ok(FileBytes::Copied(copy));
        };
        // SAFETY: as in `of_sealed`; tidied files are written and published in the same way and never used again.
        let map = unsafe { MmapOptions::new().offset(part.start).len(bytes).map(descriptor.as_raw_fd())? };
        Ok(FileBytes::Mapped(map))
    }

    /// The whole of `file`, which must be sealed: nobody writes to it or shortens it while the value lives.
    pub fn of_sealed(file: &dyn DiskFile) -> io::Result<FileBytes> {
        let Some(descriptor) = file.descriptor() else {
            return Ok(FileBytes::Copied(read_whole(file)?));
        };
        let bytes = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if bytes == 0 {
            return Ok(FileBytes::Copied(Vec::new()));
        }
        // SAFETY: a mapping is sound as long as the file's bytes do not change beneath it. Index files are written under another
        // name, renamed when complete, and from then on only ever unlinked by this process, which holds the directory's lock.
        let map = unsafe { MmapOptions::new().len(bytes).map(descriptor.as_raw_fd())? };
        Ok(FileBytes::Mapped(map))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map) => map,
            FileBytes::Copied(bytes) => bytes,
        }
    }
}
