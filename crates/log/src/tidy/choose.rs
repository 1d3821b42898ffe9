//! Which files are tidied next. Decides only.
//!
//! A file is due when too much of it is dead, or when it is old and its frames still lie in the order of arrival, so that whoever
//! reads a partition from the beginning jumps through it. Its neighbours join it when they are due, too, or when they are tidied
//! already and small beside it: so small remains grow together, and what is written anew each time stays in proportion.

use duolog_base::TimestampMs;
use std::ops::Range;

/// A tidied neighbour joins if it has at most so many times the live bytes of those that are due.
const JOIN_FACTOR: u64 = 2;

/// What is known of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Bytes of its frames.
    pub total_bytes: u64,
    /// About as many of them as belong to batches that can still be read.
    pub live_bytes: u64,
    pub tidied: bool,
    /// It has batches of more than one partition.
    pub mixed: bool,
    /// Largest timestamp in it, negative for none.
    pub newest: TimestampMs,
    /// It is damaged and must stay as it is.
    pub refused: bool,
}

/// When a file is due.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Part of a file, in hundredths, above which dead bytes make it due.
    pub dead_percent: u64,
    /// Age above which frames in order of arrival make it due.
    pub sort_after_ms: Option<i64>,
    /// The most live bytes that go into one file, unless a single one has more.
    pub file_bytes: u64,
}

fn is_due(file: &Share, rules: &Rules, now: TimestampMs) -> bool {
    if file.refused {
        return false;
    }
    let dead = file.total_bytes.saturating_sub(file.live_bytes);
    let wasted = file.total_bytes > 0 && dead.saturating_mul(100) > file.total_bytes.saturating_mul(rules.dead_percent);
    let old = rules.sort_after_ms.is_some_and(|age| file.newest.0 >= 0 && now.0.saturating_sub(file.newest.0) > age);
    wasted || (old && file.mixed && !file.tidied)
}

/// The files to be made into one; `None` if nothing is due.
pub fn choose(files: &[Share], rules: &Rules, now: TimestampMs) -> Option<Range<usize>> {
    let first = files.iter().position(|file| is_due(file, rules, now))?;
    Some(grow(files, first, rules, now))
}

/// The file at `first`, which is to be written anew for whatever reason, and those that join it.
pub fn grow(files: &[Share], first: usize, rules: &Rules, now: TimestampMs) -> Range<usize> {
    let mut range = first..first + 1;
    let mut live = files[first].live_bytes;
    loop {
        let joins = |file: &Share| {
            let small = file.tidied && !file.refused && file.live_bytes <= live.saturating_mul(JOIN_FACTOR);
            (small || is_due(file, rules, now)) && live.saturating_add(file.live_bytes) <= rules.file_bytes
        };
        if let Some(right) = files.get(range.end).filter(|file| joins(file)) {
            live += right.live_bytes;
            range.end += 1;
        } else if let Some(left) = range.start.checked_sub(1).map(|at| &files[at]).filter(|file| joins(file)) {
            live += left.live_bytes;
            range.start -= 1;
        } else {
            return range;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(10_000);
    const RULES: Rules = Rules { dead_percent: 50, sort_after_ms: Some(1_000), file_bytes: 1_000 };

    fn arrived(live_bytes: u64) -> Share {
        Share { total_bytes: 1_000, live_bytes, tidied: false, mixed: true, newest: NOW, refused: false }
    }

    fn tidied(live_bytes: u64) -> Share {
        Share { total_bytes: live_bytes, tidied: true, ..arrived(live_bytes) }
    }

    fn chosen(files: &[Share]) -> Option<Range<usize>> {
        choose(files, &RULES, NOW)
    }

    #[test]
    fn a_file_is_due_when_more_than_the_share_is_dead() {
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[arrived(1_000), arrived(500)]), None);
        assert_eq!(chosen(&[arrived(1_000), arrived(499), arrived(1_000)]), Some(1..2));
        assert_eq!(chosen(&[arrived(1_000), Share { refused: true, ..arrived(0) }]), None);
        assert_eq!(grow(&[arrived(400), arrived(1_000), tidied(1_000)], 1, &RULES, NOW), 1..2);
    }

    #[test]
    fn an_old_file_is_due_while_its_partitions_are_mixed() {
        let old = Share { newest: TimestampMs(8_999), ..arrived(1_000) };
        assert_eq!(chosen(&[arrived(1_000), old]), Some(1..2));
        assert_eq!(chosen(&[Share { newest: TimestampMs(9_000), ..old }]), None);
        assert_eq!(chosen(&[Share { mixed: false, ..old }]), None);
        assert_eq!(chosen(&[Share { tidied: true, ..old }]), None);
        assert_eq!(chosen(&[Share { newest: TimestampMs(-1), ..old }]), None, "it does not say how old it is");
        assert_eq!(choose(&[old], &Rules { sort_after_ms: None, ..RULES }, NOW), None);
    }

    #[test]
    fn due_neighbours_are_made_into_one_file_as_long_as_it_is_not_too_large() {
        assert_eq!(chosen(&[arrived(400), arrived(300), arrived(300), arrived(100)]), Some(0..3));
        assert_eq!(chosen(&[arrived(400), arrived(700), arrived(300)]), Some(0..1));
    }

    #[test]
    fn tidied_neighbours_join_when_they_are_small() {
        assert_eq!(chosen(&[tidied(200), arrived(100), tidied(200)]), Some(0..3));
        assert_eq!(chosen(&[tidied(700), arrived(100)]), Some(1..2), "too much would be written again");
        assert_eq!(chosen(&[tidied(0), arrived(0), tidied(0)]), Some(0..3));
        assert_eq!(chosen(&[tidied(0)]), None, "nothing would change");
        assert_eq!(chosen(&[Share { refused: true, ..tidied(10) }, arrived(100)]), Some(1..2));
    }

    /// With a little left of each file, the files stay few and each byte is written again a few times only.
    #[test]
    fn remains_grow_together_at_a_bounded_cost() {
        let rules = Rules { file_bytes: 100_000, ..RULES };
        let mut files: Vec<Share> = Vec::new();
        let mut written = 0;
        for _ in 0..500 {
            files.push(arrived(100));
            while let Some(range) = choose(&files, &rules, NOW) {
                let live = files[range.clone()].iter().map(|file| file.live_bytes).sum();
                written += live;
                files.splice(range, [tidied(live)]);
            }
        }
        assert!(files.len() < 15, "{} files", files.len());
        assert!(written < 12 * 500 * 100, "{written} bytes");
    }
}
