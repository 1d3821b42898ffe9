//! Both servers in turn, case by case. What a case found is kept below `target/bench/results`, from where the document is
//! made, so that a long comparison can be made in pieces.

use super::cases::Case;
use super::failure::Failure;
use super::figures::Figures;
use super::options::Compare;
use super::server::Subject;
use super::{machine, measure};
use crate::interop::places::Places;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All rounds of one case, made in one run.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Outcome {
    pub(super) case: String,
    pub(super) revision: String,
    pub(super) date: String,
    pub(super) ours: Vec<Figures>,
    pub(super) peer: Vec<Figures>,
    /// Measurements that could not be made, and why.
    #[serde(default)]
    pub(super) failures: Vec<String>,
}

pub(super) fn compare(
    places: &Places,
    tool: &Path,
    subjects: &[Subject; 2],
    cases: &[Case],
    options: &Compare,
) -> Result<(), Failure> {
    let rounds = if options.quick { 1 } else { options.rounds };
    for case in cases {
        let outcome = case_outcome(places, tool, subjects, case, rounds);
        if !options.quick {
            store(&places.root, &outcome)?;
        }
    }
    Ok(())
}

fn case_outcome(places: &Places, tool: &Path, subjects: &[Subject; 2], case: &Case, rounds: usize) -> Outcome {
    println!("== {}: {}", case.name, case.about);
    let mut outcome = Outcome {
        case: case.name.clone(),
        revision: machine::revision(&places.root),
        date: machine::today(&places.root),
        ..Outcome::default()
    };
    for round in 0..rounds {
        // The one that goes second finds the machine as the first left it: take turns.
        for turn in 0..subjects.len() {
            let which = (round + turn) % subjects.len();
            if which == 0 || case.peer {
                outcome.note(which == 0, &subjects[which], measure::measure(places, tool, &subjects[which], case, &[]));
            }
        }
    }
    outcome
}

impl Outcome {
    /// A server that fails a case is a finding, and no reason not to measure the rest.
    fn note(&mut self, ours: bool, subject: &Subject, measured: Result<Figures, Failure>) {
        match measured {
            Ok(figures) => {
                println!("{:7} {figures}", subject.name());
                if ours { self.ours.push(figures) } else { self.peer.push(figures) }
            }
            Err(failure) => {
                let text = failure.to_string();
                println!("{:7} {text}", subject.name());
                self.failures.push(format!("{}: {}", subject.name(), text.lines().next().unwrap_or_default()));
            }
        }
    }
}

fn path(root: &Path, case: &str) -> PathBuf {
    root.join("target/bench/results").join(format!("{case}.json"))
}

fn store(root: &Path, outcome: &Outcome) -> Result<(), Failure> {
    let path = path(root, &outcome.case);
    let directory = path.parent().expect("it has a directory");
    std::fs::create_dir_all(directory).map_err(|error| Failure::file(directory, error))?;
    let text = serde_json::to_string_pretty(outcome).expect("an outcome is plain data");
    std::fs::write(&path, text).map_err(|error| Failure::file(&path, error))
}

/// What was found last for a case, if it was ever compared.
pub(super) fn stored(root: &Path, case: &str) -> Result<Option<Outcome>, Failure> {
    let path = path(root, case);
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| Failure::Report { error, text }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file(&path, error)),
    }
}
