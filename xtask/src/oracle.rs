//! `cargo xtask oracle`: lets Kafka's own classes write every message at every version, and our codec read them.
//!
//! Needs Java and Maven, so that it is apart from `cargo test`. With `--golden` the small sample that the ordinary
//! tests read is written anew as well.

use crate::generate::{GenerateError, execute, repository_root};
use std::path::Path;
use std::process::Command;

/// All shapes of samples, as the Java program names them.
const ALL_SHAPES: &str = "DEFAULTS,NULLS,EMPTY,FULL,RANDOM_1,RANDOM_2,RANDOM_3,RANDOM_4";
/// Those of the committed sample, which is to stay small.
const GOLDEN_SHAPES: &str = "NULLS,FULL,RANDOM_1";

/// Entry of the chore; `arguments` are those after its name.
pub fn run(arguments: &[String]) -> Result<(), GenerateError> {
    let golden = match arguments {
        [] => false,
        [argument] if argument == "--golden" => true,
        [argument, ..] => return Err(GenerateError::Usage { argument: argument.clone() }),
    };
    let root = repository_root();
    let directory = root.join("target/oracle");
    std::fs::create_dir_all(&directory).map_err(|source| GenerateError::io(&directory, source))?;
    let classpath = build(&root, &directory)?;
    let messages = directory.join("messages.bin");
    write_samples(&classpath, &messages, ALL_SHAPES)?;
    if golden {
        write_samples(&classpath, &root.join("crates/wire/tests/golden/kafka-messages.bin"), GOLDEN_SHAPES)?;
    }
    test(&root, &messages)
}

/// Compiles the Java program; returns the class path it runs with.
fn build(root: &Path, directory: &Path) -> Result<String, GenerateError> {
    let list = directory.join("classpath");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(root.join("interop/oracle/pom.xml")).args(["compile", "dependency:build-classpath"]);
    maven.arg(format!("-Dmdep.outputFile={}", list.display()));
    execute(&mut maven)?;
    let libraries = std::fs::read_to_string(&list).map_err(|source| GenerateError::io(&list, source))?;
    Ok(format!("{}:{}", directory.join("build/classes").display(), libraries.trim()))
}

fn write_samples(classpath: &str, file: &Path, shapes: &str) -> Result<(), GenerateError> {
    execute(Command::new("java").args(["-cp", classpath, "duolog.oracle.Oracle"]).arg(file).arg(shapes))
}

fn test(root: &Path, messages: &Path) -> Result<(), GenerateError> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).args(["test", "-p", "duolog-wire", "--test", "it", "--", "--include-ignored", "kafka_oracle"]);
    execute(cargo.env("DUOLOG_ORACLE_FILE", messages))
}
