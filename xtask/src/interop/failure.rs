//! Why the interop run could not go on. A failed scenario is no `Failure`: it is counted.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "usage: cargo xtask interop [--suite NAME]... [--scenario PATTERN] [--peer kafka | --peer rocketmq | [--bootstrap HOST:PORT] [--name-server HOST:PORT] [--grpc HOST:PORT]] [--nodes N] [--binary PATH]\nsuites: {suites}"
    )]
    Usage { suites: String },
    #[error("{program} is not installed")]
    Missing { program: String },
    #[error("{line} failed; the end of its output:\n{output}")]
    Failed { line: String, output: String },
    #[error("{line} took longer than {seconds} s; the end of its output:\n{output}")]
    TooSlow { line: String, seconds: u64, output: String },
    #[error("the server did not start within {seconds} s; the end of its log:\n{log}")]
    NotReady { seconds: u64, log: String },
    #[error("the server ended by itself ({status}); the end of its log:\n{log}")]
    Died { status: String, log: String },
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error("{failed} scenarios failed")]
    Scenarios { failed: usize },
}

impl Failure {
    pub(crate) fn file(path: &Path, error: std::io::Error) -> Failure {
        Failure::File { path: path.to_owned(), error }
    }
}
