//! Damaged files under the real process: damaged while it is stopped, it starts and serves nothing but what was acknowledged, or says
//! which file is damaged and does not start; and `log verify` finds what concerns the log. The full matrix is in the tests of the log.

use crate::server::{Server, duolog, finish};
use duolog_sim::Random;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::tempdir;

const CASES_A_FILE: u64 = 3;
const TOPICS: [&str; 3] = ["a", "b", "c"];
const LINES: usize = 60;
/// For a client that gets no answer it can use.
const WAIT_SECONDS: &str = "2";

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files_below(&entry)),
            false => found.push(entry),
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file, target).unwrap();
    }
}

/// Lines as clients know them: each says its topic and number.
fn fill(directory: &Path) {
    let server = Server::start(directory);
    for topic in TOPICS {
        server.run(&["topic", "create", topic, "-p", "1"]);
    }
    for round in 0..3 {
        for topic in TOPICS {
            let lines: String = (0..LINES).map(|line| format!("{topic} {}\n", round * LINES + line)).collect();
            server.run_with_input(&["produce", topic], &lines);
        }
    }
    server.stop();
}

/// Somewhere in what the file uses, one bit, a range, or the end.
fn damage(path: &Path, random: &mut Random) -> String {
    let mut bytes = std::fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let at = random.below(used as u64) as usize;
    let what = match random.below(3) {
        0 => {
            bytes[at] ^= 1 << random.below(8);
            "a bit"
        }
        1 => {
            let end = (at + 100).min(used);
            bytes[at..end].iter_mut().for_each(|byte| *byte = !*byte);
            "a range"
        }
        _ => {
            bytes.truncate(at);
            "the end"
        }
    };
    std::fs::write(path, bytes).unwrap();
    format!("{what} of {} at {at}", path.display())
}

/// What a client gets of a topic, which must be a part of what was sent, in order.
fn check_topic(server: &Server, topic: &str, what: &str) {
    // A client asks again for what is refused to it, without end.
    let mut command = Command::new("timeout");
    command.args([WAIT_SECONDS, env!("CARGO_BIN_EXE_duolog"), "consume", topic, "--from-beginning", "--exit-at-end"]);
    command.args(["--bootstrap", &server.kafka]);
    let output = finish(command, "");
    let lines = String::from_utf8(output.stdout).unwrap();
    let sent = (0..3 * LINES).map(|line| format!("{topic} {line}"));
    let got: Vec<&str> = lines.lines().collect();
    assert!(sent.zip(&got).all(|(sent, got)| sent == *got), "{what}: {topic} is read as {got:?}");
    assert!(got.len() <= 3 * LINES, "{what}: {got:?}");
}

fn judge(directory: &Path, file: &Path, what: &str) {
    let mut verify = duolog();
    verify.args(["log", "verify"]).arg(directory);
    let verified = finish(verify, "");
    let server = match std::panic::catch_unwind(|| Server::start(directory)) {
        Ok(server) => server,
        Err(panic) => {
            let complaint = panic.downcast_ref::<String>().expect("it says what the server said");
            assert!(!complaint.contains("panicked"), "{what}: {complaint}");
            let name = file.file_name().unwrap().to_string_lossy();
            assert!(complaint.contains(&*name), "{what}: the file is not named: {complaint}");
            return;
        }
    };
    for topic in TOPICS {
        check_topic(&server, topic, what);
    }
    assert!(!server.said().contains("panicked"), "{what}: {}", server.said());
    println!("{what}: verify ends with {:?}", verified.status.code());
    server.stop();
}

#[test]
fn damaged_files_are_never_served_as_something_else() {
    let root = tempdir().unwrap();
    let sound = root.path().join("sound");
    fill(&sound);
    let mut random = Random::new(1);
    let (mut kinds, mut cases) = (BTreeSet::new(), 0);
    for file in files_below(&sound) {
        let name = file.strip_prefix(&sound).unwrap();
        // The lock file has no content.
        if std::fs::metadata(&file).unwrap().len() == 0 {
            continue;
        }
        kinds.insert(name.to_string_lossy().replace(|letter: char| letter.is_ascii_digit(), ""));
        for case in 0..CASES_A_FILE {
            cases += 1;
            let damaged = root.path().join(format!("{}-{case}", kinds.len()));
            copy(&sound, &damaged);
            let what = damage(&damaged.join(name), &mut random);
            judge(&damaged, &damaged.join(name), &what);
            std::fs::remove_dir_all(&damaged).unwrap();
        }
    }
    assert!(kinds.len() >= 4 && cases >= 16, "{cases} cases of {kinds:?}");
}
