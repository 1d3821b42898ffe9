//! Configuration: the file, variables of the environment, flags, and what is set on topics and brokers at run time.

use crate::memory::{FREE_BYTES, within};
use duolog_core::config::{BrokerConfig, TopicConfig, validate_broker_change, validate_topic_overrides};
use duolog_core::metadata::{check_topic_name, parse_topic_id};
use duolog_server::fuzzing::configuration;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// What a value may take for each byte of its text; the resolved configuration itself is within [`FREE_BYTES`].
const TOML_RATIO: usize = 512;

/// Three parts between zeros: the file, variables, and assignments; the latter two one a line.
pub(super) fn run(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let (file, variables, assignments) = (parts.next(), parts.next(), parts.next());
    let file = String::from_utf8_lossy(file.unwrap_or_default());
    let variables: Vec<(OsString, OsString)> = lines(variables.unwrap_or_default())
        .map(|(name, value)| (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
        .collect();
    let flags: Vec<(String, String)> = lines(assignments.unwrap_or_default())
        .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    let resolved = within(TOML_RATIO * input.len() + FREE_BYTES, || configuration(&file, variables, &flags));
    if let Ok(config) = resolved {
        dynamic(&config, &flags);
    } else {
        dynamic(&BrokerConfig::default(), &flags);
    }
}

fn lines(part: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    part.split(|byte| *byte == b'\n').map(|line| {
        let at = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
        (&line[..at], line.get(at + 1..).unwrap_or_default())
    })
}

fn dynamic(config: &BrokerConfig, assignments: &[(String, String)]) {
    for (key, value) in assignments {
        if let Ok((name, canonical)) = validate_broker_change(key, value) {
            // What is stored is taken again, and means the same.
            assert_eq!(validate_broker_change(name, &canonical), Ok((name, canonical.clone())));
        }
        let overrides = BTreeMap::from([(key.clone(), value.clone())]);
        if validate_topic_overrides(&overrides).is_ok() {
            TopicConfig::resolve(&overrides, config).expect("what was checked is understood");
        }
        let _ = check_topic_name(key);
        if let Some(id) = parse_topic_id(value) {
            assert_eq!(parse_topic_id(&id.to_string()), Some(id));
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let file = "num.partitions = 3\nlog.retention.hours = 5\nlisteners = [\"kafka://a:1\", \"kafka://b:2\"]\n[log.retention]\nbytes = -1\n";
    let variables = "DUOLOG_NUM_PARTITIONS=4\nDUOLOG_LOG_RETENTION_MS=2000\nPATH=/bin";
    let flags = "log.retention.minutes=7\ngroup.initial.rebalance.delay.ms=0\nnode.id=2";
    let topic = "retention.ms=5\ncleanup.policy=compact,delete\nflush=async\nmessage.timestamp.after.max.ms=9223372036854775807\nid=AAAAAAAAAAAAAAAAAAAAAg";
    let seeds = [[file, "", ""], [file, variables, flags], ["", variables, topic], ["[a]\n[[a.b]]\nc = 1979-05-27\n", "", topic]];
    seeds.map(|parts| parts.join("\0").into_bytes()).to_vec()
}
