//! `cargo xtask test`: every check, in the order in which a failure is cheapest to find. CI runs exactly this.

use crate::command::{Failure, root, run};
use std::time::Instant;

/// Crates that must not come in through somebody's default features (see `deny.toml` for the reasons).
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys", "librocksdb-sys"];

/// Nodes of the clusters under test, and the suites that run against them: not all, to stay within the time of a run.
const CLUSTER: &str = "3";
const CLUSTER_SUITES: &[&str] = &["java-newest", "librdkafka", "franz-go", "tools", "rocketmq-java-5", "rocketmq-grpc-java"];

type Stage = (&'static str, fn() -> Result<(), Failure>);

const STAGES: &[Stage] = &[
    ("format", || run("cargo", &["fmt", "--all", "--check"])),
    ("dependencies", dependencies),
    ("lint", || run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
    ("unit", unit),
    ("fuzz", crate::fuzz::short),
    ("generated", || run("cargo", &["xtask", "generate", "--check"])),
    ("oracle", || run("cargo", &["xtask", "oracle"])),
    ("build", || run("cargo", &["build", "--release", "--locked", "--package", "duolog"])),
    ("interop", || run("cargo", &["xtask", "interop"])),
    ("interop-cluster", interop_cluster),
    ("chaos", || run("cargo", &["xtask", "chaos"])),
    ("chaos-cluster", || run("cargo", &["xtask", "chaos", "--nodes", CLUSTER])),
    ("bench", load_generator),
];

fn interop_cluster() -> Result<(), Failure> {
    let suites = CLUSTER_SUITES.iter().flat_map(|suite| ["--suite", suite]);
    let arguments: Vec<&str> = ["xtask", "interop", "--nodes", CLUSTER].into_iter().chain(suites).collect();
    run("cargo", &arguments)
}

/// The load generator is a workspace of its own, so that no other stage waits for librdkafka to be compiled.
fn load_generator() -> Result<(), Failure> {
    const MANIFEST: &[&str] = &["--manifest-path", "crates/bench/Cargo.toml"];
    const BUILD: &[&str] = &["--locked", "--target-dir", "target"];
    run("cargo", &[&["fmt"], MANIFEST, &["--check"]].concat())?;
    run("cargo", &[&["clippy", "--all-targets"], MANIFEST, BUILD, &["--", "-D", "warnings"]].concat())?;
    run("cargo", &[&["test"], MANIFEST, BUILD].concat())
}

/// The tests of all crates. Some let system calls of the server fail through strace, which apt-get brings if it is missing.
fn unit() -> Result<(), Failure> {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        run("apt-get", &["update", "-q"])?;
        run("apt-get", &["install", "-q", "-y", "strace"])?;
    }
    run("cargo", &["test", "--workspace", "--locked"])
}

fn run_stages(only: &[String]) -> Result<(), Failure> {
    for (name, stage) in STAGES {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("== {name}");
        let start = Instant::now();
        stage()?;
        println!("== {name}: passed in {} s", start.elapsed().as_secs());
    }
    Ok(())
}

/// Takes `--only STAGE` any number of times.
pub(crate) fn run_command(arguments: &[String]) -> Result<(), Failure> {
    let mut only = Vec::new();
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        match (flag.as_str(), rest.next()) {
            ("--only", Some(name)) if STAGES.iter().any(|(stage, _)| stage == name) => only.push(name.clone()),
            _ => {
                let names: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
                return Err(Failure::Found(format!("usage: test [--only STAGE]...; stages: {}", names.join(", "))));
            }
        }
    }
    run_stages(&only)
}

fn dependencies() -> Result<(), Failure> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock"))?;
    let found: Vec<&str> =
        BANNED.iter().copied().filter(|name| lock.lines().any(|line| line == format!("name = \"{name}\""))).collect();
    if found.is_empty() { Ok(()) } else { Err(Failure::Found(format!("banned crates in Cargo.lock: {}", found.join(", ")))) }
}
