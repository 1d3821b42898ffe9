//! The range assignor: each topic's partitions in consecutive runs over its subscribers, in order of member id.
//!
//! The same rule and name (`range`) as Kafka's, so that members of other client families may share a group with ours.

use std::collections::BTreeMap;

/// Topic and partition indexes given to one member.
pub(super) type Share = BTreeMap<String, Vec<i32>>;

/// Divides `partitions` (their number a topic) over `subscriptions` (topics a member), keyed by member id.
pub(super) fn range(
    subscriptions: &BTreeMap<String, Vec<String>>,
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Share> {
    let mut shares: BTreeMap<String, Share> = subscriptions.keys().map(|member| (member.clone(), Share::new())).collect();
    for (topic, &count) in partitions {
        let subscribers: Vec<&String> =
            subscriptions.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let Ok(members) = i32::try_from(subscribers.len()) else { continue };
        if members == 0 {
            continue;
        }
        let (each, extra) = (count / members, count % members);
        let mut next = 0;
        for (position, member) in (0..).zip(subscribers) {
            let size = each + i32::from(position < extra);
            if size > 0 {
                shares.entry(member.clone()).or_default().insert(topic.clone(), (next..next + size).collect());
            }
            next += size;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_members_get_the_extra_partitions_and_only_of_their_topics() {
        let subscriptions =
            BTreeMap::from([("m1".to_owned(), vec!["a".to_owned()]), ("m2".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
        let shares = range(&subscriptions, &BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)]));
        assert_eq!(shares["m1"], Share::from([("a".to_owned(), vec![0, 1])]));
        assert_eq!(shares["m2"], Share::from([("a".to_owned(), vec![2]), ("b".to_owned(), vec![0])]));
    }

    #[test]
    fn more_members_than_partitions_leave_some_with_nothing() {
        let topics = vec!["a".to_owned()];
        let subscriptions = BTreeMap::from([("m1".to_owned(), topics.clone()), ("m2".to_owned(), topics)]);
        let shares = range(&subscriptions, &BTreeMap::from([("a".to_owned(), 1)]));
        assert!(shares["m2"].is_empty() && shares["m1"]["a"] == [0]);
    }
}
