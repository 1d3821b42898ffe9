//! Finds the descriptors: in a directory given by the caller, or inside the published jars of Kafka.

use super::GenerateError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release whose protocol we speak.
pub const KAFKA_VERSION: &str = "4.4.0";

/// The jars that carry descriptors of messages or coordinator records. Those of the Raft metadata log are not ours.
const JARS: [&str; 4] = ["kafka-clients", "kafka-group-coordinator", "kafka-transaction-coordinator", "kafka-share-coordinator"];

/// Descriptors nest as `<jar>/common/message/*.json`; deeper is a mistake.
const MAX_DEPTH: usize = 4;

/// Fetches the jars through Maven and unpacks their descriptors below `target`; returns `target`.
pub fn download(target: &Path) -> Result<PathBuf, GenerateError> {
    for jar in JARS {
        let directory = target.join(jar);
        std::fs::create_dir_all(&directory).map_err(|source| GenerateError::io(&directory, source))?;
        let artifact = format!("-Dartifact=org.apache.kafka:{jar}:{KAFKA_VERSION}:jar");
        let output = format!("-DoutputDirectory={}", directory.display());
        execute(Command::new("mvn").args(["-q", "-B", "dependency:copy", &artifact, &output]))?;
        let archive = directory.join(format!("{jar}-{KAFKA_VERSION}.jar"));
        execute(Command::new("unzip").args(["-q", "-o"]).arg(archive).arg("common/message/*.json").arg("-d").arg(directory))?;
    }
    Ok(target.to_path_buf())
}

/// Runs a tool to its end; anything but success is an error.
pub fn execute(command: &mut Command) -> Result<(), GenerateError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|source| GenerateError::io(Path::new(&name), source))?;
    if status.success() { Ok(()) } else { Err(GenerateError::Command { command: name, status }) }
}

/// All descriptors below `directory` in the order of their paths, comments removed.
pub fn read_all(directory: &Path) -> Result<Vec<(PathBuf, String)>, GenerateError> {
    let mut paths = Vec::new();
    collect(directory, MAX_DEPTH, &mut paths)?;
    paths.sort();
    if paths.is_empty() {
        return Err(GenerateError::NoDescriptors { path: directory.to_path_buf() });
    }
    let mut texts = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|source| GenerateError::io(&path, source))?;
        texts.push((path, strip_comments(&text)));
    }
    Ok(texts)
}

fn collect(directory: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), GenerateError> {
    for entry in std::fs::read_dir(directory).map_err(|source| GenerateError::io(directory, source))? {
        let path = entry.map_err(|source| GenerateError::io(directory, source))?.path();
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    Ok(())
}

/// Removes `//` comments, which JSON lacks and the descriptors have; those inside of strings stay.
fn strip_comments(text: &str) -> String {
    text.lines().map(|line| &line[..code_length(line)]).collect::<Vec<_>>().join("\n")
}

fn code_length(line: &str) -> usize {
    let mut in_string = false;
    let mut previous = ' ';
    for (at, character) in line.char_indices() {
        match character {
            '"' if previous != '\\' => in_string = !in_string,
            '/' if previous == '/' && !in_string => return at - 1,
            _ => {}
        }
        previous = character;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::strip_comments;

    #[test]
    fn comments_go_and_strings_stay() {
        assert_eq!(strip_comments("{ // a \"b\"\n \"u\": \"http://x\" } // y"), "{ \n \"u\": \"http://x\" } ");
    }
}
