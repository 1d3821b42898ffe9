//! What the numbers were measured on.

use std::path::Path;
use std::process::Command;

/// Lines for the document: processor, memory, kernel, file system, versions.
pub(super) fn describe(root: &Path) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    vec![
        format!("Processor: {} x {}", cores, field("/proc/cpuinfo", "model name").unwrap_or_else(unknown)),
        format!("Memory: {}", field("/proc/meminfo", "MemTotal").unwrap_or_else(unknown)),
        format!("Kernel: {}", output("uname", &["-sr"], root)),
        format!("File system: {}", output("stat", &["-f", "-c", "%T", "."], root)),
        format!("Java: {}", field_of(&output("java", &["-XshowSettings:properties", "-version"], root), "java.vm.version")),
        format!("librdkafka: {}", librdkafka(root)),
    ]
}

/// What the measured sources are called, with a mark when they differ from it.
pub(super) fn revision(root: &Path) -> String {
    output("git", &["describe", "--always", "--dirty"], root)
}

pub(super) fn today(root: &Path) -> String {
    output("date", &["-u", "+%Y-%m-%d"], root)
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn field(path: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn field_of(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.trim_start().starts_with(key));
    line.and_then(|line| line.split_once('=')).map_or_else(unknown, |(_, value)| value.trim().to_owned())
}

/// The version that the load generator links, from its lock file: the part of `rdkafka-sys`' version behind the plus.
fn librdkafka(root: &Path) -> String {
    let lock = std::fs::read_to_string(root.join("crates/bench/Cargo.lock")).unwrap_or_default();
    let version = lock.split("name = \"rdkafka-sys\"").nth(1).and_then(|rest| rest.split('"').nth(1));
    version.and_then(|version| version.split('+').nth(1)).map_or_else(unknown, str::to_owned)
}

/// What a program prints on either stream; some print their version on the wrong one.
fn output(program: &str, arguments: &[&str], root: &Path) -> String {
    match Command::new(program).args(arguments).current_dir(root).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).trim().to_owned()
        }
        Err(_) => unknown(),
    }
}
