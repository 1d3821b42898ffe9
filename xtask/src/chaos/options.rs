//! The command line of `cargo xtask chaos`.

use super::failure::Failure;
use super::fault::Fault;
use std::path::PathBuf;
use std::time::Duration;

/// Rounds of a run whose length is not said: how often each of the chosen faults happens.
const ROUNDS: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The workspace's own server.
    Ours,
    /// Apache Kafka with its default settings.
    Kafka,
}

/// The checker keeps what it knows of every record, and nothing is deleted.
const MOST_MINUTES: u64 = 180;

const MOST_NODES: u64 = 5;

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Every chosen fault so often, in turn.
    Rounds(usize),
    /// Random ones of the chosen faults for so long.
    Time(Duration),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) peer: Peer,
    /// Empty: the short selection.
    pub(super) faults: Vec<Fault>,
    pub(super) length: Length,
    pub(super) seed: Option<u64>,
    /// Of our server: how many nodes its cluster has.
    pub(super) nodes: usize,
    /// The server's binary; built as a release when none is named.
    pub(super) binary: Option<PathBuf>,
}

pub(super) fn parse(arguments: &[String]) -> Result<Options, Failure> {
    let length = Length::Rounds(ROUNDS);
    let mut options = Options { peer: Peer::Ours, faults: Vec::new(), length, seed: None, nodes: 1, binary: None };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().ok_or(Failure::Usage)?;
        let number = || value.parse::<u64>().map_err(|_| Failure::Usage);
        match (flag.as_str(), value.as_str()) {
            ("--peer", "none") => options.peer = Peer::Ours,
            ("--peer", "kafka") => options.peer = Peer::Kafka,
            ("--fault", name) => options.faults.push(Fault::named(name).ok_or(Failure::Usage)?),
            ("--rounds", _) => options.length = Length::Rounds(number()? as usize),
            ("--minutes", _) if number()? <= MOST_MINUTES => options.length = Length::Time(Duration::from_secs(number()? * 60)),
            ("--seed", _) => options.seed = Some(number()?),
            ("--nodes", _) if (1..=MOST_NODES).contains(&number()?) => options.nodes = number()? as usize,
            ("--binary", path) => options.binary = Some(PathBuf::from(path)),
            _ => return Err(Failure::Usage),
        }
    }
    let alone = options.nodes == 1;
    let fills = options.faults.iter().any(|fault| fault.fills_disks());
    if (fills && options.peer == Peer::Kafka)
        || (alone && options.faults.iter().any(|fault| fault.needs_peers()))
        || (!alone && options.peer == Peer::Kafka)
    {
        return Err(Failure::Usage);
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, Failure> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_the_short_selection_runs_against_our_server() {
        let options = parsed("").unwrap();
        assert_eq!((options.peer, options.faults, options.length), (Peer::Ours, vec![], Length::Rounds(ROUNDS)));
    }

    #[test]
    fn peer_faults_length_and_seed_can_be_chosen() {
        let options = parsed("--peer kafka --fault kill --fault power-loss --minutes 3 --seed 7").unwrap();
        assert_eq!((options.peer, options.seed), (Peer::Kafka, Some(7)));
        assert_eq!(options.faults, [Fault::Kill, Fault::PowerLoss]);
        assert_eq!(options.length, Length::Time(Duration::from_secs(180)));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for line in ["--fault earthquake", "--peer pulsar", "--minutes", "--minutes soon", "--minutes 100000", "--fast yes"] {
            assert!(matches!(parsed(line), Err(Failure::Usage)), "{line}");
        }
        for line in [
            "--fault isolate",
            "--fault full-disks",
            "--fault full-disk --peer kafka",
            "--nodes 0",
            "--nodes 9",
            "--nodes 3 --peer kafka",
        ] {
            assert!(matches!(parsed(line), Err(Failure::Usage)), "{line}");
        }
        assert_eq!(parsed("--nodes 3 --fault isolate").unwrap().nodes, 3);
    }
}
