//! Small files of a data directory: who the directory is, and how far it was cleaned.

use crate::memory::{FREE_BYTES, allowed, within};
use duolog_base::{DirectoryId, Disk};
use duolog_log::DirectoryIdentity;
use duolog_log::clean::{CleanerCheckpoint, decode_offset_checkpoint, encode_offset_checkpoint};
use duolog_log::fuzzing::checksum;
use duolog_sim::SimDisk;
use std::path::Path;

/// What an entry of a map or a list, with a name of its own, takes for each byte of its line.
const ENTRY_RATIO: usize = 32;

pub(super) fn cleaner_checkpoint(input: &[u8]) {
    let mut mended = input.to_vec();
    mended.extend_from_slice(&checksum(input).to_le_bytes());
    for bytes in [input, &mended] {
        if let Ok(checkpoint) = within(ENTRY_RATIO * bytes.len() + FREE_BYTES, || CleanerCheckpoint::decode(bytes)) {
            assert_eq!(CleanerCheckpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }
    }
    if let Ok(entries) = within(ENTRY_RATIO * input.len() + FREE_BYTES, || decode_offset_checkpoint(input)) {
        let text = encode_offset_checkpoint(&entries);
        assert_eq!(decode_offset_checkpoint(text.as_bytes()), Ok(entries), "{text:?}");
    }
}

pub(super) fn cleaner_checkpoint_seeds() -> Vec<Vec<u8>> {
    let checkpoint = CleanerCheckpoint {
        first_dirty: [(3, 100), (9, 7)]
            .map(|(number, offset)| (duolog_base::PartitionNumber(number), duolog_base::Offset(offset)))
            .into(),
    };
    let mut bytes = checkpoint.encode();
    let whole = bytes.clone();
    bytes.truncate(bytes.len() - 4);
    vec![bytes, whole, b"0\n2\norders 0 1000\npay-ments 12 57\n".to_vec(), b"0\n0\n".to_vec()]
}

/// The file as it comes, and with the line of its checksum behind it.
pub(super) fn identity(input: &[u8]) {
    let mended = [input, format!("checksum={:08x}\n", checksum(input)).as_bytes()].concat();
    for bytes in [input, &mended] {
        let disk = SimDisk::new(1);
        let directory = Path::new("/data");
        disk.create_dir_all(directory).expect("an empty disk");
        disk.write_file(&directory.join("directory"), bytes);
        if let Ok(Some(identity)) = within(allowed(bytes), || DirectoryIdentity::read(&disk, directory)) {
            identity.write(&disk, directory).expect("nothing is wrong with the disk");
            let again = DirectoryIdentity::read(&disk, directory).expect("what was written can be read");
            assert_eq!(again, Some(identity));
        }
    }
}

pub(super) fn identity_seeds() -> Vec<Vec<u8>> {
    let text = format!("version=1\ndirectory={}\nhome={}\n", DirectoryId(77), DirectoryId(u128::MAX / 3));
    vec![format!("{text}checksum={:08x}\n", checksum(text.as_bytes())).into_bytes(), text.into_bytes()]
}
