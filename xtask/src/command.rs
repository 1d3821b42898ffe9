//! Running other programs from the repository's root, with what they print passed through.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a command of xtask failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A program it needs is not on this machine.
    Missing {
        program: String,
    },
    /// A program ended with an error.
    Failed {
        line: String,
    },
    /// A check found something.
    Found(String),
    Io(std::io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Missing { program } => write!(f, "{program} is not installed"),
            Failure::Failed { line } => write!(f, "failed: {line}"),
            Failure::Found(what) => f.write_str(what),
            Failure::Io(error) => error.fmt(f),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Io(error)
    }
}

/// The repository's root, wherever xtask was started.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf()
}

/// Runs a program in the repository's root and waits for it.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let line = format!("{program} {}", arguments.join(" "));
    println!("$ {line}");
    let status = Command::new(program).args(arguments).current_dir(root()).status().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::Missing { program: program.to_owned() },
        _ => Failure::Io(error),
    })?;
    if status.success() { Ok(()) } else { Err(Failure::Failed { line }) }
}
