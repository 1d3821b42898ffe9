//! Internal topics that were made when there were too few nodes, as by a node that began alone, get the replicas that they would be
//! given today, a few partitions at a time. [`super::balance`] calls it before it moves anything; topics of users stay as they were made.

use super::balance::{Place, is_whole, partitions, takes_more};
use super::reassign::Reassignment;
use super::spread::Spread;
use super::topics::{default_factor, safe_min_in_sync};
use crate::metadata::image::{MetadataImage, TopicImage};
use crate::metadata::record::{ConfigOwner, MetadataRecord};
use std::collections::BTreeMap;

/// Partitions that get more replicas; they keep those they have, and the first of them stays the preferred leader.
pub(super) fn widenings(image: &MetadataImage, most: usize) -> Vec<Reassignment> {
    let mut spread = Spread::new(image);
    let mut widen = |(topic, index, partition): Place<'_>| {
        let factor = wanted(image, topic);
        if partition.replicas.len() >= factor || !is_whole(partition) {
            return None;
        }
        let target = spread.extended(&partition.replicas, factor);
        let added = &target[partition.replicas.len()..];
        let is_possible = !added.is_empty() && added.iter().all(|node| takes_more(image, *node));
        let target = Some(target);
        is_possible.then(|| Reassignment { topic: topic.name.clone(), index, target, same_factor: false })
    };
    partitions(image).filter(|(topic, ..)| topic.internal).filter_map(&mut widen).take(most).collect()
}

/// What such a topic would be made with today besides; it counts for each partition once that has the replicas.
pub(super) fn settings(image: &MetadataImage) -> Vec<MetadataRecord> {
    let internal = image.topics.values().filter(|topic| topic.internal);
    let unsafe_yet = internal.filter_map(|topic| {
        let (key, value) = safe_min_in_sync(image, &topic.overrides, wanted(image, topic))?;
        let changes = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
        Some(MetadataRecord::Config { resource: ConfigOwner::Topic(topic.id.to_string()), changes })
    });
    unsafe_yet.collect()
}

fn wanted(image: &MetadataImage, topic: &TopicImage) -> usize {
    usize::try_from(default_factor(image, &topic.name)).unwrap_or(0)
}

#[cfg(test)]
#[path = "widen_tests.rs"]
mod tests;
