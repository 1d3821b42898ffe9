//! Where inputs come from: regressions that were found once, what was collected from real clients, and what each target's own
//! encoders write.

use crate::targets::Target;
use std::io;
use std::path::{Path, PathBuf};

/// The directory of this crate, which holds `regressions/` and `corpus/`.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An input with what to call it in a report.
pub struct Input {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Inputs that once broke a promise.
pub fn regressions(target: &Target) -> io::Result<Vec<Input>> {
    files(&root().join("regressions").join(target.name))
}

/// Valid inputs to begin from: committed ones, then generated ones.
pub fn seeds(target: &Target) -> io::Result<Vec<Input>> {
    let mut inputs = files(&root().join("corpus").join(target.corpus))?;
    let generated = (target.seeds)().into_iter().enumerate();
    inputs.extend(generated.map(|(number, bytes)| Input { name: format!("seed {number}"), bytes }));
    Ok(inputs)
}

/// Keeps an input that breaks a promise. Its name follows from its content.
pub fn save_regression(target: &Target, bytes: &[u8]) -> io::Result<PathBuf> {
    let path = root().join("regressions").join(target.name).join(name_of(bytes));
    std::fs::create_dir_all(path.parent().unwrap_or(root()))?;
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// Writes the seeds into a directory, for the coverage-guided program to begin from.
pub fn write_seeds(target: &Target, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    seeds(target)?.iter().try_for_each(|seed| std::fs::write(directory.join(name_of(&seed.bytes)), &seed.bytes))
}

fn name_of(bytes: &[u8]) -> String {
    format!("{:08x}-{}", duolog_log::fuzzing::checksum(bytes), bytes.len())
}

/// The files of a directory in the order of their names; none if there is no such directory.
fn files(directory: &Path) -> io::Result<Vec<Input>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.into_iter().map(|path| Ok(Input { bytes: std::fs::read(&path)?, name: path.display().to_string() })).collect()
}
