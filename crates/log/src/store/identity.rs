//! Who a data directory is: a small text file `directory` in it, written once and never changed.
//!
//! ```text
//! version=1
//! directory=ASNFZ4mrTN6PASNFZ4mrzQ
//! home=_ty6mHZUQhCP7cuph2VDIQ
//! checksum=b90d1499
//! ```
//! `directory` is the id of this directory, `home` that of the directory of the same node that also holds the metadata. The
//! checksum is the CRC32C of all bytes before its line, in hexadecimal. By it a node notices a directory that is missing, that belongs
//! to another node, or that is a copy. Called by whoever opens the data directories.

use crate::files::{read_whole, write_whole};
use crc_fast::{CrcAlgorithm, checksum};
use duolog_base::{DirectoryId, Disk, OpenMode};
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file.
const FILE_NAME: &str = "directory";
const VERSION: u32 = 1;
/// More bytes than any such file has.
const MAX_FILE_BYTES: u64 = 4096;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryIdentity {
    pub directory: DirectoryId,
    pub home: DirectoryId,
}

/// Why a directory's identity is not known.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: written by a newer version (format {found}, this binary reads up to {supported})")]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    #[error("{path} is damaged: it does not say which data directory this is")]
    Damaged { path: PathBuf },
}

impl DirectoryIdentity {
    /// Reads the identity of a data directory; `None` if it has none yet.
    pub fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<DirectoryIdentity>, IdentityError> {
        let path = directory.join(FILE_NAME);
        let file = match disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(IdentityError::Io { path, error }),
        };
        let bytes = match file.length() {
            Ok(length) if length > MAX_FILE_BYTES => return Err(IdentityError::Damaged { path }),
            Ok(_) => read_whole(file.as_ref()),
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|error| IdentityError::Io { path: path.clone(), error })?;
        match parse(&bytes) {
            Some(Parsed::Identity(identity)) => Ok(Some(identity)),
            Some(Parsed::Newer(found)) => Err(IdentityError::NewerFormat { path, found, supported: VERSION }),
            None => Err(IdentityError::Damaged { path }),
        }
    }

    /// Gives a data directory its identity, durably.
    pub fn write(&self, disk: &dyn Disk, directory: &Path) -> Result<(), IdentityError> {
        let path = directory.join(FILE_NAME);
        let written = write_whole(disk, directory, &path, &[self.encode().into_bytes()]);
        written.map_err(|error| IdentityError::Io { path, error })
    }

    fn encode(&self) -> String {
        let text = format!("version={VERSION}\ndirectory={}\nhome={}\n", self.directory, self.home);
        let crc = crc_of(text.as_bytes());
        format!("{text}checksum={crc:08x}\n")
    }
}

enum Parsed {
    Identity(DirectoryIdentity),
    Newer(u32),
}

/// `None` for anything that this or a newer version did not write.
fn parse(bytes: &[u8]) -> Option<Parsed> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, crc) = text.strip_suffix('\n')?.rsplit_once("checksum=")?;
    if crc != format!("{:08x}", crc_of(body.as_bytes())) {
        return None;
    }
    let mut lines = body.lines();
    let version: u32 = lines.next()?.strip_prefix("version=")?.parse().ok()?;
    if version > VERSION {
        return Some(Parsed::Newer(version));
    }
    let directory = DirectoryId::parse(lines.next()?.strip_prefix("directory=")?)?;
    let home = DirectoryId::parse(lines.next()?.strip_prefix("home=")?)?;
    lines.next().is_none().then_some(Parsed::Identity(DirectoryIdentity { directory, home }))
}

fn crc_of(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: DirectoryIdentity = DirectoryIdentity {
        directory: DirectoryId(0x0123_4567_89ab_4cde_8f01_2345_6789_abcd),
        home: DirectoryId(0xfedc_ba98_7654_4210_8fed_cba9_8765_4321),
    };
    const GOLDEN: &str = "version=1\ndirectory=ASNFZ4mrTN6PASNFZ4mrzQ\nhome=_ty6mHZUQhCP7cuph2VDIQ\nchecksum=b90d1499\n";

    #[test]
    fn the_bytes_stay_as_they_are() {
        assert_eq!(IDENTITY.encode(), GOLDEN);
        assert!(matches!(parse(GOLDEN.as_bytes()), Some(Parsed::Identity(identity)) if identity == IDENTITY));
    }

    #[test]
    fn any_flipped_bit_and_any_lost_end_is_noticed() {
        for bit in 0..GOLDEN.len() * 8 {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes).is_none(), "bit {bit}");
        }
        assert!((0..GOLDEN.len()).all(|length| parse(&GOLDEN.as_bytes()[..length]).is_none()));
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let body = "version=2\nsomething=else\n";
        let text = format!("{body}checksum={:08x}\n", crc_of(body.as_bytes()));
        assert!(matches!(parse(text.as_bytes()), Some(Parsed::Newer(2))));
    }
}
