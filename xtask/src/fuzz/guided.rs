//! Builds the targets with coverage counters and runs libFuzzer on them, one after the other.
//!
//! Works on stable Rust: the counters come from a pass of LLVM that needs no sanitizer. What libFuzzer finds worth keeping stays in
//! `target/fuzz/corpus` and is where the next run begins; an input that fails becomes a file in `fuzz/regressions`.

use crate::command::{Failure, root};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Instruments every crate but build scripts and procedural macros, which are built for the host.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Seconds for one input.
const INPUT_SECONDS: u64 = 20;
/// Memory of the whole process, in MiB.
const MEMORY_MIB: u64 = 2_048;

/// The name and longest input of a target.
struct Target {
    name: String,
    max_bytes: String,
}

pub(super) fn run(minutes: u64, wanted: Vec<String>) -> Result<(), Failure> {
    let directory = root().join("target/fuzz");
    let plain = build_plain()?;
    let targets: Vec<Target> = list(&plain)?;
    if let Some(unknown) = wanted.iter().find(|name| !targets.iter().any(|target| target.name == **name)) {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        return Err(Failure::Found(format!("no target {unknown}; there are {}", names.join(", "))));
    }
    let guided = build_guided(&directory)?;
    let mut failed = Vec::new();
    for target in targets.iter().filter(|target| wanted.is_empty() || wanted.contains(&target.name)) {
        println!("== {} for {minutes} minutes", target.name);
        if !explore(&plain, &guided, target, minutes, &directory)? {
            failed.push(target.name.as_str());
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::Found(format!("targets that fail: {}; the inputs are in fuzz/regressions", failed.join(", ")))),
    }
}

fn cargo_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |given| root().join(given))
}

/// The program that writes seeds and keeps regressions.
fn build_plain() -> Result<PathBuf, Failure> {
    crate::command::run("cargo", &["build", "--locked", "--package", "duolog-fuzz"])?;
    Ok(cargo_target().join("debug/duolog-fuzz"))
}

fn build_guided(directory: &Path) -> Result<PathBuf, Failure> {
    let target = directory.join("build");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--target", TRIPLE]).current_dir(root().join("fuzz/guided"));
    cargo.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &target);
    finished(&mut cargo)?;
    Ok(target.join(TRIPLE).join("release/duolog-fuzz-guided"))
}

fn finished(command: &mut Command) -> Result<(), Failure> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(Failure::Failed { line: format!("{command:?}") }),
    }
}

fn list(plain: &Path) -> Result<Vec<Target>, Failure> {
    let output = Command::new(plain).arg("--list").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let target = |line: &str| {
        let (name, max_bytes) = line.split_once(' ')?;
        Some(Target { name: name.to_owned(), max_bytes: max_bytes.to_owned() })
    };
    Ok(text.lines().filter_map(target).collect())
}

/// Runs one target; false if an input failed.
fn explore(plain: &Path, guided: &Path, target: &Target, minutes: u64, directory: &Path) -> Result<bool, Failure> {
    let (corpus, found) = (directory.join("corpus").join(&target.name), directory.join("found").join(&target.name));
    std::fs::create_dir_all(&found)?;
    finished(Command::new(plain).args(["--target", &target.name, "--seeds"]).arg(&corpus))?;
    let mut fuzzer = Command::new(guided);
    fuzzer.env("DUOLOG_FUZZ_TARGET", &target.name).arg(&corpus).arg(format!("-artifact_prefix={}/", found.display()));
    fuzzer.arg(format!("-max_total_time={}", minutes * 60)).arg(format!("-max_len={}", target.max_bytes));
    fuzzer.arg(format!("-timeout={INPUT_SECONDS}")).arg(format!("-rss_limit_mb={MEMORY_MIB}"));
    fuzzer.args(["-print_final_stats=1", "-verbosity=1"]);
    if fuzzer.status()?.success() {
        return Ok(true);
    }
    for input in std::fs::read_dir(&found)? {
        let input = input?.path();
        // Ends with an error because the input fails.
        Command::new(plain).args(["--target", &target.name, "--keep"]).arg(&input).status()?;
        std::fs::remove_file(&input)?;
    }
    Ok(false)
}
