//! Golden scenarios: what the state machines of delivery make of what happens to them, as text that a person can read (`scenarios/*.txt`).
//!
//! A line that begins with `==` names a scenario and begins with a new machine; one with `>` is something that happens; what follows is what
//! the machine answers and writes. `#` begins a remark. A difference fails; with `DUOLOG_WRITE_DOCS=1` the files are written anew.

mod share_coordinator;
mod share_partition;
mod timers;

use std::path::Path;

/// A state machine with a text for what it is told and what it says.
trait Machine: Default {
    /// Does what the words say, and answers a line for each thing that comes of it.
    fn step(&mut self, said: &Said<'_>) -> Vec<String>;
}

/// What happens: a word for what it is, words for what it is about, and `name=value`.
struct Said<'a> {
    what: &'a str,
    words: Vec<&'a str>,
}

impl<'a> Said<'a> {
    fn new(line: &'a str) -> Said<'a> {
        let mut words = line.split_whitespace();
        let what = words.next().expect("something happens");
        Said { what, words: words.collect() }
    }

    /// The words without a name, in their order.
    fn word(&self, at: usize) -> &'a str {
        self.words.iter().filter(|word| !word.contains('=')).nth(at).copied().unwrap_or_else(|| panic!("{} of what", self.what))
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        self.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> i64 {
        self.find(name).unwrap_or_else(|| panic!("{} without {name}", self.what)).parse().expect("a number")
    }

    fn number_or(&self, name: &str, usual: i64) -> i64 {
        self.find(name).map_or(usual, |text| text.parse().expect("a number"))
    }
}

/// `3`, or `3-5`: the first and the last.
fn range(text: &str) -> (i64, i64) {
    let number = |text: &str| text.parse().expect("a number");
    text.split_once('-').map_or_else(|| (number(text), number(text)), |(first, last)| (number(first), number(last)))
}

fn named(first: i64, last: i64) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn play<M: Machine>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
    let committed = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut machine = M::default();
    let mut played = String::new();
    for line in committed.lines().filter(|line| line.is_empty() || line.starts_with(['=', '>', '#'])) {
        played.push_str(line);
        played.push('\n');
        if line.starts_with('=') {
            machine = M::default();
        }
        if let Some(said) = line.strip_prefix('>') {
            for answer in machine.step(&Said::new(said)) {
                played.push_str("  ");
                played.push_str(&answer);
                played.push('\n');
            }
        }
    }
    if std::env::var_os("DUOLOG_WRITE_DOCS").is_some() {
        return std::fs::write(&path, played).unwrap();
    }
    assert!(
        committed == played,
        "{name} is another story now; run this test once with DUOLOG_WRITE_DOCS=1 and read the difference"
    );
}

#[test]
fn share_partitions() {
    play::<share_partition::Leader>("share-partition.txt");
}

#[test]
fn share_coordinators() {
    play::<share_coordinator::Coordinator>("share-coordinator.txt");
}

#[test]
fn delays() {
    play::<timers::Keeper>("delay.txt");
}

#[test]
fn half_messages() {
    play::<timers::Keeper>("half-messages.txt");
}
