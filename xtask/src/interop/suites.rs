//! The suites: how each client family is installed and how its scenarios are run. A new family is one entry here and
//! one folder below `interop/`.

use super::failure::Failure;
use super::install;
use super::places::Places;
use super::tally::Dialect;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The run whose driver is `corpus/`, because it kills the server.
pub(super) const CORPUS: &str = "corpus";

/// A suite that only needs an address.
pub(super) struct Suite {
    pub(super) name: &'static str,
    pub(super) dialect: Dialect,
    /// It is ended, and failed, after this time.
    pub(super) limit: Duration,
    /// Installs what it needs and gives the command that runs it.
    pub(super) prepare: fn(&Places, &Target) -> Result<Command, Failure>,
}

/// What a suite is told.
pub(super) struct Target<'a> {
    pub(super) bootstrap: &'a str,
    /// Only scenarios whose name contains it.
    pub(super) scenario: Option<&'a str>,
}

const fn suite(
    name: &'static str,
    dialect: Dialect,
    seconds: u64,
    prepare: fn(&Places, &Target) -> Result<Command, Failure>,
) -> Suite {
    Suite { name, dialect, limit: Duration::from_secs(seconds), prepare }
}

pub(super) const SUITES: [Suite; 7] = [
    suite("java-newest", Dialect::Plain, 240, |places, target| java(places, target, "java/newest.xml")),
    suite("java-3.9", Dialect::Plain, 240, |places, target| java(places, target, "java/3.9.xml")),
    suite("librdkafka", Dialect::Pytest, 240, |places, target| pytest(places, target, "python/test_librdkafka.py")),
    suite("kafka-python", Dialect::Pytest, 240, |places, target| pytest(places, target, "python/test_kafka_python.py")),
    suite("franz-go", Dialect::Go, 300, franz_go),
    suite("kafkajs", Dialect::Tap, 240, kafkajs),
    suite("tools", Dialect::Pytest, 420, tools),
];

pub(super) fn names() -> Vec<&'static str> {
    SUITES.iter().map(|suite| suite.name).chain([CORPUS]).collect()
}

fn java(places: &Places, target: &Target, pom: &str) -> Result<Command, Failure> {
    let jars = install::jars(places, pom)?;
    let classes = install::classes(places, "java/src", &jars)?;
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    java.arg(class_path(&classes, &jars));
    java.args(["interop.Main", target.bootstrap]).args(target.scenario);
    Ok(java)
}

fn pytest(places: &Places, target: &Target, path: &str) -> Result<Command, Failure> {
    let mut python = Command::new(install::python(places)?);
    python.args(["-m", "pytest", "-v", "-rpfEsxX", "--no-header", "--tb=short", "-p", "no:cacheprovider", "--timeout=90"]);
    python.arg(places.suites.join(path)).env("PYTHONDONTWRITEBYTECODE", "1").env("BOOTSTRAP", target.bootstrap);
    if let Some(scenario) = target.scenario {
        python.args(["-k", scenario]);
    }
    Ok(python)
}

fn franz_go(places: &Places, target: &Target) -> Result<Command, Failure> {
    let mut go = Command::new("go");
    go.args(["test", "-mod=readonly", "-v", "-count=1", "-timeout=240s"]);
    if let Some(scenario) = target.scenario {
        go.args(["-run", scenario]);
    }
    go.arg("./...").current_dir(places.suites.join("go")).env("BOOTSTRAP", target.bootstrap);
    Ok(go)
}

fn kafkajs(places: &Places, target: &Target) -> Result<Command, Failure> {
    install::node(places)?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=tap"]);
    if let Some(scenario) = target.scenario {
        node.arg(format!("--test-name-pattern={scenario}"));
    }
    node.arg("kafkajs.test.js").current_dir(places.suites.join("node")).env("BOOTSTRAP", target.bootstrap);
    Ok(node)
}

/// Kafka's own tools, kcat and Kafka Streams, driven by pytest.
fn tools(places: &Places, target: &Target) -> Result<Command, Failure> {
    install::kcat(places)?;
    let jars = install::jars(places, "tools/pom.xml")?;
    let classes = install::classes(places, "tools/src", &jars)?;
    let mut tools = pytest(places, target, "tools")?;
    tools.env("TOOLS_CLASSPATH", class_path(&classes, &jars));
    Ok(tools)
}

fn class_path(classes: &Path, jars: &Path) -> String {
    format!("{}:{}", classes.display(), jars.join("*").display())
}
