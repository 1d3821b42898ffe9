//! The suites: how each client family is installed and how its scenarios are run. A new family is one entry here and
//! one folder below `interop/`.

use super::address::Addresses;
use super::failure::Failure;
use super::install;
use super::options::Subject;
use super::places::Places;
use super::tally::Dialect;
use Protocol::{Grpc, Kafka, Remoting};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The run whose driver is `corpus/`, because it kills the server.
pub(super) const CORPUS: &str = "corpus";

/// What a suite's clients speak. All of them may also look at the server with a Kafka client, if it speaks Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Kafka,
    Remoting,
    Grpc,
}

/// A suite that only needs addresses.
pub(super) struct Suite {
    pub(super) name: &'static str,
    protocol: Protocol,
    pub(super) dialect: Dialect,
    /// It is ended, and failed, after this time.
    pub(super) limit: Duration,
    /// Installs what it needs and gives the command that runs it.
    pub(super) prepare: fn(&Places, &Target) -> Result<Command, Failure>,
}

/// What a suite is told.
pub(super) struct Target<'a> {
    pub(super) addresses: &'a Addresses,
    /// Where it can ask for a restart of the server; empty when the server is not ours.
    pub(super) control: &'a str,
    /// Only scenarios whose name contains it.
    pub(super) scenario: Option<&'a str>,
}

impl Suite {
    /// Whether it runs when no suite is chosen.
    pub(super) fn by_default(&self, subject: &Subject) -> bool {
        match (subject, self.protocol) {
            (Subject::Duolog { .. }, _) => true,
            (Subject::Kafka, protocol) => protocol == Protocol::Kafka,
            (Subject::RocketMq, protocol) => protocol != Protocol::Kafka,
            (Subject::External(addresses), Protocol::Kafka) => !addresses.kafka.is_empty(),
            (Subject::External(addresses), Protocol::Remoting) => !addresses.name_server.is_empty(),
            (Subject::External(addresses), Protocol::Grpc) => !addresses.grpc.is_empty(),
        }
    }
}

const fn suite(
    name: &'static str,
    protocol: Protocol,
    dialect: Dialect,
    seconds: u64,
    prepare: fn(&Places, &Target) -> Result<Command, Failure>,
) -> Suite {
    Suite { name, protocol, dialect, limit: Duration::from_secs(seconds), prepare }
}

pub(super) const SUITES: [Suite; 15] = [
    suite("java-newest", Kafka, Dialect::Plain, 600, |places, target| java(places, target, "newest")),
    suite("java-3.9", Kafka, Dialect::Plain, 240, |places, target| java(places, target, "3.9")),
    suite("librdkafka", Kafka, Dialect::Pytest, 240, |places, target| pytest(places, target, "python/test_librdkafka.py")),
    suite("kafka-python", Kafka, Dialect::Pytest, 240, |places, target| pytest(places, target, "python/test_kafka_python.py")),
    suite("franz-go", Kafka, Dialect::Go, 300, franz_go),
    suite("kafkajs", Kafka, Dialect::Tap, 240, kafkajs),
    suite("tools", Kafka, Dialect::Pytest, 420, |places, target| tools(places, target, "tools")),
    suite("storage-tools", Kafka, Dialect::Pytest, 420, |places, target| tools(places, target, STORAGE_TOOLS)),
    suite("rocketmq-java-5", Remoting, Dialect::Plain, 420, |places, target| rocketmq_java(places, target, "5")),
    suite("rocketmq-java-4.9", Remoting, Dialect::Plain, 420, |places, target| rocketmq_java(places, target, "4.9")),
    suite("rocketmq-grpc-java", Grpc, Dialect::Plain, 420, rocketmq_grpc_java),
    suite("rocketmq-grpc-python", Grpc, Dialect::Pytest, 420, rocketmq_grpc_python),
    suite("rocketmq-grpc-node", Grpc, Dialect::Tap, 420, rocketmq_grpc_node),
    suite("rocketmq-go", Remoting, Dialect::Go, 420, rocketmq_go),
    suite("rocketmq-tools", Remoting, Dialect::Plain, 420, rocketmq_tools),
];

/// Scenarios about files: they start what they need, and do not ask the server under test.
const STORAGE_TOOLS: &str = "tools/storage";

pub(super) fn names() -> Vec<&'static str> {
    SUITES.iter().map(|suite| suite.name).chain([CORPUS]).collect()
}

fn java(places: &Places, target: &Target, release: &str) -> Result<Command, Failure> {
    let jars = install::jars(places, &format!("java/{release}.xml"))?;
    let classes = install::classes(places, &["java/src", &format!("java/src-{release}")], &jars)?;
    let mut java = jvm(&classes, &jars);
    java.args(["interop.Main", &target.addresses.kafka]).args(target.scenario).env("CONTROL", target.control);
    Ok(java)
}

/// RocketMQ's Java clients, with a Kafka client beside them.
fn rocketmq_java(places: &Places, target: &Target, release: &str) -> Result<Command, Failure> {
    let jars = install::jars(places, &format!("rocketmq/java/{release}.xml"))?;
    let own = format!("rocketmq/java/src-{release}");
    let classes = install::classes(places, &["java/src/interop/Check.java", "rocketmq/java/src", &own], &jars)?;
    Ok(rocketmq_jvm(places, target, &classes, &jars, "interop.Main"))
}

/// `mqadmin`, with clients for it to look at.
fn rocketmq_tools(places: &Places, target: &Target) -> Result<Command, Failure> {
    let jars = install::jars(places, "rocketmq/tools/pom.xml")?;
    let sources = ["java/src/interop/Check.java", "rocketmq/java/src", "rocketmq/java/src-5", "rocketmq/tools/src"];
    let classes = install::classes(places, &sources, &jars)?;
    Ok(rocketmq_jvm(places, target, &classes, &jars, "interop.Tools"))
}

fn rocketmq_grpc_java(places: &Places, target: &Target) -> Result<Command, Failure> {
    let jars = install::jars(places, "rocketmq/grpc/java/pom.xml")?;
    let sources = ["java/src/interop/Check.java", "rocketmq/java/src", "rocketmq/java/src-5", "rocketmq/grpc/java/src"];
    let classes = install::classes(places, &sources, &jars)?;
    Ok(rocketmq_jvm(places, target, &classes, &jars, "interop.Grpc"))
}

fn rocketmq_jvm(places: &Places, target: &Target, classes: &Path, jars: &Path, main_class: &str) -> Command {
    let mut java = jvm(classes, jars);
    // Logs and the offsets of broadcasting consumers go below the home directory, what `mqadmin` writes below the present one.
    java.arg(format!("-Duser.home={}", places.run.display())).arg(main_class).args(target.scenario).current_dir(&places.run);
    rocketmq_addresses(&mut java, target);
    java
}

fn rocketmq_addresses(command: &mut Command, target: &Target) {
    let Addresses { kafka, name_server, grpc } = target.addresses;
    command.env("NAMESRV", name_server).env("GRPC", grpc).env("BOOTSTRAP", kafka).env("CONTROL", target.control);
}

fn jvm(classes: &Path, jars: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(class_path(classes, jars));
    java
}

fn pytest(places: &Places, target: &Target, path: &str) -> Result<Command, Failure> {
    Ok(pytest_with(install::python(places, "python")?, places, target, path))
}

fn rocketmq_grpc_python(places: &Places, target: &Target) -> Result<Command, Failure> {
    let folder = "rocketmq/grpc/python";
    let mut python = pytest_with(install::python(places, folder)?, places, target, folder);
    // The client's logs go below the home directory.
    rocketmq_addresses(&mut python, target);
    python.env("HOME", &places.run);
    Ok(python)
}

fn pytest_with(interpreter: PathBuf, places: &Places, target: &Target, path: &str) -> Command {
    let mut python = Command::new(interpreter);
    python.args(["-m", "pytest", "-v", "-rpfEsxX", "--no-header", "--tb=short", "-p", "no:cacheprovider", "--timeout=90"]);
    // A folder's suites share what the folders above it have.
    python.arg("--confcutdir").arg(&places.suites);
    python.arg(places.suites.join(path)).env("PYTHONDONTWRITEBYTECODE", "1").env("BOOTSTRAP", &target.addresses.kafka);
    if let Some(scenario) = target.scenario {
        python.args(["-k", scenario]);
    }
    python
}

fn franz_go(places: &Places, target: &Target) -> Result<Command, Failure> {
    Ok(go_test(places, target, "go"))
}

fn rocketmq_go(places: &Places, target: &Target) -> Result<Command, Failure> {
    let mut go = go_test(places, target, "rocketmq/go");
    // Where broadcasting consumers keep their offsets.
    go.env("rocketmq.client.localOffsetStoreDir", places.run.join("offsets"));
    rocketmq_addresses(&mut go, target);
    Ok(go)
}

fn go_test(places: &Places, target: &Target, module: &str) -> Command {
    let mut go = Command::new("go");
    go.args(["test", "-mod=readonly", "-v", "-count=1", "-timeout=240s"]);
    if let Some(scenario) = target.scenario {
        go.args(["-run", scenario]);
    }
    go.arg("./...").current_dir(places.suites.join(module)).env("BOOTSTRAP", &target.addresses.kafka);
    go
}

fn kafkajs(places: &Places, target: &Target) -> Result<Command, Failure> {
    node_test(places, target, "node", "kafkajs.test.js", &[])
}

fn rocketmq_grpc_node(places: &Places, target: &Target) -> Result<Command, Failure> {
    // A push consumer of the client keeps a timer for ever, even when it was shut down.
    let mut node = node_test(places, target, "rocketmq/grpc/node", "rocketmq.test.js", &["--test-force-exit"])?;
    // The client's logs go below the home directory.
    rocketmq_addresses(&mut node, target);
    node.env("HOME", &places.run);
    Ok(node)
}

fn node_test(places: &Places, target: &Target, folder: &str, file: &str, flags: &[&str]) -> Result<Command, Failure> {
    install::node(places, folder)?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=tap"]).args(flags);
    if let Some(scenario) = target.scenario {
        node.arg(format!("--test-name-pattern={scenario}"));
    }
    node.arg(file).current_dir(places.suites.join(folder)).env("BOOTSTRAP", &target.addresses.kafka);
    Ok(node)
}

/// Kafka's own tools, kcat and Kafka Streams, driven by pytest.
fn tools(places: &Places, target: &Target, path: &str) -> Result<Command, Failure> {
    install::kcat(places)?;
    let jars = install::jars(places, "tools/pom.xml")?;
    let classes = install::classes(places, &["tools/src"], &jars)?;
    let mut tools = pytest(places, target, path)?;
    if path != STORAGE_TOOLS {
        tools.arg("--ignore").arg(places.suites.join(STORAGE_TOOLS));
    }
    tools.env("TOOLS_CLASSPATH", class_path(&classes, &jars));
    Ok(tools)
}

fn class_path(classes: &Path, jars: &Path) -> String {
    format!("{}:{}", classes.display(), jars.join("*").display())
}
