//! What the group's members received, held against the corpus as it comes in.
//!
//! A member writes a journal: `A PARTITION` when a partition is assigned to it, and for each record `R PARTITION OFFSET LENGTH`,
//! a line end, the value and a line end. A topic written by one idempotent producer has neither gaps nor repetitions, so
//! a record's offset is its line's place in the corpus. Within one assignment offsets follow each other without a gap; a new
//! assignment may begin earlier than the last one ended, but never later.

use super::text::{Corpus, PARTITIONS};
use crate::interop::failure::Failure;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// A journal is read in steps of this size, so that all of them are followed.
const READ_BYTES: u64 = 4 << 20;

/// Everything that arrived at any member.
pub(super) struct Deliveries<'a> {
    corpus: &'a Corpus,
    /// For each partition, which lines have arrived.
    arrived: Vec<Vec<bool>>,
    missing: usize,
    lines: usize,
    repeated: usize,
    wrong: Option<String>,
}

impl<'a> Deliveries<'a> {
    pub(super) fn new(corpus: &'a Corpus) -> Deliveries<'a> {
        let arrived: Vec<Vec<bool>> = (0..PARTITIONS).map(|partition| vec![false; corpus.lines_in(partition)]).collect();
        let lines = arrived.iter().map(Vec::len).sum();
        Deliveries { corpus, arrived, missing: lines, lines, repeated: 0, wrong: None }
    }

    fn take(&mut self, partition: usize, offset: usize, value: &[u8]) {
        match self.corpus.line(partition, offset) {
            Some(line) if line == value => {}
            expected => {
                let (got, expected) = (String::from_utf8_lossy(value), expected.map(String::from_utf8_lossy));
                return self.complain(format!("partition {partition} offset {offset}: got {got:?} instead of {expected:?}"));
            }
        }
        if std::mem::replace(&mut self.arrived[partition][offset], true) {
            self.repeated += 1;
        } else {
            self.missing -= 1;
        }
    }

    fn complain(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub(super) fn complete(&self) -> bool {
        self.missing == 0
    }

    pub(super) fn percent(&self) -> usize {
        (self.lines - self.missing) * 100 / self.lines.max(1)
    }

    pub(super) fn repeated(&self) -> usize {
        self.repeated
    }

    /// The first thing that was not as it must be.
    pub(super) fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }

    pub(super) fn summary(&self) -> String {
        let wrong = self.wrong().map(|what| format!("; {what}")).unwrap_or_default();
        format!("{} lines, {} missing, {} delivered again{wrong}", self.lines, self.missing, self.repeated)
    }
}

/// One member's journal, read as it grows.
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
    unread: Vec<u8>,
    /// For each partition, the offset that must come next in this assignment.
    next: [Option<usize>; PARTITIONS],
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> Journal {
        Journal { path, file: None, unread: Vec::new(), next: [None; PARTITIONS] }
    }

    /// Takes in what was written since the last time.
    pub(super) fn read(&mut self, deliveries: &mut Deliveries) -> Result<(), Failure> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.take(READ_BYTES).read_to_end(&mut self.unread).map_err(|error| Failure::file(&self.path, error))?;
        let unread = std::mem::take(&mut self.unread);
        let taken = self.entries(&unread, deliveries);
        self.unread = unread[taken..].to_vec();
        Ok(())
    }

    /// Takes whole entries; gives how many bytes they had. A member that was killed leaves half of one.
    fn entries(&mut self, unread: &[u8], deliveries: &mut Deliveries) -> usize {
        let mut taken = 0;
        while let Some(length) = unread[taken..].iter().position(|byte| *byte == b'\n') {
            let head = String::from_utf8_lossy(&unread[taken..taken + length]);
            let body = taken + length + 1;
            let numbers: Vec<usize> = head.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect();
            match (head.as_bytes().first(), numbers.as_slice()) {
                (Some(b'A'), [partition]) if *partition < PARTITIONS => {
                    self.next[*partition] = None;
                    taken = body;
                }
                (Some(b'R'), [partition, offset, length]) if *partition < PARTITIONS => {
                    let Some(value) = unread.get(body..body + length) else { return taken };
                    if unread.len() == body + length {
                        return taken;
                    }
                    self.record(*partition, *offset, value, deliveries);
                    taken = body + length + 1;
                }
                _ => {
                    deliveries.complain(format!("{}: {head:?} is no entry", self.path.display()));
                    return unread.len();
                }
            }
        }
        taken
    }

    fn record(&mut self, partition: usize, offset: usize, value: &[u8], deliveries: &mut Deliveries) {
        if let Some(expected) = self.next[partition].filter(|expected| *expected != offset) {
            deliveries.complain(format!("partition {partition}: offset {offset} came where {expected} was due"));
        }
        self.next[partition] = Some(offset + 1);
        deliveries.take(partition, offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0 0 a\n1 0 b\n0 1 c\n0 2 d\n";

    fn received(journals: &[&str]) -> String {
        let corpus = Corpus::from_text(TEXT);
        let mut deliveries = Deliveries::new(&corpus);
        for text in journals {
            Journal::new(PathBuf::from("j")).entries(text.as_bytes(), &mut deliveries);
        }
        deliveries.summary()
    }

    #[test]
    fn lines_may_arrive_at_any_member_and_again_after_an_assignment() {
        let one = "A 0\nR 0 0 5\n0 0 a\nR 0 1 5\n0 1 c\n";
        let other = "A 1\nR 1 0 5\n1 0 b\nA 0\nR 0 1 5\n0 1 c\nR 0 2 5\n0 2 d\n";
        assert_eq!(received(&[one, other]), "4 lines, 0 missing, 1 delivered again");
    }

    #[test]
    fn a_changed_line_is_noticed() {
        assert!(received(&["A 0\nR 0 0 5\n0 0 x\n"]).contains("instead of"));
        assert!(received(&["A 0\nR 0 9 5\n0 9 x\n"]).contains("instead of None"));
    }

    #[test]
    fn a_gap_and_a_step_back_within_an_assignment_are_noticed() {
        assert!(received(&["A 0\nR 0 0 5\n0 0 a\nR 0 2 5\n0 2 d\n"]).contains("offset 2 came where 1 was due"));
        assert!(received(&["A 0\nR 0 0 5\n0 0 a\nR 0 0 5\n0 0 a\n"]).contains("offset 0 came where 1 was due"));
    }

    #[test]
    fn half_an_entry_waits_for_its_rest() {
        let corpus = Corpus::from_text(TEXT);
        let mut deliveries = Deliveries::new(&corpus);
        let text = b"A 0\nR 0 0 5\n0 0 a\n";
        for end in 0..text.len() {
            let taken = Journal::new(PathBuf::from("j")).entries(&text[..end], &mut deliveries);
            assert!(taken <= 4 && deliveries.missing == 4, "{end}");
        }
    }
}
