//! `cargo xtask generate`: turns Kafka's JSON message descriptors into the Rust of `duolog_wire::kafka::messages`.
//!
//! The generated files are committed. With `--check` nothing is written and the command fails if the committed
//! files differ from what the descriptors give. Names, numbers and versions are taken over; prose is not.

mod decode;
mod descriptors;
mod encode;
mod error;
mod names;
mod schema;
mod structs;
mod table;
mod versions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use descriptors::execute;
pub use error::GenerateError;

/// Paths below the wire crate and the text that belongs there.
type Files = BTreeMap<String, String>;

/// The directory that holds generated files only.
const MESSAGES: &str = "src/kafka/messages";
/// Lists every message's codec for the tests.
const TEST_TABLE: &str = "tests/it/kafka_codecs.rs";

struct Options {
    descriptors: Option<PathBuf>,
    check: bool,
}

/// Entry of the chore; `arguments` are those after its name.
pub fn run(arguments: &[String]) -> Result<(), GenerateError> {
    let options = parse(arguments)?;
    let root = repository_root();
    let directory = match &options.descriptors {
        Some(directory) => directory.clone(),
        None => descriptors::download(&root.join("target/descriptors"))?,
    };
    let mut messages = Vec::new();
    for (path, text) in descriptors::read_all(&directory)? {
        messages.extend(schema::parse(&path, &text)?);
    }
    let files = format(generate(&messages)?, &root)?;
    let target = root.join("crates/wire");
    if options.check { check(&files, &target) } else { write(&files, &target) }
}

fn parse(arguments: &[String]) -> Result<Options, GenerateError> {
    let mut options = Options { descriptors: None, check: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--check" => options.check = true,
            "--descriptors" => {
                let directory = rest.next().ok_or_else(|| GenerateError::Usage { argument: argument.clone() })?;
                options.descriptors = Some(PathBuf::from(directory));
            }
            _ => return Err(GenerateError::Usage { argument: argument.clone() }),
        }
    }
    Ok(options)
}

/// The directory that holds the workspace: the parent of this crate's.
pub fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

fn generate(messages: &[schema::Message]) -> Result<Files, GenerateError> {
    let mut files = Files::new();
    for message in messages {
        let file = format!("{MESSAGES}/{}.rs", names::snake(&message.name));
        if files.insert(file, structs::file(message)?).is_some() {
            return Err(GenerateError::Duplicate { message: message.name.clone() });
        }
    }
    files.insert(format!("{MESSAGES}/mod.rs"), table::module(messages));
    files.insert(format!("{MESSAGES}/api_keys.rs"), table::api_keys(messages)?);
    files.insert(TEST_TABLE.to_string(), table::codecs(messages));
    Ok(files)
}

/// Runs rustfmt over a scratch copy, so that a check never touches the committed files.
fn format(files: Files, root: &Path) -> Result<Files, GenerateError> {
    let scratch = root.join("target/generate");
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch).map_err(|source| GenerateError::io(&scratch, source))?;
    }
    write(&files, &scratch)?;
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024", "--config-path"]).arg(root.join("rustfmt.toml"));
    rustfmt.arg(scratch.join(MESSAGES).join("mod.rs")).arg(scratch.join(TEST_TABLE));
    descriptors::execute(&mut rustfmt)?;
    let mut formatted = Files::new();
    for name in files.into_keys() {
        let path = scratch.join(&name);
        let text = std::fs::read_to_string(&path).map_err(|source| GenerateError::io(&path, source))?;
        formatted.insert(name, text);
    }
    Ok(formatted)
}

fn write(files: &Files, target: &Path) -> Result<(), GenerateError> {
    for (name, text) in files {
        let path = target.join(name);
        let directory = path.parent().unwrap_or(target);
        std::fs::create_dir_all(directory).map_err(|source| GenerateError::io(directory, source))?;
        if std::fs::read_to_string(&path).is_ok_and(|old| old == *text) {
            continue;
        }
        std::fs::write(&path, text).map_err(|source| GenerateError::io(&path, source))?;
    }
    for name in stale(files, target)? {
        let path = target.join(name);
        std::fs::remove_file(&path).map_err(|source| GenerateError::io(&path, source))?;
    }
    Ok(())
}

fn check(files: &Files, target: &Path) -> Result<(), GenerateError> {
    let mut different = stale(files, target)?;
    for (name, text) in files {
        if std::fs::read_to_string(target.join(name)).ok().as_deref() != Some(text.as_str()) {
            different.push(name.clone());
        }
    }
    if different.is_empty() { Ok(()) } else { Err(GenerateError::Stale { files: different }) }
}

/// Files among the messages that no descriptor gives any more.
fn stale(files: &Files, target: &Path) -> Result<Vec<String>, GenerateError> {
    let directory = target.join(MESSAGES);
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(|source| GenerateError::io(&directory, source))? {
        let entry = entry.map_err(|source| GenerateError::io(&directory, source))?;
        let name = format!("{MESSAGES}/{}", entry.file_name().to_string_lossy());
        if !files.contains_key(&name) {
            stale.push(name);
        }
    }
    Ok(stale)
}
