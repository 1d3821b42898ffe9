//! Why a measurement could not be made. A goal that is missed is no failure.

use crate::interop;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "usage: cargo xtask bench list
       cargo xtask bench run CASE... [--binary PATH | --peer kafka|rocketmq] [--set KEY=VALUE]... [--rounds N] [--quick]
       cargo xtask bench compare --peer kafka|rocketmq [--case NAME]... [--binary PATH] [--rounds N] [--quick]
       cargo xtask bench document
A name that ends in * stands for all cases that begin so."
    )]
    Usage,
    #[error("there is no case {name}; `cargo xtask bench list` names them")]
    NoSuchCase { name: String },
    #[error(transparent)]
    Server(#[from] interop::Failure),
    #[error("the load generator's report cannot be read: {error}\n{text}")]
    Report { error: serde_json::Error, text: String },
    #[error("{path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error("emptying the page cache: {failure}")]
    PageCache { failure: crate::command::Failure },
    #[error("{path} has no line {line:?}")]
    Mark { path: PathBuf, line: &'static str },
}

impl Failure {
    pub(super) fn file(path: &Path, error: std::io::Error) -> Failure {
        Failure::File { path: path.to_owned(), error }
    }
}
