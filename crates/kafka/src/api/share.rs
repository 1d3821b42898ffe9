//! What ShareFetch and ShareAcknowledge share: who asks, acknowledgements and their outcomes, and the end of a session.

use super::leadership::{LeaderHint, leader_hint};
use crate::Services;
use crate::error;
use crate::share_sessions::{Member, Place};
use duolog_base::{PartitionIndex, TopicId};
use duolog_core::metadata::MetadataImage;
use duolog_core::share::{Acknowledgement, ShareError, SharePartition};
use duolog_wire::kafka::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The first version that knows of renewing.
pub(super) const RENEWS_FROM: i16 = 2;
/// Kafka's number for the acknowledgement that renews a lock, which is the largest.
const RENEW: i8 = 4;
/// Longest member id, in characters: that of a UUID.
const MAX_MEMBER_ID: usize = 36;

/// Acknowledgements by partition.
pub(super) type Acknowledgements = BTreeMap<Place, Vec<Acknowledgement>>;

/// What became of the acknowledgements of a partition.
pub(super) type Outcomes = BTreeMap<Place, Result<(), ShareError>>;

/// The member that asks, if the request names one.
pub(super) fn member(group: Option<&str>, id: Option<&str>) -> Result<Member, ErrorCode> {
    let (group, id) = (group.unwrap_or_default(), id.unwrap_or_default());
    match group.is_empty() || id.is_empty() || id.len() > MAX_MEMBER_ID {
        true => Err(ErrorCode::InvalidRequest),
        false => Ok(Member { group: group.to_owned(), id: id.to_owned() }),
    }
}

pub(super) fn share_partition(group: &Arc<str>, place: Place) -> SharePartition {
    SharePartition { group: group.clone(), topic: place.0, partition: place.1 }
}

/// How long members have records to themselves, as they are told.
pub(super) fn lock_timeout_ms(image: &MetadataImage, group: &str) -> i32 {
    i32::try_from(image.share_config(group).record_lock_duration_ms).unwrap_or(i32::MAX)
}

/// Carries acknowledgements out, each partition's for itself.
pub(super) async fn acknowledge(
    services: &Services,
    image: &MetadataImage,
    member: &Member,
    wanted: Acknowledgements,
    renews: bool,
) -> Outcomes {
    let group: Arc<str> = Arc::from(member.group.as_str());
    let largest = if renews && image.share_config(&member.group).may_renew { RENEW } else { RENEW - 1 };
    let mut outcomes = Outcomes::new();
    for (place, batches) in wanted {
        let outcome = match (check_batches(&batches, largest), image.topic_by_id(place.0)) {
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(ShareError::UnknownPartition),
            (Ok(()), Some(_)) => services.share.acknowledge(&share_partition(&group, place), &member.id, &batches).await,
        };
        outcomes.insert(place, outcome);
    }
    outcomes
}

/// Batches follow each other, and say one thing of all their offsets or one of each.
fn check_batches(batches: &[Acknowledgement], largest: i8) -> Result<(), ShareError> {
    let mut last = -1;
    for batch in batches {
        let in_order = last < batch.first.0 && batch.first <= batch.last;
        let count = batch.last.0.saturating_sub(batch.first.0).saturating_add(1);
        let is_complete = batch.types.len() == 1 || i64::try_from(batch.types.len()) == Ok(count);
        let is_known = batch.types.iter().all(|kind| (0..=largest).contains(kind));
        if !(in_order && is_complete && is_known) {
            return Err(ShareError::InvalidRequest);
        }
        last = batch.last.0;
    }
    Ok(())
}

/// Gives back all that a member has of these partitions. Of one that was lost they count as delivered: it may be they that it died of.
pub(crate) fn release(services: &Services, member: &Member, partitions: BTreeSet<Place>, is_lost: bool) {
    let group: Arc<str> = Arc::from(member.group.as_str());
    for place in partitions {
        if let Err(error) = services.share.release(&share_partition(&group, place), &member.id, is_lost) {
            tracing::debug!(group = member.group, member = member.id, topic = %place.0, partition = place.1.0, %error, "records stay locked");
        }
    }
}

/// Kafka's code for what became of a partition, and where it is led if that is elsewhere.
pub(super) fn verdict(image: &MetadataImage, place: Place, outcome: &Result<(), ShareError>) -> (ErrorCode, Option<LeaderHint>) {
    match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err(ShareError::UnknownPartition) if image.topic_by_id(place.0).is_none() => (ErrorCode::UnknownTopicId, None),
        Err(failure) => {
            let code = error::share(failure);
            (code, leader_hint(image, place.0, place.1).filter(|_| code == ErrorCode::NotLeaderOrFollower))
        }
    }
}

/// Groups what is by partition by topic, keeping the order.
pub(super) fn by_topic<T>(partitions: impl IntoIterator<Item = (Place, T)>) -> Vec<(TopicId, Vec<(PartitionIndex, T)>)> {
    let mut topics: Vec<(TopicId, Vec<(PartitionIndex, T)>)> = Vec::new();
    for ((topic, partition), thing) in partitions {
        match topics.last_mut().filter(|(last, _)| *last == topic) {
            Some((_, partitions)) => partitions.push((partition, thing)),
            None => topics.push((topic, vec![(partition, thing)])),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_base::Offset;

    fn batch(first: i64, last: i64, types: &[i8]) -> Acknowledgement {
        Acknowledgement { first: Offset(first), last: Offset(last), types: types.to_vec() }
    }

    #[test]
    fn batches_are_held_to_kafkas_rules() {
        for good in [
            vec![batch(0, 0, &[1])],
            vec![batch(0, 9, &[2]), batch(10, 12, &[1, 0, 3])],
            vec![batch(5, 5, &[3]), batch(7, 8, &[1])],
        ] {
            assert_eq!(check_batches(&good, 3), Ok(()), "{good:?}");
        }
        for bad in [
            vec![batch(-1, 0, &[1])],
            vec![batch(3, 2, &[1])],
            vec![batch(0, 2, &[])],
            vec![batch(0, 2, &[1, 1])],
            vec![batch(0, 2, &[1]), batch(2, 3, &[1])],
            vec![batch(0, 0, &[4])],
            vec![batch(0, 0, &[-1])],
            vec![batch(0, i64::MAX, &[1, 1])],
        ] {
            assert_eq!(check_batches(&bad, 3), Err(ShareError::InvalidRequest), "{bad:?}");
        }
        assert_eq!(check_batches(&[batch(0, 0, &[4])], 4), Ok(()));
    }

    #[test]
    fn a_member_has_a_group_and_an_id() {
        assert!(member(Some("g"), Some("m")).is_ok());
        for (group, id) in [(None, Some("m")), (Some("g"), None), (Some(""), Some("m")), (Some("g"), Some(""))] {
            assert_eq!(member(group, id), Err(ErrorCode::InvalidRequest));
        }
        assert_eq!(member(Some("g"), Some(&"m".repeat(37))), Err(ErrorCode::InvalidRequest));
    }
}
