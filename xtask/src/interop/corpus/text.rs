//! The corpus: lines of words, the same in every run, each with its partition and its place in it.
//!
//! A line in the file is `PARTITION SEQUENCE TEXT`. Whole lines are the values that are produced, so a line that lands in
//! the wrong place cannot go unnoticed. Lengths vary from nothing to some kilobytes, and letters beyond ASCII occur.

use crate::interop::failure::Failure;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(super) const PARTITIONS: usize = 6;
/// The file is at least this long.
const BYTES: usize = 110_000_000;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const VOCABULARY_WORDS: usize = 4096;
const SYLLABLES: [&str; 24] = [
    "ka", "fe", "log", "du", "ra", "bil", "ten", "so", "mi", "ver", "un", "or", "pla", "st", "\u{e9}t", "\u{f8}r", "\u{6f22}",
    "ing", "ly", "qu", "x", "an", "the", "zo",
];

/// The corpus in memory: its text, and where each partition's lines lie in it.
pub(super) struct Corpus {
    path: PathBuf,
    text: Vec<u8>,
    lines: Vec<Vec<std::ops::Range<usize>>>,
}

impl Corpus {
    /// Reads the file, or writes it first when it is not there.
    pub(super) fn open(path: &Path) -> Result<Corpus, Failure> {
        if !path.exists() {
            let unfinished = path.with_extension("unfinished");
            std::fs::write(&unfinished, generate(BYTES)).map_err(|error| Failure::file(&unfinished, error))?;
            std::fs::rename(&unfinished, path).map_err(|error| Failure::file(path, error))?;
        }
        let text = std::fs::read(path).map_err(|error| Failure::file(path, error))?;
        Ok(Corpus { path: path.to_owned(), lines: locate(&text), text })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn line(&self, partition: usize, sequence: usize) -> Option<&[u8]> {
        let range = self.lines.get(partition)?.get(sequence)?;
        Some(&self.text[range.clone()])
    }

    pub(super) fn lines_in(&self, partition: usize) -> usize {
        self.lines[partition].len()
    }

    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Corpus {
        Corpus { path: PathBuf::new(), lines: locate(text.as_bytes()), text: text.as_bytes().to_vec() }
    }
}

/// The ranges of each partition's lines, without their line ends. The file is ours, so it is well formed.
fn locate(text: &[u8]) -> Vec<Vec<std::ops::Range<usize>>> {
    let mut lines = vec![Vec::new(); PARTITIONS];
    let mut start = 0;
    for (end, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        lines[usize::from(text[start] - b'0')].push(start..end);
        start = end + 1;
    }
    lines
}

fn generate(bytes: usize) -> String {
    let mut random = Random(SEED);
    let words: Vec<String> = (0..VOCABULARY_WORDS).map(|_| word(&mut random)).collect();
    let mut text = String::with_capacity(bytes + 16_384);
    let mut sequences = [0_usize; PARTITIONS];
    while text.len() < bytes {
        let partition = random.below(PARTITIONS);
        write!(text, "{partition} {}", sequences[partition]).expect("a string takes what is written");
        sequences[partition] += 1;
        for _ in 0..line_words(&mut random) {
            text.push(' ');
            // The smaller of two: some words are common, most are rare, as in a language.
            let (one, other) = (random.below(VOCABULARY_WORDS), random.below(VOCABULARY_WORDS));
            text += &words[one.min(other)];
        }
        text.push('\n');
    }
    text
}

/// Mostly a sentence, now and then nothing, rarely a long paragraph.
fn line_words(random: &mut Random) -> usize {
    match random.below(1000) {
        0..10 => 0,
        999 => 400 + random.below(800),
        _ => 3 + random.below(26),
    }
}

fn word(random: &mut Random) -> String {
    (0..1 + random.below(4)).map(|_| SYLLABLES[random.below(SYLLABLES.len())]).collect()
}

/// xorshift64*: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).expect("31 bits fit") % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_same_every_time() {
        let (one, other) = (generate(200_000), generate(200_000));
        assert!(one == other && one.len() >= 200_000);
    }

    #[test]
    fn each_line_says_where_it_belongs() {
        let corpus = Corpus::from_text(&generate(200_000));
        for partition in 0..PARTITIONS {
            for sequence in 0..corpus.lines_in(partition) {
                let line = std::str::from_utf8(corpus.line(partition, sequence).unwrap()).unwrap();
                let place = format!("{partition} {sequence}");
                assert!(line == place || line.starts_with(&(place + " ")), "{line}");
            }
            assert_eq!(corpus.line(partition, corpus.lines_in(partition)), None);
        }
    }
}
