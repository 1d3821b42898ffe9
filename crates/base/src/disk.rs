//! The door to the file system: positioned reads and writes, explicit syncs, nothing buffered.
//!
//! [`RealDisk`] maps each call to one system call. The simulator's disk (crate `duolog-sim`) keeps unsynced
//! pages apart, so that a test can lose, tear or corrupt them. Rules every caller follows:
//! a file's data is durable only after [`DiskFile::sync_data`]; a created, renamed or removed *name* only after
//! [`Disk::sync_dir`] of its directory.

#[cfg(target_os = "linux")]
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// How [`Disk::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// A file system, real or simulated.
pub trait Disk: Send + Sync + 'static {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file for writes around the page cache, where the file system can do that. Positions, lengths and memory of writes
    /// are multiples of [`DIRECT_ALIGNMENT`].
    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, OpenMode::Write)
    }
    /// Renames a file, replacing what is at `to`; or a directory, to a name that is free.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names (not paths) of the files and directories in a directory, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes created, renamed and removed names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes everything on the file system that holds `dir` durable, data and names: cheaper than syncing hundreds of files.
    /// Reports failed write-backs (Linux 5.8 or later).
    fn sync_all(&self, dir: &Path) -> io::Result<()>;
    /// Bytes an unprivileged writer could still allocate on the file system that holds `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. All methods may be called from several threads at once.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `slices`, one after the other, from `position` on.
    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Makes written data (and the file's length) durable: `fdatasync`.
    fn sync_data(&self) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Writes zeros over `range`, whose bounds are multiples of [`DIRECT_ALIGNMENT`], without leaving them in the page cache where
    /// the file system can do that.
    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        write_zeros_from(&[0; CACHED_ZEROS], |slice, position| self.write_at(&[slice], position), range)
    }
    /// Asks for the file's pages to leave the page cache; true if none is left. A page that somebody refers to (a socket that has
    /// not sent it yet) stays, so true means that nobody would notice if the file, whose handles are the caller's alone, were
    /// overwritten. The file must be synced.
    fn evict(&self) -> io::Result<bool>;
    /// Like [`DiskFile::read_at`], but around the page cache where the file system can do that: what is there stays there, and
    /// nothing is added. Position, length and memory are multiples of [`DIRECT_ALIGNMENT`].
    fn read_direct_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.read_at(buffer, position)
    }
    /// Whether the page cache holds all of a range that is not empty; `None` if it cannot be told.
    fn is_cached(&self, _range: Range<u64>) -> Option<bool> {
        None
    }
    /// The descriptor behind the file, for `sendfile` and `mmap`; `None` in the simulator, where callers copy instead.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Fills `buffer` from `position` on; an error of kind `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        match self.read_at(buffer, position)? {
            n if n == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// What the positions, lengths and memory of reads and writes around the page cache are multiples of.
pub const DIRECT_ALIGNMENT: u64 = 4096;
/// Zeros of one write around the page cache, and of one into it.
const DIRECT_ZEROS: usize = 1 << 20;
const CACHED_ZEROS: usize = 16 << 10;

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// Slices one `pwritev` takes: Linux's IOV_MAX.
const SLICES_PER_WRITE: usize = 1024;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = File::options();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(options.open(path)?))
    }

    #[cfg(target_os = "linux")]
    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).open(path)?;
        match takes_direct(&file) {
            true => Ok(Arc::new(reopen_direct(&file, OFlags::RDWR)?)),
            false => Ok(Arc::new(file)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(dir)?)?)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match FileExt::read_at(self, &mut buffer[read..], position + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], mut position: u64) -> io::Result<()> {
        for group in slices.chunks(SLICES_PER_WRITE) {
            let bytes: usize = group.iter().map(|slice| slice.len()).sum();
            let mut written = match rustix::io::pwritev(self, group, position) {
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => 0,
                Err(error) => return Err(error.into()),
            };
            // A short write is rare (a signal, a full disk): finish slice by slice, so that the error surfaces.
            let mut start = 0;
            for slice in group {
                let end = start + slice.len();
                if written < end {
                    let rest = &slice[written.saturating_sub(start)..];
                    FileExt::write_all_at(self, rest, position + (end - rest.len()) as u64)?;
                    written = end;
                }
                start = end;
            }
            position += bytes as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    #[cfg(target_os = "linux")]
    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        if !takes_direct(self) {
            return write_zeros_from(&[0; CACHED_ZEROS], |slice, position| DiskFile::write_at(self, &[slice], position), range);
        }
        // Around the page cache: it costs a twentieth of the CPU, and a sync of the file finds none of it to write.
        let direct = reopen_direct(self, OFlags::RDWR)?;
        let memory = vec![0; DIRECT_ZEROS + DIRECT_ALIGNMENT as usize];
        let skip = memory.as_ptr().align_offset(DIRECT_ALIGNMENT as usize);
        let zeros = &memory[skip..skip + DIRECT_ZEROS];
        write_zeros_from(zeros, |slice, position| DiskFile::write_at(&direct, &[slice], position), range)
    }

    fn evict(&self) -> io::Result<bool> {
        crate::page_cache::evict(self)
    }

    #[cfg(target_os = "linux")]
    fn read_direct_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if !takes_direct(self) {
            return DiskFile::read_at(self, buffer, position);
        }
        // Opened for each read, which are large: a small part of their cost, and no descriptor to keep.
        let direct = reopen_direct(self, OFlags::RDONLY)?;
        let mut read = 0;
        // What is not aligned was the end of the file: nothing can be read from there on.
        while read < buffer.len() && (read as u64).is_multiple_of(DIRECT_ALIGNMENT) {
            match FileExt::read_at(&direct, &mut buffer[read..], position + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn is_cached(&self, range: Range<u64>) -> Option<bool> {
        crate::page_cache::holds(self, range)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

/// Whether the file system can read and write around the page cache what is aligned as ours is (statx(2), STATX_DIOALIGN).
#[cfg(target_os = "linux")]
fn takes_direct(file: &File) -> bool {
    let aligned = |needed: u32| needed > 0 && DIRECT_ALIGNMENT.is_multiple_of(u64::from(needed));
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
        .is_ok_and(|stat| aligned(stat.stx_dio_mem_align) && aligned(stat.stx_dio_offset_align))
}

/// The same file once more, to go around the page cache; also one whose name is gone.
#[cfg(target_os = "linux")]
fn reopen_direct(file: &File, access: OFlags) -> io::Result<File> {
    let flags = access | OFlags::DIRECT | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty())?.into())
}

/// Writes zeros over `range`, as many at a time as there are in `zeros`.
fn write_zeros_from(zeros: &[u8], write: impl Fn(IoSlice<'_>, u64) -> io::Result<()>, range: Range<u64>) -> io::Result<()> {
    let mut position = range.start;
    while position < range.end {
        let bytes = (range.end - position).min(zeros.len() as u64);
        write(IoSlice::new(&zeros[..bytes as usize]), position)?;
        position += bytes;
    }
    Ok(())
}
