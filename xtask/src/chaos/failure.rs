//! Why a chaos run could not be made, or what it found.

use crate::interop;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "usage: cargo xtask chaos [--peer none|kafka] [--nodes N] [--fault kill|pause|power-loss|slow-disk|sync-error|isolate|mute|full-disk|full-disks]... [--rounds N | --minutes N] [--seed N] [--binary PATH]"
    )]
    Usage,
    #[error("loss of power and full disks need root, loop devices and ext4: {line}: {said}")]
    NoDisk { line: String, said: String },
    #[error("strace cannot let system calls of the server fail: {0}")]
    NoTracer(String),
    #[error(transparent)]
    Run(#[from] interop::Failure),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error("a client's line is no event: {line}")]
    NoEvent { line: String },
    #[error("the client {client} ended by itself ({status}); it said:\n{said}")]
    ClientEnded { client: String, status: String, said: String },
    #[error("within {seconds} s there were no {wanted} further acknowledgements and records read; the server's log ends:\n{log}")]
    NoProgress { seconds: u64, wanted: u64, log: String },
    #[error("the server goes on after a failed sync")]
    GoesOn,
    #[error("{seconds} s after all disks were full producers were still answered")]
    NotRefused { seconds: u64 },
    #[error("{violations} violations; logs are in {logs}")]
    Violations { violations: usize, logs: PathBuf },
    #[error("the power was cut under a server that does not sync, and nothing acknowledged was lost")]
    NothingLost,
}

impl Failure {
    pub(crate) fn file(path: &Path, error: std::io::Error) -> Failure {
        Failure::File { path: path.to_owned(), error }
    }
}
