//! Dead files on their way to be used again.
//!
//! What is read from a file is read without a copy: a plan names the file, and `sendfile` hands pages of it to sockets. Overwriting
//! them would change what a slow client receives, even after the plan is gone. So a dead file is used again only when nobody holds
//! a handle of it any more, and when its pages have left the page cache, which the kernel allows for pages that nobody refers to.
//! Until then it waits under the name of a spare. Those that are there at start wait too: the process that sent from them may
//! have died with its clients still receiving.

use crate::LogFailure;
use crate::files::{remove_if_there, spare_path};
use crate::house::House;
use crate::log::Log;
use crate::sealed::Sealed;
use duolog_base::{Disk, DiskFile, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A dead file under the name of a spare.
pub(crate) struct Condemned {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Through this, handles of the file could still be got.
    sealed: Option<Arc<Sealed>>,
}

impl Condemned {
    fn new(path: PathBuf, sealed: Arc<Sealed>) -> Condemned {
        Condemned { path, file: sealed.log.clone(), sealed: Some(sealed) }
    }

    /// One that was found at start.
    pub fn found(disk: &dyn Disk, path: PathBuf) -> io::Result<Condemned> {
        let file = disk.open(&path, OpenMode::Write)?;
        Ok(Condemned { path, file, sealed: None })
    }

    /// Whether nobody can see it any more if it is overwritten.
    fn is_released(&mut self) -> bool {
        if let Some(sealed) = self.sealed.take()
            && let Err(shared) = Arc::try_unwrap(sealed)
        {
            self.sealed = Some(shared);
            return false;
        }
        // An error means that it cannot be told, which is not a yes.
        Arc::strong_count(&self.file) == 1 && self.file.evict().unwrap_or(false)
    }
}

impl Log {
    /// Whether one more dead file may be kept.
    fn wants_spares(&self, house: &House) -> bool {
        house.waiting.len() + self.state.lock().spares.len() < self.options.recycled_files
    }

    /// Takes the names of a file that is out of use, except for `kept`, which belongs to another one by now. The caller syncs the directory.
    pub(crate) fn retire(&self, house: &mut House, file: Arc<Sealed>, kept: Option<&Path>) -> io::Result<()> {
        let spare = (!file.is_tidied() && self.wants_spares(house)).then(|| spare_path(&self.dir, file.base));
        if let Some(spare) = &spare {
            self.disk.rename(&file.path(&self.dir), spare)?;
        }
        for path in file.paths(&self.dir).iter().filter(|path| Some(path.as_path()) != kept) {
            remove_if_there(self.disk.as_ref(), path)?;
        }
        match spare {
            Some(spare) => house.waiting.push(Condemned::new(spare, file)),
            None => self.counters.files_freed.add(1),
        }
        Ok(())
    }

    /// Lets the writer have those that nobody refers to any more.
    pub(crate) fn recycle_step(&self, house: &mut House) {
        let waiting = std::mem::take(&mut house.waiting);
        for mut condemned in waiting {
            match condemned.is_released() {
                true => {
                    self.counters.files_recycled.add(1);
                    self.state.lock().spares.push(condemned.path);
                }
                false => house.waiting.push(condemned),
            }
        }
    }

    /// Gives their space back, because it runs short.
    pub(crate) fn remove_spares(&self, house: &mut House) -> Result<(), LogFailure> {
        let waiting = std::mem::take(&mut house.waiting).into_iter().map(|condemned| condemned.path);
        let spares = std::mem::take(&mut self.state.lock().spares);
        for path in waiting.chain(spares) {
            remove_if_there(self.disk.as_ref(), &path).map_err(|error| self.fail("remove", &path, error))?;
            self.counters.files_freed.add(1);
        }
        Ok(())
    }
}
