//! Where the suites, their installed clients and a run's logs and data lie.

use super::failure::Failure;
use std::path::{Path, PathBuf};

/// The directories of one run.
#[derive(Debug)]
pub(crate) struct Places {
    /// The repository.
    pub(crate) root: PathBuf,
    /// `interop/`: the suites.
    pub(crate) suites: PathBuf,
    /// `interop/.cache`: clients, compiled suites and the corpus; kept between runs.
    pub(crate) cache: PathBuf,
    /// Logs and the server's data of this run; removed when everything passed.
    pub(crate) run: PathBuf,
}

impl Places {
    pub(crate) fn new() -> Result<Places, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf();
        let suites = root.join("interop");
        let cache = suites.join(".cache");
        let run = std::env::temp_dir().join(format!("duolog-interop-{}", std::process::id()));
        for directory in [&cache, &run] {
            std::fs::create_dir_all(directory).map_err(|error| Failure::file(directory, error))?;
        }
        Ok(Places { root, suites, cache, run })
    }

    /// Removes what only this run needed.
    pub(crate) fn clean(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.run) {
            eprintln!("{}: {error}", self.run.display());
        }
    }
}

/// The last `lines` lines of a text file, or why they cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), lines),
        Err(error) => format!("({}: {error})", path.display()),
    }
}

fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_tail_is_the_end_or_everything() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a\nb", 5), "a\nb");
        assert_eq!(last_lines("", 5), "");
    }
}
