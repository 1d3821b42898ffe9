//! `cargo xtask fuzz`: long, coverage-guided runs of the targets in `fuzz/`, and requests collected from real clients for them
//! to begin from. The short run that is part of `cargo xtask test` is [`short`].

mod collect;
mod guided;

use crate::command::{Failure, run as run_program};
use std::path::PathBuf;

const USAGE: &str = "usage: fuzz --minutes N [--target T]... | fuzz --collect [--binary DUOLOG] [--suite S]...";

/// Every target with its regressions, its corpus and some mutations of it, the same on every run.
pub(crate) fn short() -> Result<(), Failure> {
    run_program("cargo", &["run", "--quiet", "--locked", "--package", "duolog-fuzz"])
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    match parse(arguments).ok_or_else(|| Failure::Found(USAGE.to_owned()))? {
        Chore::Guided { minutes, targets } => guided::run(minutes, targets),
        Chore::Collect { binary, suites } => collect::run(binary, &suites),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Chore {
    /// So long for each of these targets, or of all if none is named.
    Guided {
        minutes: u64,
        targets: Vec<String>,
    },
    Collect {
        binary: Option<PathBuf>,
        suites: Vec<String>,
    },
}

fn parse(arguments: &[String]) -> Option<Chore> {
    let (mut collect, mut minutes, mut binary) = (false, None, None);
    let (mut targets, mut suites) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        if flag == "--collect" {
            collect = true;
            continue;
        }
        let value = rest.next()?.clone();
        match flag.as_str() {
            "--minutes" => minutes = Some(value.parse().ok()?),
            "--target" => targets.push(value),
            "--binary" => binary = Some(value.into()),
            "--suite" => suites.push(value),
            _ => return None,
        }
    }
    match (collect, minutes) {
        (true, None) if targets.is_empty() => Some(Chore::Collect { binary, suites }),
        (false, Some(minutes)) if suites.is_empty() && binary.is_none() => Some(Chore::Guided { minutes, targets }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Chore, parse};

    fn parsed(line: &str) -> Option<Chore> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_run_has_a_length_and_perhaps_targets() {
        let targets = vec!["config".to_owned()];
        assert_eq!(parsed("--minutes 3 --target config"), Some(Chore::Guided { minutes: 3, targets }));
        assert_eq!(parsed("--minutes 3"), Some(Chore::Guided { minutes: 3, targets: vec![] }));
        assert_eq!(parsed("--collect"), Some(Chore::Collect { binary: None, suites: vec![] }));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in ["", "--target config", "--minutes many", "--collect --minutes 1", "--minutes 1 --suite kafkajs", "--minutes"]
        {
            assert_eq!(parsed(line), None, "{line}");
        }
    }
}
