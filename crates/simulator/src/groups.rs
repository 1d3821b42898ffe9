//! What the oracle knows of groups: the fold of the committed records of the internal partition, and what members were told.
//!
//! * A commit that was acknowledged is among the committed records, and nothing of them is ever taken back.
//! * A commit of a generation stands behind that generation's record and before the next one's: who was left behind writes nothing.
//! * A fetch shows what is committed only, and at the present coordinator all that was committed when it was asked.
//! * A coordinator begins to serve with exactly what is committed.
//! * A share belongs to one member a generation, and only a generation that is written down has shares.

use crate::message::{Answer, Ask};
use duolog_core::group::{CommittedTopic, GroupError, OffsetsRecord, SyncAnswer, decode_offsets_record};
use duolog_wire::record::{DecompressLimits, decode_batch};
use std::collections::BTreeMap;

/// A group's name.
pub type Name = String;

/// An invariant of groups that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupViolation {
    /// A commit was acknowledged that is not committed.
    CommitAckedTooEarly { group: Name, share: i32, offset: i64 },
    /// A commit that nobody sent.
    UnsentCommit { group: Name, share: i32, offset: i64 },
    /// A member of an earlier generation committed.
    StaleCommit { group: Name, share: i32, offset: i64, of: i32, current: i32 },
    /// The newest generation that was written down went back.
    GenerationWentBack { group: Name, from: i32, to: i32 },
    /// A fetch shows what is not committed.
    ShowsUncommitted { group: Name, share: i32, offset: i64 },
    /// The present coordinator does not know what was committed before it was asked.
    ShowsStale { group: Name, share: i32, shown: Option<i64>, committed: i64 },
    /// A coordinator begins to serve with something else than what is committed.
    ReplayedWrong { group: Name, share: i32, found: Option<i64>, committed: Option<i64> },
    /// Two members have the same share in one generation.
    TwoOwners { group: Name, generation: i32, share: u8, owners: [String; 2] },
    /// A share was given out in a generation that may be forgotten.
    ShareNotKept { group: Name, generation: i32 },
}

/// What was committed for a share last, and by which record of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    offset: i64,
    place: usize,
}

/// What the present coordinator must know of a group at least: offset and place by share.
#[derive(Clone, Debug, Default)]
pub struct Expected(BTreeMap<i32, Standing>);

impl Expected {
    /// Of a coordinator that another one has taken over from, without its knowledge.
    pub fn nothing() -> Expected {
        Expected::default()
    }
}

/// What an answer says if it is a good one.
pub enum Promise {
    Nothing,
    /// Shares and offsets are kept.
    Commit {
        group: Name,
        commits: Vec<(i32, i64)>,
    },
    Fetch {
        group: Name,
        expected: Expected,
    },
    /// The share is the owner's in that generation.
    Share {
        group: Name,
        generation: i32,
        owner: String,
    },
}

impl Promise {
    pub fn of(ask: &Ask, expected: Expected) -> Promise {
        match ask {
            Ask::Commit(request) => {
                let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
                let commits = partitions.map(|one| (one.partition.0, one.offset.0)).collect();
                Promise::Commit { group: request.group_id.clone(), commits }
            }
            Ask::Fetch(request) => Promise::Fetch { group: request.group_id.clone(), expected },
            Ask::Sync(request) => {
                let owner = request.instance_id.clone().unwrap_or_else(|| request.member_id.clone());
                Promise::Share { group: request.group_id.clone(), generation: request.generation, owner }
            }
            Ask::Join(_) | Ask::Heartbeat(_) | Ask::Leave(_) => Promise::Nothing,
        }
    }
}

#[derive(Debug, Default)]
pub struct Groups {
    /// By offset, which is of one commit only: group, share and generation.
    sent: BTreeMap<i64, (Name, i32, i32)>,
    /// Where the record of each commit stands, by its offset.
    places: BTreeMap<i64, usize>,
    standing: BTreeMap<Name, BTreeMap<i32, Standing>>,
    generations: BTreeMap<Name, i32>,
    owners: BTreeMap<(Name, i32, u8), String>,
    last_acked_ms: BTreeMap<Name, u64>,
    acked: u64,
    /// Where the record that is folded now stands.
    place: usize,
    violation: Option<GroupViolation>,
}

impl Groups {
    pub fn acked(&self) -> u64 {
        self.acked
    }

    pub fn last_acked_ms(&self, group: &str) -> Option<u64> {
        self.last_acked_ms.get(group).copied()
    }

    pub fn take_violation(&mut self) -> Option<GroupViolation> {
        self.violation.take()
    }

    fn fail(&mut self, violation: GroupViolation) {
        self.violation.get_or_insert(violation);
    }

    /// The groups that have committed something.
    pub fn names(&self) -> Vec<Name> {
        self.standing.keys().cloned().collect()
    }

    pub fn expected(&self, group: &str) -> Expected {
        Expected(self.standing.get(group).cloned().unwrap_or_default())
    }

    /// A member is about to commit.
    pub fn sends(&mut self, group: &str, share: i32, generation: i32, offset: i64) {
        self.sent.insert(offset, (group.to_owned(), share, generation));
    }

    /// The next batch of the partition is committed. Read without the coordinator's replay, which may be what is wrong.
    pub fn fold(&mut self, place: usize, batch: &[u8]) {
        self.place = place;
        let decoded = decode_batch(batch, DecompressLimits::default()).expect("a coordinator writes sound batches");
        for record in decoded.records() {
            let record = record.expect("a sound record");
            let key = record.key.expect("records of groups have keys");
            match decode_offsets_record(key, record.value).expect("a record of a group") {
                OffsetsRecord::Group { id, value: Some(value) } => self.generation(id, value.generation),
                OffsetsRecord::Offset { group, partition, committed: Some(committed), .. } => {
                    self.committed(group, partition.0, committed.offset.0);
                }
                OffsetsRecord::Group { value: None, .. }
                | OffsetsRecord::Offset { committed: None, .. }
                | OffsetsRecord::Lock { .. }
                | OffsetsRecord::Other => {}
            }
        }
    }

    fn committed(&mut self, group: &str, share: i32, offset: i64) {
        let group_id = group.to_owned();
        let Some((_, _, of)) = self.sent.get(&offset).filter(|sent| (sent.0.as_str(), sent.1) == (group, share)) else {
            return self.fail(GroupViolation::UnsentCommit { group: group_id, share, offset });
        };
        let (of, current) = (*of, self.generations.get(group).copied().unwrap_or(0));
        if of != current {
            self.fail(GroupViolation::StaleCommit { group: group_id.clone(), share, offset, of, current });
        }
        self.places.insert(offset, self.place);
        self.standing.entry(group_id).or_default().insert(share, Standing { offset, place: self.place });
    }

    fn generation(&mut self, group: &str, to: i32) {
        let from = self.generations.insert(group.to_owned(), to).unwrap_or(0);
        if to < from {
            self.fail(GroupViolation::GenerationWentBack { group: group.to_owned(), from, to });
        }
    }

    /// The present coordinator has replayed what is committed, and nothing else.
    pub fn replayed(&mut self, group: &str, found: &[CommittedTopic]) {
        let found: BTreeMap<i32, i64> = shown(found).collect();
        let expected = self.expected(group).0;
        for share in found.keys().chain(expected.keys()) {
            let (found, committed) = (found.get(share).copied(), expected.get(share).map(|standing| standing.offset));
            if found != committed {
                self.fail(GroupViolation::ReplayedWrong { group: group.to_owned(), share: *share, found, committed });
            }
        }
    }

    /// An answer leaves a coordinator.
    pub fn answered(&mut self, promise: &Promise, answer: &Answer, now_ms: u64) -> bool {
        match (promise, answer) {
            (Promise::Commit { group, commits }, Answer::Commit(Ok(outcomes))) => {
                assert!(outcomes.iter().flat_map(|topic| &topic.partitions).all(|one| one.outcome.is_ok()), "small metadata");
                self.acknowledged(group, commits, now_ms);
                return true;
            }
            (Promise::Fetch { group, expected }, Answer::Fetch(topics)) => self.fetched(group, expected, topics),
            (Promise::Share { group, generation, owner }, Answer::Sync(answer)) => self.shared(group, *generation, owner, answer),
            _ => {}
        }
        false
    }

    fn acknowledged(&mut self, group: &str, commits: &[(i32, i64)], now_ms: u64) {
        self.acked += commits.len() as u64;
        self.last_acked_ms.insert(group.to_owned(), now_ms);
        for (share, offset) in commits {
            if !self.places.contains_key(offset) {
                self.fail(GroupViolation::CommitAckedTooEarly { group: group.to_owned(), share: *share, offset: *offset });
            }
        }
    }

    fn fetched(&mut self, group: &str, expected: &Expected, topics: &[CommittedTopic]) {
        let shown: BTreeMap<i32, i64> = shown(topics).collect();
        for (share, offset) in &shown {
            if !self.places.contains_key(offset) {
                self.fail(GroupViolation::ShowsUncommitted { group: group.to_owned(), share: *share, offset: *offset });
            }
        }
        for (share, known) in &expected.0 {
            let shown = shown.get(share).copied();
            let place = shown.and_then(|offset| self.places.get(&offset));
            if place.is_none_or(|place| *place < known.place) {
                let (share, committed) = (*share, known.offset);
                self.fail(GroupViolation::ShowsStale { group: group.to_owned(), share, shown, committed });
            }
        }
    }

    fn shared(&mut self, group: &str, generation: i32, owner: &str, answer: &Result<SyncAnswer, GroupError>) {
        let Ok(answer) = answer else { return };
        if self.generations.get(group).is_none_or(|kept| *kept < generation) {
            self.fail(GroupViolation::ShareNotKept { group: group.to_owned(), generation });
        }
        for share in answer.assignment.iter().copied() {
            let known = self.owners.entry((group.to_owned(), generation, share)).or_insert_with(|| owner.to_owned());
            if known != owner {
                let owners = [known.clone(), owner.to_owned()];
                self.fail(GroupViolation::TwoOwners { group: group.to_owned(), generation, share, owners });
            }
        }
    }
}

/// Offsets by share.
fn shown(topics: &[CommittedTopic]) -> impl Iterator<Item = (i32, i64)> {
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter_map(|one| Some((one.partition.0, one.committed.as_ref()?.offset.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
    use duolog_core::group::{CommittedOffset, CommittedPartition};

    const GROUP: &str = "g";

    /// Generation 1 is written down, and 5 is committed for share 0; 6 is on its way.
    fn groups() -> Groups {
        let mut groups = Groups::default();
        groups.generation(GROUP, 1);
        groups.sends(GROUP, 0, 1, 5);
        groups.committed(GROUP, 0, 5);
        groups.sends(GROUP, 0, 1, 6);
        groups
    }

    fn topics(offset: Option<i64>) -> Vec<CommittedTopic> {
        let committed = offset.map(|offset| CommittedOffset {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch::NONE,
            metadata: String::new(),
            committed_at: TimestampMs(0),
            expires_at: None,
            topic_id: TopicId::NONE,
        });
        vec![CommittedTopic {
            name: "t".to_owned(),
            partitions: vec![CommittedPartition { partition: PartitionIndex(0), committed }],
        }]
    }

    fn share(owner: &str, generation: i32, groups: &mut Groups) {
        let promise = Promise::Share { group: GROUP.to_owned(), generation, owner: owner.to_owned() };
        let answer = SyncAnswer { protocol_type: None, protocol_name: None, assignment: Bytes::from_static(&[0]) };
        groups.answered(&promise, &Answer::Sync(Ok(answer)), 0);
    }

    fn fetch(offset: Option<i64>, groups: &mut Groups) {
        let promise = Promise::Fetch { group: GROUP.to_owned(), expected: groups.expected(GROUP) };
        groups.answered(&promise, &Answer::Fetch(topics(offset)), 0);
    }

    fn says(change: impl Fn(&mut Groups)) -> Option<GroupViolation> {
        let mut groups = groups();
        change(&mut groups);
        groups.take_violation()
    }

    #[test]
    fn a_sound_history_passes() {
        let sound = says(|groups| {
            fetch(Some(5), groups);
            groups.place = 7;
            groups.committed(GROUP, 0, 6);
            let promise = Promise::Commit { group: GROUP.to_owned(), commits: vec![(0, 6)] };
            assert!(groups.answered(&promise, &Answer::Commit(Ok(Vec::new())), 9));
            share("a", 1, groups);
            share("a", 1, groups);
            groups.generation(GROUP, 2);
            share("b", 2, groups);
            groups.replayed(GROUP, &topics(Some(6)));
        });
        assert_eq!(sound, None);
    }

    #[test]
    fn bad_histories_are_found() {
        let group = || GROUP.to_owned();
        let promise = Promise::Commit { group: group(), commits: vec![(0, 6)] };
        let early = says(|groups| assert!(groups.answered(&promise, &Answer::Commit(Ok(Vec::new())), 9)));
        assert_eq!(early, Some(GroupViolation::CommitAckedTooEarly { group: group(), share: 0, offset: 6 }));
        let unsent = says(|groups| groups.committed(GROUP, 1, 6));
        assert_eq!(unsent, Some(GroupViolation::UnsentCommit { group: group(), share: 1, offset: 6 }));
        let stale = says(|groups| {
            groups.generation(GROUP, 2);
            groups.committed(GROUP, 0, 6);
        });
        assert_eq!(stale, Some(GroupViolation::StaleCommit { group: group(), share: 0, offset: 6, of: 1, current: 2 }));
        let back = says(|groups| groups.generation(GROUP, 0));
        assert_eq!(back, Some(GroupViolation::GenerationWentBack { group: group(), from: 1, to: 0 }));
        let uncommitted = says(|groups| fetch(Some(6), groups));
        assert_eq!(uncommitted, Some(GroupViolation::ShowsUncommitted { group: group(), share: 0, offset: 6 }));
        let forgotten = says(|groups| fetch(None, groups));
        assert_eq!(forgotten, Some(GroupViolation::ShowsStale { group: group(), share: 0, shown: None, committed: 5 }));
        let wrong = says(|groups| groups.replayed(GROUP, &topics(None)));
        assert_eq!(wrong, Some(GroupViolation::ReplayedWrong { group: group(), share: 0, found: None, committed: Some(5) }));
        let unkept = says(|groups| share("a", 2, groups));
        assert_eq!(unkept, Some(GroupViolation::ShareNotKept { group: group(), generation: 2 }));
        let two = says(|groups| ["a", "b"].iter().for_each(|owner| share(owner, 1, groups)));
        let owners = ["a".to_owned(), "b".to_owned()];
        assert_eq!(two, Some(GroupViolation::TwoOwners { group: group(), generation: 1, share: 0, owners }));
    }
}
