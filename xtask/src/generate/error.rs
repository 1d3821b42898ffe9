//! What can go wrong while generating: the descriptors, the tools around them, or the files.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("argument {argument:?} is unknown or lacks its value")]
    Usage { argument: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{command} failed with {status}")]
    Command { command: String, status: std::process::ExitStatus },
    #[error("{path}: {source}")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("no descriptors below {path}")]
    NoDescriptors { path: PathBuf },
    #[error("{message}: cannot read the versions {text:?}")]
    Versions { message: String, text: String },
    #[error("{message}: field {field} has a type, default or tag that the generator does not know")]
    Field { message: String, field: String },
    #[error("two descriptors are named {message}")]
    Duplicate { message: String },
    #[error("{message} has no counterpart, or its counterpart's flexible versions differ")]
    Pair { message: String },
    #[error("out of date, run `cargo xtask generate`: {}", files.join(", "))]
    Stale { files: Vec<String> },
}

impl GenerateError {
    pub fn io(path: &Path, source: std::io::Error) -> GenerateError {
        GenerateError::Io { path: path.to_path_buf(), source }
    }
}
