//! Taking records for a member of a share group: where they may be taken, the plan of a read, and the records that this member gets of it.
//!
//! A round looks at the partitions in turn until the limits are reached. Rounds repeat until there is enough or time is over; new data and
//! records that were given back wake the next one. What is acquired lies within what is sent, so the read comes first: a client says
//! nothing of records that it has not seen.

use crate::Services;
use crate::check::check;
use crate::share_keys::candidates_of;
use crate::share_sessions::{Member, Place};
use duolog_base::{Offset, PartitionIndex};
use duolog_core::broker::{FetchError, Watch};
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_core::share::{Acquire, AcquiredRange, Pick, ShareError, SharePartition, ShareWatch};
use duolog_log::ReadPlan;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Partitions whose records one answer brings at the most.
const MAX_SERVED: usize = 1_000;
/// How long to wait before what was not ready is looked at again.
const RETRY: Duration = Duration::from_millis(100);

/// What bounds and ends a fetch.
pub(crate) struct Limits {
    pub(crate) max_bytes: usize,
    pub(crate) min_bytes: usize,
    pub(crate) max_records: usize,
    /// Also if that splits a batch.
    pub(crate) keeps_records_limit: bool,
    /// Nothing of what is not decided yet.
    pub(crate) is_read_committed: bool,
    /// No record before those of its key that come before it are done with.
    pub(crate) is_ordered_by_key: bool,
    pub(crate) deadline: Option<Instant>,
}

/// What there is for a member in one partition.
pub(crate) enum Found {
    Records { plan: ReadPlan, acquired: Vec<AcquiredRange> },
    Failed(ShareError),
}

/// What was found, by partition.
pub(crate) type Taken = Vec<(Place, Found)>;

/// What a round has brought so far.
#[derive(Default)]
struct Haul {
    taken: Taken,
    bytes: usize,
    records: usize,
    /// Something was not ready, and nobody will say when it is.
    is_unready: bool,
}

/// Takes records of these partitions for the member, waiting for them until the deadline.
pub(crate) async fn take(services: &Services, member: &Member, places: &[Place], limits: &Limits) -> Taken {
    if places.is_empty() || limits.max_records == 0 || limits.max_bytes == 0 {
        return Taken::new();
    }
    let group: Arc<str> = Arc::from(member.group.as_str());
    let taker = Taker { services, member, group, places, limits };
    let broker = &services.broker;
    let mut images = broker.metadata().changes();
    let mut stopping = broker.stopping();
    loop {
        images.borrow_and_update();
        // Before the round, so that nothing that comes is missed.
        let (data, given_back) = taker.watch(&broker.image());
        let deadline = limits.deadline.filter(|deadline| *deadline > Instant::now());
        let haul = match deadline.is_none() || taker.is_worth_while(&broker.image()).await {
            true => taker.round(&broker.image()).await,
            false => Haul::default(),
        };
        let Some(deadline) = deadline.filter(|_| haul.taken.is_empty()) else { return haul.taken };
        let retry = if haul.is_unready { deadline.min(Instant::now() + RETRY) } else { deadline };
        tokio::select! {
            () = data.changed() => {}
            () = given_back.changed() => {}
            _ = images.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return haul.taken,
            () = tokio::time::sleep_until(retry) => {}
        }
    }
}

struct Taker<'a> {
    services: &'a Services,
    member: &'a Member,
    group: Arc<str>,
    places: &'a [Place],
    limits: &'a Limits,
}

impl Taker<'_> {
    fn watch(&self, image: &MetadataImage) -> (Watch, ShareWatch) {
        let numbers = self.places.iter().filter_map(|(topic, index)| {
            let topic = image.topic_by_id(*topic)?;
            Some((topic.partition(*index)?.number, topic.config.flush))
        });
        let shared = self.places.iter().map(|place| self.at(*place));
        (self.services.broker.watch(numbers), self.services.share.watch(shared))
    }

    fn at(&self, (topic, partition): Place) -> SharePartition {
        SharePartition { group: self.group.clone(), topic, partition }
    }

    /// Whether there are as many bytes as the client wants at the least. They are nobody's yet, since what is taken is not put back. What
    /// is to be told without delay is worth a round, too.
    async fn is_worth_while(&self, image: &MetadataImage) -> bool {
        let mut bytes = 0;
        for place in self.places {
            if bytes >= self.limits.min_bytes {
                break;
            }
            let (topic, partition) = match self.led(image, *place) {
                Ok(topic) => (topic, place.1),
                Err(_) => return true,
            };
            match self.services.share.next_fetch(&self.at(*place)).await {
                Ok(Some(from)) => match self.plan(topic, partition, from, usize::MAX, &Haul::default()) {
                    Ok(plan) => bytes += plan.map_or(0, |plan| plan.bytes),
                    Err(_) => return true,
                },
                Ok(None) => {}
                // The round finds out what is to be done about it.
                Err(_) => return true,
            }
        }
        bytes >= self.limits.min_bytes
    }

    /// The topic, if this node leads the partition.
    fn led<'a>(&self, image: &'a MetadataImage, place: Place) -> Result<&'a TopicImage, ShareError> {
        let topic = image.topic_by_id(place.0).ok_or(ShareError::UnknownPartition)?;
        let partition = topic.partition(place.1).ok_or(ShareError::UnknownPartition)?;
        match self.services.broker.leads(partition) {
            Some(_) => Ok(topic),
            None => Err(ShareError::NotLeader),
        }
    }

    async fn round(&self, image: &MetadataImage) -> Haul {
        let mut haul = Haul::default();
        for place in self.places {
            if haul.bytes >= self.limits.max_bytes || haul.records >= self.limits.max_records || haul.taken.len() >= MAX_SERVED {
                break;
            }
            match self.take_from(image, *place, &haul).await {
                Ok(None) => {}
                Ok(Some((plan, acquired))) => {
                    haul.bytes += plan.bytes;
                    haul.records += acquired.iter().map(count).sum::<usize>();
                    haul.taken.push((*place, Found::Records { plan, acquired }));
                }
                Err(error) if may_pass(&error) => {
                    tracing::debug!(group = %self.group, topic = %place.0, partition = place.1.0, %error, "not ready");
                    haul.is_unready = true;
                }
                Err(error) => haul.taken.push((*place, Found::Failed(error))),
            }
        }
        haul
    }

    /// Records of one partition that are the member's from now on, with the batches that they are in.
    async fn take_from(
        &self,
        image: &MetadataImage,
        place: Place,
        haul: &Haul,
    ) -> Result<Option<(ReadPlan, Vec<AcquiredRange>)>, ShareError> {
        let (topic, at, share) = (self.led(image, place)?, self.at(place), &self.services.share);
        let mut next = share.next_fetch(&at).await?;
        while let Some(from) = next {
            let Some(read) = self.read(topic, place, from, haul).await? else { return Ok(None) };
            let acquired = self.acquire(&at, from, &read, haul).await?;
            if !acquired.is_empty() {
                return Ok(Some((read, acquired)));
            }
            // Those of other keys may lie further behind.
            next = match self.limits.is_ordered_by_key {
                true => share.next_fetch_behind(&at, read.next).await?,
                false => None,
            };
        }
        Ok(None)
    }

    /// Whole batches that can be read from there on.
    async fn read(&self, topic: &TopicImage, place: Place, from: Offset, haul: &Haul) -> Result<Option<ReadPlan>, ShareError> {
        let left = self.limits.max_records - haul.records;
        let Some(mut plan) = self.plan(topic, place.1, from, left, haul)? else { return Ok(None) };
        // What cannot be read is told while there is still time for it, and is nobody's then.
        if let Err(error) = check(&mut plan).await {
            tracing::error!(topic = topic.name, partition = place.1.0, %error, "reading failed");
            return Err(ShareError::Storage(error.to_string()));
        }
        Ok((plan.bytes > 0).then_some(plan))
    }

    /// What is the member's of what was read from there on.
    async fn acquire(
        &self,
        at: &SharePartition,
        from: Offset,
        plan: &ReadPlan,
        haul: &Haul,
    ) -> Result<Vec<AcquiredRange>, ShareError> {
        let left = self.limits.max_records - haul.records;
        let most = match self.limits.keeps_records_limit {
            true => left,
            false => left.max(usize::try_from(plan.next.0 - from.0).unwrap_or(0)),
        };
        let (member, window) = (self.member.id.as_str(), from..plan.next);
        let candidates;
        let pick = match self.limits.is_ordered_by_key {
            true => {
                candidates = candidates_of(plan, from).await?;
                Pick::OneOfEachKey(&candidates)
            }
            false => Pick::All,
        };
        let wanted = Acquire { member, window, max_records: most, lock: None, pick, unwanted: &[] };
        self.services.share.acquire(at, wanted).await
    }

    /// Whole batches from `from` on, with not more records than are wanted unless the first one has more.
    fn plan(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        from: Offset,
        records: usize,
        haul: &Haul,
    ) -> Result<Option<ReadPlan>, ShareError> {
        let (broker, room) = (&self.services.broker, self.limits.max_bytes - haul.bytes);
        let beyond = Offset(from.0.saturating_add(i64::try_from(records).unwrap_or(i64::MAX)));
        let read = |upto, room| match broker.read_below(topic, partition, from, upto, room, haul.bytes == 0) {
            Ok(fetched) => Ok(Some(fetched.plan).filter(|plan| plan.bytes > 0)),
            // The log's start has moved, or its end: who gives out records will have seen it the next time.
            Err(FetchError::OutOfRange { .. }) => Ok(None),
            Err(FetchError::UnknownPartition) => Err(ShareError::UnknownPartition),
            Err(FetchError::NotLeader) => Err(ShareError::NotLeader),
            Err(error @ (FetchError::Quarantined(_) | FetchError::Io(_))) => Err(ShareError::Storage(error.to_string())),
        };
        let Some(ends) = broker.ends(topic, partition) else { return Ok(None) };
        let end = if self.limits.is_read_committed { ends.last_stable } else { ends.high_watermark };
        match read(beyond.min(end), room)? {
            Some(plan) => Ok(Some(plan)),
            // The first batch alone has more.
            None if haul.records == 0 => read(end, 1),
            None => Ok(None),
        }
    }
}

fn count(range: &AcquiredRange) -> usize {
    usize::try_from(range.last.0 - range.first.0 + 1).unwrap_or(0)
}

/// Not worth telling: the next look may find otherwise. Clients know few errors of fetching and end with any other.
fn may_pass(error: &ShareError) -> bool {
    matches!(error, ShareError::Loading | ShareError::Unavailable(_) | ShareError::FencedStateEpoch)
}
