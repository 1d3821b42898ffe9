//! How the members of a group get a topic's messages, as an administrator chose it: by pulling, or by POP. Kept in the group's
//! configuration, as `TOPIC:N` for each topic of POP: a queue is shared by the members that it is assigned to and N more, by all if N
//! is 0.

use duolog_core::config::GroupConfig;
use std::collections::BTreeMap;

/// Topics that a group can consume by POP.
pub(crate) const POP_TOPICS: usize = 1024;

/// The topics that the group consumes by POP, and how many more members share a queue. What is not an entry is left out.
pub(crate) fn pop_topics(config: &GroupConfig) -> BTreeMap<String, i32> {
    let entry = |entry: &str| {
        let (topic, more) = entry.trim().split_once(':')?;
        Some((topic.to_owned(), more.parse().ok()?))
    };
    config.pop_topics.split(',').filter_map(entry).collect()
}

/// The same as the text of the configuration.
pub(crate) fn text(topics: &BTreeMap<String, i32>) -> String {
    let entries: Vec<String> = topics.iter().map(|(topic, more)| format!("{topic}:{more}")).collect();
    entries.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_back() {
        let topics = BTreeMap::from([("a".to_owned(), 0), ("b.c".to_owned(), 3)]);
        assert_eq!(text(&topics), "a:0,b.c:3");
        let own = BTreeMap::from([("rocketmq.pop.topics".to_owned(), "a:0, b.c:3,d,:".to_owned())]);
        assert_eq!(pop_topics(&GroupConfig::resolve(&own).unwrap()), topics);
        assert!(pop_topics(&GroupConfig::resolve(&BTreeMap::new()).unwrap()).is_empty());
    }
}
