//! Scenarios of the journal on a real file system: reopening, rolling, truncating, purging, damage.

use super::*;
use crate::metadata::record::{Change, MetadataRecord};
use crate::metadata::storage::Body;
use duolog_base::RealDisk;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

fn open(dir: &Path) -> Result<Journal, MetadataOpenError> {
    Journal::open(Arc::new(RealDisk), dir.to_owned(), 4 << 20)
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, node: 1, index }
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { id: id(term, index), body: Body::Change(Change::new(vec![MetadataRecord::ProducerIds { next: index as i64 }])) }
}

/// An entry of about a mebibyte.
fn large(index: u64) -> Entry {
    let records = vec![MetadataRecord::Cluster { id: "x".repeat(1 << 20) }];
    Entry { id: id(1, index), body: Body::Change(Change::new(records)) }
}

fn indexes(journal: &Journal, from: u64, to: u64) -> Vec<u64> {
    journal.read(from, to).unwrap().iter().map(|entry| entry.id.index).collect()
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn entries_and_the_vote_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let vote = Vote { term: 2, node: 1, won: true };
    let mut journal = open(dir.path()).unwrap();
    journal.save_vote(vote).unwrap();
    journal.append(vec![entry(1, 0)]).unwrap();
    journal.append(vec![entry(1, 1), entry(2, 2), entry(2, 3)]).unwrap();
    drop(journal);
    let mut journal = open(dir.path()).unwrap();
    assert_eq!((journal.vote(), journal.last(), journal.purged()), (Some(vote), Some(id(2, 3)), None));
    assert_eq!(journal.read(1, 3).unwrap(), [entry(1, 1), entry(2, 2)]);
    assert_eq!(indexes(&journal, 0, 99), [0, 1, 2, 3]);
    journal.append(vec![entry(2, 4)]).unwrap();
    assert_eq!(journal.last(), Some(id(2, 4)));
}

#[test]
fn a_truncation_in_the_middle_of_a_frame_holds_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).unwrap();
    journal.append(vec![entry(1, 0), entry(1, 1), entry(2, 2), entry(3, 3)]).unwrap();
    journal.append(vec![entry(3, 4)]).unwrap();
    journal.truncate(2).unwrap();
    assert_eq!((journal.last(), indexes(&journal, 0, 9)), (Some(id(1, 1)), vec![0, 1]));
    journal.append(vec![entry(4, 2)]).unwrap();
    let journal = open(dir.path()).unwrap();
    assert_eq!(journal.read(0, 9).unwrap(), [entry(1, 0), entry(1, 1), entry(4, 2)]);
}

#[test]
fn purged_segments_are_removed_and_the_rest_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let vote = Vote { term: 1, node: 1, won: true };
    let mut journal = open(dir.path()).unwrap();
    journal.save_vote(vote).unwrap();
    (0..12).for_each(|index| journal.append(vec![large(index)]).unwrap());
    let before = files(dir.path()).len();
    assert!(before >= 3, "{before} segments");
    journal.purge(id(1, 8)).unwrap();
    assert!(files(dir.path()).len() < before);
    drop(journal);
    let mut journal = open(dir.path()).unwrap();
    assert_eq!((journal.vote(), journal.purged(), journal.last()), (Some(vote), Some(id(1, 8)), Some(id(1, 11))));
    assert_eq!(indexes(&journal, 0, 99), [9, 10, 11]);
    journal.purge(id(1, 11)).unwrap();
    assert_eq!((journal.last(), indexes(&journal, 0, 99).len()), (Some(id(1, 11)), 0));
    drop(journal);
    let mut journal = open(dir.path()).unwrap();
    journal.append(vec![entry(1, 12)]).unwrap();
    assert_eq!(indexes(&journal, 0, 99), [12]);
}

#[test]
fn a_segment_that_came_back_before_a_gap_is_ignored_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).unwrap();
    let first = dir.path().join(&files(dir.path())[0]);
    (0..12).for_each(|index| journal.append(vec![large(index)]).unwrap());
    let old = fs::read(&first).unwrap();
    journal.purge(id(1, 10)).unwrap();
    drop(journal);
    fs::write(&first, old).unwrap();
    let journal = open(dir.path()).unwrap();
    assert_eq!(indexes(&journal, 0, 99), [11]);
    assert!(!first.exists());
}

#[test]
fn a_torn_end_is_cut_wherever_it_tears() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).unwrap();
    journal.append(vec![entry(1, 0)]).unwrap();
    let path = dir.path().join(&files(dir.path())[0]);
    let good = fs::metadata(&path).unwrap().len();
    journal.append(vec![entry(1, 1)]).unwrap();
    let whole = fs::read(&path).unwrap();
    drop(journal);
    for end in good..whole.len() as u64 {
        fs::write(&path, &whole[..end as usize]).unwrap();
        let journal = open(dir.path()).unwrap();
        assert_eq!(journal.last(), Some(id(1, 0)), "torn at {end}");
        assert_eq!(fs::metadata(&path).unwrap().len(), good);
    }
    fs::write(&path, &whole[..good as usize]).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&[0; 5000]).unwrap();
    assert_eq!(open(dir.path()).unwrap().last(), Some(id(1, 0)), "zeros past the end");
}

#[test]
fn damage_before_a_good_frame_is_an_error_and_nothing_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).unwrap();
    journal.append(vec![entry(1, 0)]).unwrap();
    let path = dir.path().join(&files(dir.path())[0]);
    let first = fs::metadata(&path).unwrap().len() as usize;
    journal.append(vec![entry(1, 1)]).unwrap();
    drop(journal);
    let whole = fs::read(&path).unwrap();
    for position in [3, first - 20, first - 1] {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(open(dir.path()), Err(MetadataOpenError::Corrupt { .. })), "at {position}");
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
}

#[test]
fn a_segment_torn_at_birth_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path()).unwrap();
    journal.append(vec![entry(1, 0)]).unwrap();
    drop(journal);
    for torn in [&b""[..], b"DUOM", &super::super::format::header()] {
        fs::write(dir.path().join(segment_name(1)), torn).unwrap();
        let journal = open(dir.path()).unwrap();
        assert_eq!((journal.last(), files(dir.path()).len()), (Some(id(1, 0)), 1));
    }
}
