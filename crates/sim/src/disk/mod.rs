//! A file system in memory that forgets what was not synced.
//!
//! It keeps the rules of [`duolog_base::Disk`] and no more: data is durable after `sync_data`, names after `sync_dir`. Three ways
//! to go down: [`SimDisk::reboot`] (power loss: unsynced sectors, lengths and names each survive or not, as the seed says),
//! [`SimDisk::crash`] (the same, on a copy, so that one run can be crashed at many points), and [`SimDisk::kill`] (the process
//! dies, the page cache stays). Whichever it is, open files are dead afterwards.
//!
//! Further faults: planned errors of single operations ([`SimDisk::fail_next`]), a full disk ([`SimDisk::set_capacity`],
//! [`SimDisk::set_full`]), the power failing after so many operations ([`SimDisk::crash_after`]), flipped bits and foreign content.

mod faults;
mod inode;
mod names;

use crate::Random;
use duolog_base::{Disk, DiskFile, OpenMode};
pub use faults::{Failure, Operation};
use faults::{Faults, Verdict, power_is_off};
use inode::Inode;
pub use inode::{PAGE_BYTES, SECTOR_BYTES};
use names::{InodeNumber, Names};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Capacity of a disk nobody limited: 1 TiB.
const DEFAULT_CAPACITY_BYTES: u64 = 1 << 40;

/// A simulated disk. Clones are handles of the same disk.
#[derive(Clone)]
pub struct SimDisk {
    /// Guards everything: each operation is one step.
    state: Arc<Mutex<State>>,
}

type Meanwhile = Arc<dyn Fn(&Path) + Send + Sync>;

#[derive(Clone)]
struct State {
    inodes: BTreeMap<InodeNumber, Inode>,
    next_inode: u64,
    names: Names,
    faults: Faults,
    capacity_bytes: u64,
    /// Where there is no room.
    is_full: Arc<dyn Fn(&Path) -> bool + Send + Sync>,
    /// Counts deaths of the process; files opened before the last one are dead.
    incarnation: u64,
    /// What happens while a file is synced.
    meanwhile: Option<Meanwhile>,
    /// Somebody refers to pages of every file.
    pages_in_use: bool,
    random: Random,
}

impl SimDisk {
    /// An empty disk. The seed decides how much of an operation happens before a planned error.
    pub fn new(seed: u64) -> SimDisk {
        let state = State {
            inodes: BTreeMap::new(),
            next_inode: 0,
            names: Names::default(),
            faults: Faults::default(),
            capacity_bytes: DEFAULT_CAPACITY_BYTES,
            is_full: Arc::new(|_| false),
            incarnation: 0,
            meanwhile: None,
            pages_in_use: false,
            random: Random::new(seed),
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// A copy of the disk as a power loss at this moment may leave it; this disk goes on.
    pub fn crash(&self, seed: u64) -> SimDisk {
        let copy = SimDisk { state: Arc::new(Mutex::new(self.state.lock().clone())) };
        copy.reboot(seed);
        copy
    }

    /// Power loss (if it has not failed already) and start: unsynced things survive or not, as the seed says. Planned errors stay.
    pub fn reboot(&self, seed: u64) {
        let state = &mut *self.state.lock();
        let mut random = Random::new(seed);
        state.names.crash(&mut random);
        state.inodes.values_mut().for_each(|inode| inode.crash(&mut random));
        let named: BTreeSet<InodeNumber> = state.names.files().map(|(_, inode)| inode).collect();
        state.inodes.retain(|number, _| named.contains(number));
        state.faults.reboot();
        state.incarnation += 1;
        state.random = random;
    }

    /// The process dies and starts again: nothing written is lost, and nothing unsynced becomes durable.
    pub fn kill(&self) {
        self.state.lock().incarnation += 1;
    }

    /// Lets `changes` more operations that change the disk succeed. The next one fails halfway, and so does
    /// everything after it, until [`SimDisk::reboot`].
    pub fn crash_after(&self, changes: u64) {
        self.state.lock().faults.cut_power_after(changes);
    }

    /// Whether [`SimDisk::crash_after`] has struck.
    pub fn is_off(&self) -> bool {
        self.state.lock().faults.is_off()
    }

    /// Operations so far that changed the disk: the points at which [`SimDisk::crash_after`] can strike.
    pub fn changes(&self) -> u64 {
        self.state.lock().faults.changes()
    }

    /// Operations of a kind so far, those that failed included.
    pub fn count(&self, operation: Operation) -> u64 {
        self.state.lock().faults.count(operation)
    }

    /// Lets one operation fail: the first of its kind after `after` more. A write is then done in part; a sync leaves pages
    /// that no later sync writes, as on Linux.
    pub fn fail_next(&self, operation: Operation, after: u64, failure: Failure) {
        self.state.lock().faults.plan(operation, after, failure);
    }

    /// Bytes that all files together may take; writes past it fail with ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Says where there is no room, whatever the capacity: at such a path no file can be created, and such a directory has no free bytes.
    pub fn set_full(&self, is_full: impl Fn(&Path) -> bool + Send + Sync + 'static) {
        self.state.lock().is_full = Arc::new(is_full);
    }

    /// Lets something happen at the beginning of each sync of a file, of which it is told the path; not during those it makes itself.
    pub fn set_meanwhile(&self, meanwhile: impl Fn(&Path) + Send + Sync + 'static) {
        self.state.lock().meanwhile = Some(Arc::new(meanwhile));
    }

    /// Whether somebody (a socket, say) refers to pages in the cache, which then cannot be evicted.
    pub fn set_pages_in_use(&self, in_use: bool) {
        self.state.lock().pages_in_use = in_use;
    }

    /// Inverts bit `bit` (0 to 7) of a byte, on the medium and in the cache.
    pub fn flip(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let state = &mut *self.state.lock();
        let number = state.names.file(path)?;
        match state.inode(number).flip(byte, bit) {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The whole content of a file, as the process would see it. Not counted, and possible while the machine is off.
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = &mut *self.state.lock();
        let number = state.names.file(path)?;
        Ok(state.content(number))
    }

    /// Every file and its whole content, all of one moment.
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = &mut *self.state.lock();
        let files: Vec<_> = state.names.files().map(|(path, number)| (path.to_owned(), number)).collect();
        files.into_iter().map(|(path, number)| (path, state.content(number))).collect()
    }

    /// Creates or replaces a file, durably and with its directories. Not counted, never refused.
    pub fn write_file(&self, path: &Path, content: &[u8]) {
        let state = &mut *self.state.lock();
        let number = state.names.file(path).unwrap_or_else(|_| state.new_inode());
        let inode = state.inode(number);
        inode.set_len(0);
        inode.write(content, 0, usize::MAX);
        inode.sync();
        state.names.place(path, number);
    }

    /// Paths of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().names.files().map(|(path, _)| path.to_owned()).collect()
    }

    /// Whether a crash could change anything at all.
    pub fn is_durable(&self) -> bool {
        let state = self.state.lock();
        state.names.is_durable() && state.inodes.values().all(Inode::is_durable)
    }
}

impl State {
    fn content(&mut self, number: InodeNumber) -> Vec<u8> {
        let inode = self.inode(number);
        let mut content = vec![0; inode.length() as usize];
        inode.read(&mut content, 0);
        content
    }

    fn inode(&mut self, number: InodeNumber) -> &mut Inode {
        self.inodes.get_mut(&number).expect("files keep their content until a reboot")
    }

    fn new_inode(&mut self) -> InodeNumber {
        let number = InodeNumber(self.next_inode);
        self.next_inode += 1;
        self.inodes.insert(number, Inode::default());
        number
    }

    /// Runs an operation that changes names: it happens, is refused, or happens while the power fails.
    fn change_names<T>(&mut self, operation: Operation, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        match self.faults.begin(operation)? {
            Verdict::Proceed => change(self),
            Verdict::Fail(failure) => Err(failure.error()),
            Verdict::PowerFails => {
                // It may survive, as anything unsynced. A change that is refused leaves nothing that could.
                let _ = change(self);
                Err(power_is_off())
            }
        }
    }

    fn create(&mut self, path: &Path) -> io::Result<InodeNumber> {
        self.change_names(Operation::Create, |state| {
            state.names.check_absent(path)?;
            if (state.is_full)(path) {
                return Err(Failure::NoSpace.error());
            }
            let number = state.new_inode();
            state.names.create(path, number)?;
            Ok(number)
        })
    }

    fn open(&mut self, path: &Path) -> io::Result<InodeNumber> {
        match self.faults.begin(Operation::Open)? {
            Verdict::Fail(failure) => Err(failure.error()),
            Verdict::Proceed | Verdict::PowerFails => self.names.file(path),
        }
    }

    /// Pages that may still be written to for the first time.
    fn spare_pages(&self) -> usize {
        let used: usize = self.names.files().filter_map(|(_, number)| self.inodes.get(&number)).map(Inode::allocated_pages).sum();
        ((self.capacity_bytes / PAGE_BYTES as u64) as usize).saturating_sub(used)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let state = &mut *self.state.lock();
        let number = match mode {
            OpenMode::CreateNew => state.create(path)?,
            OpenMode::Read | OpenMode::Write => state.open(path)?,
        };
        let incarnation = state.incarnation;
        Ok(Arc::new(SimFile { disk: self.clone(), number, incarnation, writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().change_names(Operation::Rename, |state| state.names.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().change_names(Operation::Remove, |state| state.names.remove(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.lock().change_names(Operation::CreateDir, |state| state.names.create_dir_all(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.state.lock().change_names(Operation::Remove, |state| state.names.remove_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = &mut *self.state.lock();
        match state.faults.begin(Operation::List)? {
            Verdict::Fail(failure) => Err(failure.error()),
            Verdict::Proceed | Verdict::PowerFails => state.names.list(dir),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.state.lock();
        match state.faults.begin(Operation::SyncDir)? {
            Verdict::Proceed => state.names.sync_dir(dir),
            Verdict::Fail(failure) => Err(failure.error()),
            Verdict::PowerFails => Err(power_is_off()),
        }
    }

    fn sync_all(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.state.lock();
        match state.faults.begin(Operation::SyncAll)? {
            Verdict::Proceed => {
                state.names.check_directory(dir)?;
                state.names.sync_all();
                state.inodes.values_mut().for_each(Inode::sync);
                Ok(())
            }
            Verdict::Fail(failure) => {
                let mut random = Random::new(state.random.next_u64());
                state.inodes.values_mut().for_each(|inode| inode.sync_failed(&mut random));
                Err(failure.error())
            }
            Verdict::PowerFails => Err(power_is_off()),
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let state = &mut *self.state.lock();
        match state.faults.begin(Operation::FreeBytes)? {
            Verdict::Fail(failure) => return Err(failure.error()),
            Verdict::Proceed | Verdict::PowerFails => state.names.check_directory(dir)?,
        }
        match (state.is_full)(dir) {
            true => Ok(0),
            false => Ok(state.spare_pages() as u64 * PAGE_BYTES as u64),
        }
    }
}

/// An open file of a [`SimDisk`].
struct SimFile {
    disk: SimDisk,
    number: InodeNumber,
    incarnation: u64,
    writable: bool,
}

impl SimFile {
    /// Runs an operation on the file, unless its process is dead or the machine off.
    fn with_state<T>(&self, operation: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *self.disk.state.lock();
        if state.incarnation != self.incarnation {
            return Err(io::Error::other("the file was opened before the simulated process died"));
        }
        operation(state)
    }

    fn let_happen_meanwhile(&self) {
        let (meanwhile, path) = {
            let state = &mut *self.disk.state.lock();
            let path = state.names.files().find(|(_, number)| *number == self.number).map(|(path, _)| path.to_owned());
            (state.meanwhile.take(), path)
        };
        if let Some(meanwhile) = meanwhile {
            path.iter().for_each(|path| meanwhile(path));
            self.disk.state.lock().meanwhile = Some(meanwhile);
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.writable {
            true => Ok(()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with_state(|state| match state.faults.begin(Operation::Read)? {
            Verdict::Fail(failure) => Err(failure.error()),
            Verdict::Proceed | Verdict::PowerFails => Ok(state.inode(self.number).read(buffer, position)),
        })
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut bytes = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        self.with_state(|state| {
            let verdict = state.faults.begin(Operation::Write)?;
            let begun = match verdict {
                Verdict::Proceed | Verdict::PowerFails => bytes.len(),
                Verdict::Fail(_) => state.random.below(bytes.len() as u64 + 1) as usize,
            };
            let spare = state.spare_pages();
            let written = state.inode(self.number).write(&bytes[..begun], position, spare);
            match verdict {
                Verdict::Proceed if written < bytes.len() => Err(Failure::NoSpace.error()),
                Verdict::Proceed => Ok(()),
                Verdict::Fail(failure) => Err(failure.error()),
                Verdict::PowerFails => Err(power_is_off()),
            }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.let_happen_meanwhile();
        self.with_state(|state| match state.faults.begin(Operation::Sync)? {
            Verdict::Proceed => {
                state.inode(self.number).sync();
                Ok(())
            }
            Verdict::Fail(failure) => {
                let mut random = Random::new(state.random.next_u64());
                state.inode(self.number).sync_failed(&mut random);
                Err(failure.error())
            }
            Verdict::PowerFails => Err(power_is_off()),
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with_state(|state| {
            state.faults.check_power()?;
            Ok(state.inode(self.number).length())
        })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        self.with_state(|state| match state.faults.begin(Operation::SetLength)? {
            Verdict::Fail(failure) => Err(failure.error()),
            verdict => {
                state.inode(self.number).set_len(bytes);
                if verdict == Verdict::PowerFails { Err(power_is_off()) } else { Ok(()) }
            }
        })
    }

    fn evict(&self) -> io::Result<bool> {
        self.with_state(|state| {
            state.faults.check_power()?;
            if !state.pages_in_use {
                state.inode(self.number).evict();
            }
            Ok(!state.pages_in_use)
        })
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
