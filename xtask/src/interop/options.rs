//! The command line of `cargo xtask interop`.

use super::address::Addresses;
use super::failure::Failure;
use super::suites;
use std::path::PathBuf;

const MOST_NODES: usize = 5;

/// What is tested.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The workspace's own server: built as a release unless a binary is named.
    Duolog { binary: Option<PathBuf> },
    /// Apache Kafka, started by us: shows that the suites test the protocol.
    Kafka,
    /// Apache RocketMQ, started by us, likewise.
    RocketMq,
    /// A server somebody else runs. It cannot be killed, so what kills it is left out.
    External(Addresses),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) subject: Subject,
    /// Of our server: how many nodes its cluster has.
    pub(super) nodes: usize,
    /// Empty: all.
    pub(super) suites: Vec<String>,
    /// Only scenarios whose name contains it.
    pub(super) scenario: Option<String>,
}

pub(super) fn parse(arguments: &[String]) -> Result<Options, Failure> {
    let usage = || Failure::Usage { suites: suites::names().join(", ") };
    let mut options = Options { subject: Subject::Duolog { binary: None }, nodes: 1, suites: Vec::new(), scenario: None };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().ok_or_else(usage)?.clone();
        match flag.as_str() {
            "--suite" if suites::names().contains(&value.as_str()) => options.suites.push(value),
            "--nodes" => options.nodes = value.parse().ok().filter(|nodes| (1..=MOST_NODES).contains(nodes)).ok_or_else(usage)?,
            "--scenario" => options.scenario = Some(value),
            "--peer" if value == "kafka" => options.subject = Subject::Kafka,
            "--peer" if value == "rocketmq" => options.subject = Subject::RocketMq,
            "--bootstrap" => external(&mut options.subject).kafka = value,
            "--name-server" => external(&mut options.subject).name_server = value,
            "--grpc" => external(&mut options.subject).grpc = value,
            "--binary" => options.subject = Subject::Duolog { binary: Some(PathBuf::from(value)) },
            _ => return Err(usage()),
        }
    }
    match options.nodes > 1 && !matches!(options.subject, Subject::Duolog { .. }) {
        true => Err(usage()),
        false => Ok(options),
    }
}

/// The addresses of a server that somebody else runs.
fn external(subject: &mut Subject) -> &mut Addresses {
    if !matches!(subject, Subject::External(_)) {
        *subject = Subject::External(Addresses::default());
    }
    let Subject::External(addresses) = subject else { unreachable!("it was made so") };
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, Failure> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_everything_runs_against_the_workspaces_server() {
        let options = parsed("").unwrap();
        let subject = Subject::Duolog { binary: None };
        assert_eq!(options, Options { subject, nodes: 1, suites: vec![], scenario: None });
    }

    #[test]
    fn suites_a_scenario_and_the_peer_can_be_chosen() {
        let options = parsed("--peer kafka --suite kafkajs --suite tools --scenario groups").unwrap();
        assert_eq!(options.subject, Subject::Kafka);
        assert_eq!(options.suites, ["kafkajs", "tools"]);
        assert_eq!(options.scenario.as_deref(), Some("groups"));
        assert_eq!(parsed("--peer rocketmq").unwrap().subject, Subject::RocketMq);
    }

    #[test]
    fn a_running_server_has_an_address_for_each_protocol() {
        let options = parsed("--bootstrap a:1 --name-server b:2").unwrap();
        let addresses = Addresses { kafka: "a:1".to_owned(), name_server: "b:2".to_owned(), grpc: String::new() };
        assert_eq!(options.subject, Subject::External(addresses));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in ["--suite cobol", "--peer pulsar", "--suite", "--fast yes", "--nodes 0", "--nodes 3 --peer kafka"] {
            assert!(matches!(parsed(line), Err(Failure::Usage { .. })), "{line}");
        }
    }
}
