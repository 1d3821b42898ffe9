//! The command line of `cargo xtask bench`.

use super::failure::Failure;
use std::path::PathBuf;

const ROUNDS: usize = 3;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    List,
    Run(Run),
    Compare(Compare),
    /// Writes the document anew from the results that are there.
    Document,
}

/// Whom we are compared with, and so which protocol the loads speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Peer {
    #[default]
    Kafka,
    RocketMq,
}

impl Peer {
    pub(super) const ALL: [Peer; 2] = [Peer::Kafka, Peer::RocketMq];

    pub(super) fn name(self) -> &'static str {
        match self {
            Peer::Kafka => "kafka",
            Peer::RocketMq => "rocketmq",
        }
    }

    /// For tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Peer::Kafka => "Kafka",
            Peer::RocketMq => "RocketMQ",
        }
    }

    fn named(name: &str) -> Result<Peer, Failure> {
        Peer::ALL.into_iter().find(|peer| peer.name() == name).ok_or(Failure::Usage)
    }
}

/// One server, for tuning.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) cases: Vec<String>,
    /// The peer instead of ours.
    pub(super) peer: Option<Peer>,
    pub(super) binary: Option<PathBuf>,
    /// Settings of our server, over the case's own.
    pub(super) settings: Vec<String>,
    pub(super) rounds: usize,
    pub(super) quick: bool,
}

/// Both servers in turn.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compare {
    pub(super) peer: Peer,
    /// Empty: all.
    pub(super) cases: Vec<String>,
    pub(super) binary: Option<PathBuf>,
    pub(super) rounds: usize,
    pub(super) quick: bool,
}

pub(super) fn parse(arguments: &[String]) -> Result<Command, Failure> {
    let Some((verb, rest)) = arguments.split_first() else { return Err(Failure::Usage) };
    match verb.as_str() {
        "list" if rest.is_empty() => Ok(Command::List),
        "document" if rest.is_empty() => Ok(Command::Document),
        "run" => run(rest).map(Command::Run),
        "compare" => compare(rest).map(Command::Compare),
        _ => Err(Failure::Usage),
    }
}

fn run(arguments: &[String]) -> Result<Run, Failure> {
    let mut options = Run { rounds: 1, ..Run::default() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--binary" => options.binary = Some(PathBuf::from(value(rest.next())?)),
            "--peer" => options.peer = Some(Peer::named(value(rest.next())?)?),
            "--set" => options.settings.push(value(rest.next())?.clone()),
            "--rounds" => options.rounds = number(rest.next())?,
            name if !name.starts_with("--") => options.cases.push(name.to_owned()),
            _ => return Err(Failure::Usage),
        }
    }
    let consistent =
        !options.cases.is_empty() && !(options.peer.is_some() && (options.binary.is_some() || !options.settings.is_empty()));
    if consistent { Ok(options) } else { Err(Failure::Usage) }
}

fn compare(arguments: &[String]) -> Result<Compare, Failure> {
    let mut options = Compare { rounds: ROUNDS, ..Compare::default() };
    let mut peer = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--peer" => peer = Some(Peer::named(value(rest.next())?)?),
            "--binary" => options.binary = Some(PathBuf::from(value(rest.next())?)),
            "--case" => options.cases.push(value(rest.next())?.clone()),
            "--rounds" => options.rounds = number(rest.next())?,
            _ => return Err(Failure::Usage),
        }
    }
    Ok(Compare { peer: peer.ok_or(Failure::Usage)?, ..options })
}

fn value(argument: Option<&String>) -> Result<&String, Failure> {
    argument.ok_or(Failure::Usage)
}

fn number(argument: Option<&String>) -> Result<usize, Failure> {
    argument.and_then(|text| text.parse().ok()).filter(|number| *number > 0).ok_or(Failure::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Failure> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_run_names_cases_and_a_server() {
        let command = parsed("run idle produce-* --binary /b --set flush=async --rounds 2").unwrap();
        let expected = Run {
            cases: vec!["idle".to_owned(), "produce-*".to_owned()],
            binary: Some(PathBuf::from("/b")),
            settings: vec!["flush=async".to_owned()],
            rounds: 2,
            ..Run::default()
        };
        assert_eq!(command, Command::Run(expected));
    }

    #[test]
    fn a_comparison_names_the_peer_and_has_three_rounds() {
        let expected = |peer| Compare { peer, cases: vec!["idle".to_owned()], rounds: 3, ..Compare::default() };
        assert_eq!(parsed("compare --peer kafka --case idle").unwrap(), Command::Compare(expected(Peer::Kafka)));
        assert_eq!(parsed("compare --peer rocketmq --case idle").unwrap(), Command::Compare(expected(Peer::RocketMq)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in
            ["", "run", "compare", "compare --peer pulsar", "run idle --rounds 0", "run a --peer kafka --binary b", "list x"]
        {
            assert!(matches!(parsed(line), Err(Failure::Usage)), "{line}");
        }
    }
}
