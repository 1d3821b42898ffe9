//! Which pages of a file the kernel holds in memory, and asking it to give them up.
//!
//! A page that somebody else refers to (a socket to which `sendfile` gave it, until the receiver has acknowledged it) is not given
//! up. So a file without a single page in the cache is one that nobody refers to any more. The only unsafe code of this crate.

use std::fs::File;
use std::io;
use std::ops::Range;

/// Bytes of a page of the cache; a kernel with larger ones has fewer, and `holds` says no.
#[cfg(target_os = "linux")]
const PAGE_BYTES: u64 = 4096;

/// Asks the kernel to forget a clean file's pages; true if none is left.
#[cfg(target_os = "linux")]
pub fn evict(file: &File) -> io::Result<bool> {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    // A length of zero means: to the end of the file.
    match cached_pages(file, 0, 0) {
        Ok(pages) => Ok(pages == 0),
        // Older than Linux 6.5, or forbidden here: then nothing is known.
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
pub fn evict(_file: &File) -> io::Result<bool> {
    Ok(false)
}

/// Whether the cache holds every page of a range that is not empty; `None` if the kernel does not tell. Unlike a read that must not
/// wait, asking does not make the kernel read ahead.
#[cfg(target_os = "linux")]
pub fn holds(file: &File, range: Range<u64>) -> Option<bool> {
    let pages = range.end.div_ceil(PAGE_BYTES) - range.start / PAGE_BYTES;
    cached_pages(file, range.start, range.end - range.start).ok().map(|cached| cached >= pages)
}

#[cfg(not(target_os = "linux"))]
pub fn holds(_file: &File, _range: Range<u64>) -> Option<bool> {
    None
}

/// Pages in the cache, dirty ones and those being written back included.
#[cfg(target_os = "linux")]
fn cached_pages(file: &File, offset: u64, length: u64) -> io::Result<u64> {
    use std::os::fd::AsRawFd;

    /// The number of `cachestat` on every architecture that Rust's Linux targets have.
    const SYS_CACHESTAT: libc::c_long = 451;

    #[repr(C)]
    struct Span {
        offset: u64,
        length: u64,
    }

    #[repr(C)]
    #[derive(Default)]
    struct CacheStat {
        cached: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }

    let range = Span { offset, length };
    let mut found = CacheStat::default();
    // SAFETY: the descriptor is open for the whole call, and the two structures have the layout that cachestat(2) reads and writes
    // and outlive the call.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut found, 0 as libc::c_uint) };
    match result {
        0 => Ok(found.cached),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::time::{Duration, Instant};

    const FILE_BYTES: usize = 256 << 10;
    const TMPFS: i64 = 0x0102_1994;

    #[test]
    fn a_range_is_held_once_it_was_read() {
        let mut file = tempfile::tempfile().unwrap();
        if rustix::fs::fstatfs(&file).unwrap().f_type == TMPFS {
            return;
        }
        file.write_all(&vec![7; FILE_BYTES]).unwrap();
        file.sync_data().unwrap();
        let Some(true) = holds(&file, 1..FILE_BYTES as u64) else {
            eprintln!("not shown here: the kernel does not tell");
            return;
        };
        assert!(evicted_in_the_end(&file));
        assert_eq!(holds(&file, 0..1), Some(false), "and asking brings nothing back");
        assert_eq!(holds(&file, 0..1), Some(false));
    }

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.set_nonblocking(true).unwrap();
        (sender, listener.accept().unwrap().0)
    }

    /// Acknowledgements take a moment.
    fn evicted_in_the_end(file: &File) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while !evict(file).unwrap() {
            if Instant::now() > until {
                return false;
            }
            stir_network();
        }
        true
    }

    /// What a receiver has read is freed by the processor that received it, when it has something else to receive: that happens all the
    /// time where there is traffic, and maybe never in a test.
    fn stir_network() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..processors {
                scope.spawn(|| {
                    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                    let address = socket.local_addr().unwrap();
                    for _ in 0..100 {
                        socket.send_to(&[1], address).unwrap();
                        socket.recv(&mut [0]).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_file_leaves_the_cache_only_when_no_socket_refers_to_it() {
        let mut file = tempfile::tempfile().unwrap();
        if rustix::fs::fstatfs(&file).unwrap().f_type == TMPFS {
            eprintln!("not shown here: the cache is all that a tmpfs has");
            return;
        }
        file.write_all(&vec![7; FILE_BYTES]).unwrap();
        file.sync_data().unwrap();
        assert!(evicted_in_the_end(&file), "nobody uses it");

        let (sender, mut receiver) = connected();
        let mut position = 0;
        while let Ok(sent @ 1..) = rustix::fs::sendfile(&sender, &file, Some(&mut position), FILE_BYTES) {
            assert!(sent <= FILE_BYTES);
        }
        assert!(position > 0);
        for _ in 0..100 {
            assert!(!evict(&file).unwrap(), "the receiver has read nothing");
        }
        let mut received = vec![0; position as usize];
        receiver.read_exact(&mut received).unwrap();
        assert!(evicted_in_the_end(&file), "the receiver has read all");
        assert!(received.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_connection_that_dies_gives_the_pages_back() {
        let mut file = tempfile::tempfile().unwrap();
        if rustix::fs::fstatfs(&file).unwrap().f_type == TMPFS {
            return;
        }
        file.write_all(&vec![7; FILE_BYTES]).unwrap();
        file.sync_data().unwrap();
        let (sender, receiver) = connected();
        let mut position = 0;
        assert!(rustix::fs::sendfile(&sender, &file, Some(&mut position), FILE_BYTES).unwrap() > 0);
        drop(sender);
        assert!(!evict(&file).unwrap(), "a closed sender has what it sent still on its way");
        drop(receiver);
        assert!(evicted_in_the_end(&file));
    }

    /// What the rule is for: the bytes that a slow receiver gets are those of the moment it reads them.
    #[test]
    fn overwriting_pages_that_a_socket_refers_to_changes_what_is_received() {
        use std::os::unix::fs::FileExt;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; FILE_BYTES]).unwrap();
        let (sender, mut receiver) = connected();
        let mut position = 0;
        assert!(rustix::fs::sendfile(&sender, &file, Some(&mut position), FILE_BYTES).unwrap() > 0);
        file.write_all_at(&vec![9; FILE_BYTES], 0).unwrap();
        let mut received = [0];
        receiver.read_exact(&mut received).unwrap();
        assert_eq!(received, [9]);
    }
}
