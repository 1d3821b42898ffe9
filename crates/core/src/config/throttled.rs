//! Which replicas of a topic are throttled: the lists that `kafka-reassign-partitions` sets. (KIP-73)

use super::error::ConfigError;
use super::value::{list, malformed};
use duolog_base::{NodeId, PartitionIndex};
use std::collections::BTreeSet;

/// Replicas that may be replicated at a limited rate only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ThrottledReplicas {
    #[default]
    None,
    /// `*`
    All,
    /// `partition:broker`, separated by commas.
    Some(BTreeSet<(PartitionIndex, NodeId)>),
}

impl ThrottledReplicas {
    pub(super) fn parse(name: &'static str, value: &str) -> Result<ThrottledReplicas, ConfigError> {
        if value.trim() == "*" {
            return Ok(ThrottledReplicas::All);
        }
        let pair = |word: &str| {
            let number = |digits: &str| digits.parse().ok().filter(|number: &i32| *number >= 0 && !digits.starts_with('+'));
            let (partition, node) = word.split_once(':')?;
            Some((PartitionIndex(number(partition)?), NodeId(number(node)?)))
        };
        let expected = || "`partition:broker`, separated by commas, or `*`".to_owned();
        let pairs: Option<BTreeSet<_>> = list(value).map(pair).collect();
        match pairs.ok_or_else(|| malformed(name, value, expected()))? {
            pairs if pairs.is_empty() => Ok(ThrottledReplicas::None),
            pairs => Ok(ThrottledReplicas::Some(pairs)),
        }
    }

    pub fn contains(&self, partition: PartitionIndex, node: NodeId) -> bool {
        match self {
            ThrottledReplicas::None => false,
            ThrottledReplicas::All => true,
            ThrottledReplicas::Some(pairs) => pairs.contains(&(partition, node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Option<ThrottledReplicas> {
        ThrottledReplicas::parse("leader.replication.throttled.replicas", value).ok()
    }

    #[test]
    fn a_list_names_partitions_and_brokers_and_a_star_all_of_them() {
        assert_eq!([parse(""), parse(" ")], [Some(ThrottledReplicas::None), Some(ThrottledReplicas::None)]);
        assert!(parse("*").unwrap().contains(PartitionIndex(5), NodeId(7)));
        let some = parse("0:1, 2:101").unwrap();
        let contains = |partition, node| some.contains(PartitionIndex(partition), NodeId(node));
        assert_eq!([contains(0, 1), contains(2, 101), contains(1, 0), contains(2, 1)], [true, true, false, false]);
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in ["0", "0:", ":1", "a:b", "0:1;0:2", "0:1:2", "-1:2", "0:+1", "*,0:1", "0:1,,0:2", "none"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
