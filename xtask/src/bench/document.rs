//! The generated part of `docs/benchmarks.md`: every number that was compared, whoever it favours.

use super::cases::{Case, Scale, all};
use super::compare::{Outcome, stored};
use super::failure::Failure;
use super::figures::{Figures, Median, Metric, median};
use super::goal::Evidence;
use super::machine;
use super::options::Peer;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// What stands before the tables of a peer.
fn begin(peer: Peer) -> &'static str {
    match peer {
        Peer::Kafka => "<!-- What follows is written by `cargo xtask bench compare --peer kafka`. -->",
        Peer::RocketMq => "<!-- What follows is written by `cargo xtask bench compare --peer rocketmq`. -->",
    }
}

const END: &str = "<!-- What `cargo xtask bench` writes ends here. -->";

/// Replaces what lies between the marks of each peer.
pub(super) fn write(root: &Path) -> Result<(), Failure> {
    let path = root.join("docs/benchmarks.md");
    let mut text = std::fs::read_to_string(&path).map_err(|error| Failure::file(&path, error))?;
    for peer in Peer::ALL {
        let begin = begin(peer);
        let missing = |line| Failure::Mark { path: path.clone(), line };
        let (before, rest) = text.split_once(begin).ok_or_else(|| missing(begin))?;
        let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
        let generated = generated(root, peer)?;
        text = format!("{before}{begin}\n{generated}{END}{after}");
    }
    std::fs::write(&path, text).map_err(|error| Failure::file(&path, error))
}

fn generated(root: &Path, peer: Peer) -> Result<String, Failure> {
    let cases = all(peer, &Scale::FULL);
    let mut outcomes = BTreeMap::new();
    for case in &cases {
        if let Some(outcome) = stored(root, &case.name)? {
            outcomes.insert(case.name.clone(), outcome);
        }
    }
    if outcomes.is_empty() {
        return Ok("\nNot measured yet.\n".to_owned());
    }
    let mut text = String::from("\n");
    conditions(&mut text, root, peer, &outcomes);
    let _ = writeln!(text, "| case | figure | Duolog | {} | ratio | goal |\n|---|---|---|---|---|---|", peer.title());
    for case in &cases {
        if let Some(outcome) = outcomes.get(&case.name) {
            rows(&mut text, case, outcome, &outcomes);
        }
    }
    let failures: Vec<String> = outcomes
        .values()
        .flat_map(|outcome| outcome.failures.iter().map(|failure| format!("* `{}`, {failure}", outcome.case)))
        .collect();
    if !failures.is_empty() {
        let _ = writeln!(text, "\nCould not be measured:\n\n{}", failures.join("\n"));
    }
    text += "\nThe cases:\n\n";
    for case in cases.iter().filter(|case| outcomes.contains_key(&case.name)) {
        let _ = writeln!(text, "* `{}`: {}.", case.name, case.about);
    }
    Ok(text)
}

fn conditions(text: &mut String, root: &Path, peer: Peer, outcomes: &BTreeMap<String, Outcome>) {
    let revisions: BTreeSet<String> =
        outcomes.values().map(|outcome| format!("{} ({})", outcome.revision, outcome.date)).collect();
    let rounds: BTreeSet<usize> = outcomes.values().map(|outcome| outcome.ours.len()).collect();
    let rounds: Vec<String> = rounds.iter().map(usize::to_string).collect();
    let _ = writeln!(text, "Medians of {} rounds, lowest and highest in brackets. Measured:\n", rounds.join(" or "));
    for line in machine::describe(root) {
        let _ = writeln!(text, "* {line}");
    }
    let _ = writeln!(text, "* Duolog: {}", revisions.into_iter().collect::<Vec<_>>().join(", "));
    let about_peer = match peer {
        Peer::Kafka => "Apache Kafka: 4.3.1, heap of 1 GB, its own `server.properties` and start script's JVM options",
        Peer::RocketMq => "Apache RocketMQ: 5.5.0, heap of 2 GB, the broker's own settings and its start script's JVM options",
    };
    let _ = writeln!(text, "* {about_peer}\n");
}

fn rows(text: &mut String, case: &Case, outcome: &Outcome, outcomes: &BTreeMap<String, Outcome>) {
    let other = |name: &str| -> Option<Vec<Figures>> { Some(outcomes.get(name)?.ours.clone()) };
    let evidence = Evidence { ours: &outcome.ours, peer: &outcome.peer, other: &other };
    for (line, metric) in case.metrics.iter().enumerate() {
        let (ours, peer) = (median(*metric, &outcome.ours), median(*metric, &outcome.peer));
        let name = if line == 0 { format!("`{}`", case.name) } else { String::new() };
        let judged: Vec<String> = case
            .goals
            .iter()
            .filter(|goal| goal.metric == *metric)
            .map(|goal| {
                let verdict = match goal.reached(&evidence) {
                    Some(true) => "reached",
                    Some(false) => "**missed**",
                    None => "not measured",
                };
                format!("{}: {verdict}", goal.text())
            })
            .collect();
        let (shown_ours, shown_peer) = (shown(ours), shown(peer));
        let ratio = ratio(*metric, ours, peer);
        let _ = writeln!(text, "| {name} | {} | {shown_ours} | {shown_peer} | {ratio} | {} |", metric.title(), judged.join("; "));
    }
}

/// A ratio closer to 1 than this is a draw.
const DRAW: f64 = 0.005;

/// Ours against the peer's; bold where the peer is ahead.
fn ratio(metric: Metric, ours: Option<Median>, peer: Option<Median>) -> String {
    let (Some(ours), Some(peer)) = (ours, peer) else { return String::new() };
    if peer.middle == 0.0 {
        return String::new();
    }
    let ratio = ours.middle / peer.middle;
    let behind = if metric.less_is_better() { ratio > 1.0 + DRAW } else { ratio < 1.0 - DRAW };
    if behind { format!("**{}, behind**", number(ratio)) } else { number(ratio) }
}

fn shown(median: Option<Median>) -> String {
    median.map_or_else(String::new, |median| {
        format!("{} ({}-{})", number(median.middle), number(median.lowest), number(median.highest))
    })
}

/// Three digits that count; thousands get commas.
fn number(value: f64) -> String {
    if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
        return groups.join(",");
    }
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else if value >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let shown: Vec<String> = [1_234_567.0, 1000.0, 123.4, 12.34, 1.234, 0.1234].map(number).to_vec();
        assert_eq!(shown, ["1,234,567", "1,000", "123", "12.3", "1.23", "0.123"]);
    }

    #[test]
    fn the_side_that_is_behind_is_marked() {
        let of = |middle| Some(Median { middle, lowest: middle, highest: middle });
        assert_eq!(ratio(Metric::Rate, of(1.0), of(2.0)), "**0.500, behind**");
        assert_eq!(ratio(Metric::Rate, of(499.9), of(500.0)), "1.000", "both reach what is asked");
        assert_eq!(ratio(Metric::P99, of(1.0), of(2.0)), "0.500");
        assert_eq!(ratio(Metric::P99, of(1.0), None), "");
    }
}
