//! The data directories of this node: who each of them is, and that they belong together.
//!
//! A directory gets its identity when it is first used. The first directory of a new node also holds the metadata and is the home of
//! the others; their order on later starts does not matter. A directory that is not empty and not of this node is refused. That
//! one is missing is noticed by the metadata, which knows what lived in it.

use super::lock::{DirectoryLock, LockError};
use crate::metadata::{IdSource, NodeDirectory};
use duolog_base::{DirectoryId, Disk};
use duolog_log::{DirectoryIdentity, IdentityError, MAX_DIRECTORIES};
use std::io;
use std::path::{Path, PathBuf};

/// What a directory that was never used does not have.
const CONTENTS: [&str; 3] = ["meta", "shared", "dedicated"];

/// Why the data directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("data directory {path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("data directory {path} is given twice")]
    Repeated { path: PathBuf },
    #[error("{given} data directories are above the limit of {limit}")]
    TooMany { given: usize, limit: usize },
    #[error("data directory {path} holds data, but its file `directory` is gone, so it is not known whose they are")]
    Unknown { path: PathBuf },
    #[error("data directories {first} and {second} belong to different nodes")]
    Foreign { first: PathBuf, second: PathBuf },
    #[error("data directories {first} and {second} are copies of each other")]
    Copied { first: PathBuf, second: PathBuf },
    #[error("data directory {path} belongs to a node whose metadata is in another directory, of id {home}, which is not given")]
    HomeMissing { path: PathBuf, home: DirectoryId },
}

/// The node's data directories, locked.
pub(super) struct DataDirectories {
    /// The one with the metadata first.
    pub(super) known: Vec<NodeDirectory>,
    pub(super) locks: Vec<DirectoryLock>,
}

impl DataDirectories {
    /// Creates and locks the directories, and gives an identity to those that are new.
    pub(super) fn take(disk: &dyn Disk, paths: &[PathBuf], ids: &dyn IdSource) -> Result<DataDirectories, DirectoryError> {
        if paths.len() > MAX_DIRECTORIES {
            return Err(DirectoryError::TooMany { given: paths.len(), limit: MAX_DIRECTORIES });
        }
        let paths: Vec<PathBuf> = paths.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect();
        if let Some(at) = (1..paths.len()).find(|at| paths[..*at].contains(&paths[*at])) {
            return Err(DirectoryError::Repeated { path: paths[at].clone() });
        }
        let locks = paths.iter().map(|path| DirectoryLock::take(path)).collect::<Result<_, _>>()?;
        for path in &paths {
            disk.create_dir_all(path).map_err(|error| DirectoryError::Io { path: path.clone(), error })?;
        }
        Ok(DataDirectories { known: identify(disk, &paths, ids)?, locks })
    }
}

fn identify(disk: &dyn Disk, paths: &[PathBuf], ids: &dyn IdSource) -> Result<Vec<NodeDirectory>, DirectoryError> {
    let mut found = paths.iter().map(|path| DirectoryIdentity::read(disk, path)).collect::<Result<Vec<_>, _>>()?;
    if found.iter().all(Option::is_none) {
        // A new node, or one from before there were identities: then all it has is in its only directory.
        let id = DirectoryId(ids.next_id().0);
        let identity = DirectoryIdentity { directory: id, home: id };
        refuse_contents(disk, &paths[1..])?;
        identity.write(disk, &paths[0])?;
        found[0] = Some(identity);
    }
    check_kinship(paths, &found)?;
    let home = found.iter().flatten().map(|identity| identity.home).next().expect("one has an identity by now");
    for (path, identity) in paths.iter().zip(&mut found) {
        if identity.is_none() {
            refuse_contents(disk, std::slice::from_ref(path))?;
            let new = DirectoryIdentity { directory: DirectoryId(ids.next_id().0), home };
            new.write(disk, path)?;
            *identity = Some(new);
        }
    }
    let mut known: Vec<NodeDirectory> = paths
        .iter()
        .zip(found.into_iter().flatten())
        .map(|(path, identity)| NodeDirectory { id: identity.directory, path: path.clone() })
        .collect();
    let at = known.iter().position(|directory| directory.id == home).expect("kinship has been checked");
    known[..=at].rotate_right(1);
    Ok(known)
}

/// Refuses directories that hold something, although nothing says whose they are.
fn refuse_contents(disk: &dyn Disk, paths: &[PathBuf]) -> Result<(), DirectoryError> {
    for path in paths {
        if CONTENTS.iter().any(|name| disk.list(&path.join(name)).is_ok_and(|names| !names.is_empty())) {
            return Err(DirectoryError::Unknown { path: path.clone() });
        }
    }
    Ok(())
}

/// Checks that all directories with an identity have the same home, that it is among them, and that none is a copy.
fn check_kinship(paths: &[PathBuf], found: &[Option<DirectoryIdentity>]) -> Result<(), DirectoryError> {
    let known: Vec<(&Path, &DirectoryIdentity)> =
        paths.iter().zip(found).filter_map(|(path, identity)| Some((path.as_path(), identity.as_ref()?))).collect();
    for (at, (path, identity)) in known.iter().enumerate() {
        for (earlier, other) in &known[..at] {
            let (first, second) = (earlier.to_path_buf(), path.to_path_buf());
            if identity.home != other.home {
                return Err(DirectoryError::Foreign { first, second });
            }
            if identity.directory == other.directory {
                return Err(DirectoryError::Copied { first, second });
            }
        }
    }
    match known.first() {
        Some((path, first)) if known.iter().all(|(_, identity)| identity.directory != first.home) => {
            Err(DirectoryError::HomeMissing { path: path.to_path_buf(), home: first.home })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::RandomIds;
    use duolog_base::OpenMode;
    use duolog_sim::SimDisk;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    fn identified(disk: &SimDisk, names: &[&str]) -> Result<Vec<NodeDirectory>, DirectoryError> {
        let paths = paths(names);
        paths.iter().for_each(|path| disk.create_dir_all(path).unwrap());
        identify(disk, &paths, &RandomIds)
    }

    fn names(known: &[NodeDirectory]) -> Vec<&str> {
        known.iter().map(|directory| directory.path.to_str().unwrap()).collect()
    }

    #[test]
    fn the_first_directory_stays_the_home_whatever_the_order_and_whatever_joins() {
        let disk = SimDisk::new(1);
        let first = identified(&disk, &["/a", "/b"]).unwrap();
        assert_eq!(names(&first), ["/a", "/b"]);
        let again = identified(&disk, &["/c", "/b", "/a"]).unwrap();
        assert_eq!(names(&again), ["/a", "/c", "/b"]);
        assert_eq!((again[0].id, again[2].id), (first[0].id, first[1].id));
        disk.reboot(7);
        assert_eq!(identified(&disk, &["/a", "/b", "/c"]).unwrap()[2].id, again[1].id, "an identity is durable");
    }

    #[test]
    fn directories_of_two_nodes_copies_and_orphans_are_told_apart() {
        let disk = SimDisk::new(1);
        let ours = identified(&disk, &["/a", "/b"]).unwrap();
        identified(&disk, &["/x"]).unwrap();
        assert!(
            matches!(identified(&disk, &["/a", "/x"]), Err(DirectoryError::Foreign { second, .. }) if second == Path::new("/x"))
        );
        assert!(matches!(identified(&disk, &["/b"]), Err(DirectoryError::HomeMissing { home, .. }) if home == ours[0].id));
        disk.create_dir_all(Path::new("/copy")).unwrap();
        DirectoryIdentity { directory: ours[1].id, home: ours[0].id }.write(&disk, Path::new("/copy")).unwrap();
        assert!(matches!(identified(&disk, &["/a", "/b", "/copy"]), Err(DirectoryError::Copied { .. })));
    }

    #[test]
    fn a_directory_with_data_and_without_identity_is_taken_only_as_the_only_one() {
        let disk = SimDisk::new(1);
        for name in ["/old", "/other"] {
            let shared = Path::new(name).join("shared");
            disk.create_dir_all(&shared).unwrap();
            disk.open(&shared.join("00000000000000000000.log"), OpenMode::CreateNew).unwrap();
        }
        assert!(matches!(identified(&disk, &["/new", "/other"]), Err(DirectoryError::Unknown { .. })));
        assert_eq!(names(&identified(&disk, &["/old"]).unwrap()), ["/old"]);
        assert!(
            matches!(identified(&disk, &["/old", "/other"]), Err(DirectoryError::Unknown { path }) if path == Path::new("/other"))
        );
    }
}
