//! The load generator: built from its own workspace, called with a load, its report read.

use super::cluster::Cluster;
use super::failure::Failure;
use super::figures::Figures;
use crate::interop::install;
use crate::interop::places::Places;
use crate::interop::process::{Running, run};
use crate::interop::wait_until;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const BUILD_LIMIT: Duration = Duration::from_secs(3600);
/// In a load: the servers' address, and the class path of Kafka's tools.
pub(super) const BOOTSTRAP: &str = "{bootstrap}";
pub(super) const KAFKA_TOOLS: &str = "{kafka-tools}";
/// What the load generator says then.
const MEASURING: &str = "measuring";
/// Longer than any load with a peer that cannot keep up.
const LOAD_LIMIT: Duration = Duration::from_secs(900);

/// Builds it; gives the program.
pub(super) fn build(places: &Places) -> Result<PathBuf, Failure> {
    println!("building the load generator");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| places.root.join("target"), PathBuf::from);
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--manifest-path"]).arg(places.root.join("crates/bench/Cargo.toml"));
    cargo.arg("--target-dir").arg(&target).current_dir(&places.root);
    run(&mut cargo, &places.run.join("build-tool.log"), BUILD_LIMIT)?;
    Ok(places.root.join(target).join("release/duolog-bench"))
}

/// Puts a load, written as on its command line, on servers.
pub(super) fn load(places: &Places, tool: &Path, servers: &mut Cluster, load: &str) -> Result<Figures, Failure> {
    let running = start(places, tool, servers, load)?;
    let figures = finish(running)?;
    servers.check()?;
    Ok(figures)
}

/// Begins a load.
pub(super) fn start(places: &Places, tool: &Path, servers: &Cluster, load: &str) -> Result<Running, Failure> {
    let mut command = Command::new(tool);
    command.args(["--json", "--bootstrap", &servers.address()]);
    command.args(servers.pids().iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]));
    for word in load.split_whitespace() {
        match word {
            BOOTSTRAP => command.arg(servers.address()),
            KAFKA_TOOLS => command.arg(install::jars(places, "tools/pom.xml")?.join("*")),
            word => command.arg(word),
        };
    }
    Ok(Running::start(&mut command, &places.run.join("load.log"))?)
}

/// Waits until what a load comes to is measured.
pub(super) fn wait_until_measuring(running: &mut Running) -> Result<(), Failure> {
    Ok(wait_until(running, |log| log.lines().any(|line| line == MEASURING).then_some(()))?)
}

/// Waits until a load ends.
pub(super) fn finish(mut running: Running) -> Result<Figures, Failure> {
    let status = running.wait(LOAD_LIMIT)?;
    let log = running.log();
    let output = std::fs::read_to_string(log).map_err(|error| Failure::file(log, error))?;
    if !status.success() {
        return Err(crate::interop::Failure::Failed { line: running.line().to_owned(), output: running.output() }.into());
    }
    // What librdkafka has to say comes before the report.
    Figures::parse(output.lines().last().unwrap_or_default())
}
