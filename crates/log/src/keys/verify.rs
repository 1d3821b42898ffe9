//! Looking at the parts of a key index without opening the log.

use crate::files::{FileName, keys_path, read_whole};
use crate::format::keys::KeysView;
use duolog_base::{Disk, OpenMode};
use std::io;
use std::path::{Path, PathBuf};

/// The parts in a directory that are damaged, and what is wrong with each.
pub(crate) fn damaged_parts(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(PathBuf, &'static str)>> {
    let mut damaged = Vec::new();
    for name in disk.list(dir)? {
        let Some(FileName::Keys(from)) = FileName::parse(&name) else { continue };
        let path = keys_path(dir, from);
        let bytes = match disk.open(&path, OpenMode::Read) {
            // A live server has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => read_whole(file?.as_ref())?,
        };
        match KeysView::check(&bytes).and_then(|view| view.all().map(|_| view.header.from == from)) {
            Ok(true) => {}
            Ok(false) => damaged.push((path, "key index has another name than its header says")),
            Err(problem) => damaged.push((path, problem.describe())),
        }
    }
    Ok(damaged)
}
