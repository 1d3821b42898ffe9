//! Members of groups: they join, share out what there is to read, commit and fetch offsets, stay in touch, leave, and start again.

use crate::message::{Address, Answer, Ask, Message};
use crate::world::{Event, HEALED_MS, World};
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use duolog_core::group::{
    CommitPartition, CommitRequest, CommitTopic, Departure, FetchRequest, FetchTopic, GroupError, HeartbeatRequest, JoinRequest,
    JoinedGeneration, LeaveRequest, Protocol, SyncRequest,
};

/// What a group shares out.
const SHARES: u8 = 4;
const TOPIC: &str = "t";
const SESSION_MS: i32 = 500;
const REBALANCE_MS: i32 = 1_000;
/// After so long a member takes its request for lost. Who joins waits for others.
const TIMEOUT_MS: u64 = 400;
const JOIN_TIMEOUT_MS: u64 = 2_000;

/// Where a member stands, as it believes.
#[derive(Debug)]
enum Phase {
    /// It is to join, or to join again.
    Out,
    /// It is to ask for its share; if it leads, with everybody's.
    Joined(JoinedGeneration),
    Working {
        generation: i32,
        shares: Vec<u8>,
    },
}

#[derive(Debug)]
pub struct Member {
    pub group: String,
    /// Of a static member.
    instance_id: Option<String>,
    id: String,
    phase: Phase,
    /// Request, and when it is given up.
    waiting: Option<(u64, u64)>,
    next_request: u64,
}

impl Member {
    pub fn new(group: String, instance_id: Option<String>) -> Member {
        Member { group, instance_id, id: String::new(), phase: Phase::Out, waiting: None, next_request: 1 }
    }

    /// The process starts again, and remembers nothing but its instance id.
    fn restart(&mut self) {
        let next_request = self.next_request;
        *self = Member { next_request, ..Member::new(self.group.clone(), self.instance_id.clone()) };
    }

    fn is_waiting(&self, now_ms: u64) -> bool {
        self.waiting.is_some_and(|(_, until_ms)| now_ms < until_ms)
    }

    fn join(&self) -> Ask {
        Ask::Join(JoinRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: "member".to_owned(),
            client_host: String::new(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            protocol_type: "simulated".to_owned(),
            protocols: vec![Protocol { name: "fair".to_owned(), metadata: Bytes::new() }],
            reason: None,
            takes_member_id: true,
            can_skip_assignment: true,
        })
    }

    fn sync(&self, joined: &JoinedGeneration) -> Ask {
        let members = &joined.members;
        let share = |at: usize| (0..SHARES).filter(|share| *share as usize % members.len() == at).collect::<Vec<u8>>();
        Ask::Sync(SyncRequest {
            group_id: self.group.clone(),
            generation: joined.generation,
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            protocol_type: None,
            protocol_name: None,
            assignments: members.iter().enumerate().map(|(at, one)| (one.member_id.clone(), Bytes::from(share(at)))).collect(),
        })
    }

    fn heartbeat(&self, generation: i32) -> Ask {
        Ask::Heartbeat(HeartbeatRequest {
            group_id: self.group.clone(),
            generation,
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
        })
    }

    fn leave(&self) -> Ask {
        let (member_id, instance_id) = (self.id.clone(), self.instance_id.clone());
        Ask::Leave(LeaveRequest {
            group_id: self.group.clone(),
            members: vec![Departure { member_id, instance_id, reason: None }],
        })
    }

    fn fetch(&self) -> Ask {
        let partitions = (0..SHARES).map(|share| PartitionIndex(share as i32)).collect();
        let topics = Some(vec![FetchTopic { name: TOPIC.to_owned(), partitions }]);
        Ask::Fetch(FetchRequest { group_id: self.group.clone(), topics })
    }

    fn commit(&self, generation: i32, commits: &[(u8, u64)]) -> Ask {
        let commit = |(share, offset): &(u8, u64)| CommitPartition {
            partition: PartitionIndex(*share as i32),
            offset: Offset(*offset as i64),
            leader_epoch: LeaderEpoch::NONE,
            metadata: String::new(),
        };
        let partitions = commits.iter().map(commit).collect();
        Ask::Commit(CommitRequest {
            group_id: self.group.clone(),
            generation,
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            retention_ms: None,
            knows_group_not_found: true,
            topics: vec![CommitTopic { name: TOPIC.to_owned(), id: TopicId::NONE, partitions }],
        })
    }

    /// What an answer changes; whether there is more to be asked at once.
    fn takes(&mut self, answer: Answer) -> bool {
        let outcome = match answer {
            Answer::Join(answer) => match answer.outcome {
                Ok(joined) => {
                    (self.id, self.phase) = (answer.member_id, Phase::Joined(joined));
                    return true;
                }
                Err(GroupError::MemberIdRequired) => {
                    self.id = answer.member_id;
                    return true;
                }
                Err(error) => Err(error),
            },
            Answer::Sync(Ok(answer)) => {
                if let Phase::Joined(joined) = &self.phase {
                    self.phase = Phase::Working { generation: joined.generation, shares: answer.assignment.to_vec() };
                }
                Ok(())
            }
            Answer::Sync(Err(error)) => Err(error),
            Answer::Heartbeat(outcome) => outcome,
            Answer::Commit(outcome) => outcome.map(|_| ()),
            Answer::Fetch(_) | Answer::NotCoordinator | Answer::Unavailable => Ok(()),
            Answer::Left => {
                self.restart();
                Ok(())
            }
        };
        match outcome {
            Ok(()) => {}
            Err(GroupError::UnknownMember | GroupError::FencedInstance | GroupError::GroupNotFound) => self.restart(),
            Err(_) => self.phase = Phase::Out,
        }
        false
    }
}

impl World<'_> {
    pub(crate) fn member_tick(&mut self, index: usize) {
        if !self.members[index].is_waiting(self.now_ms) {
            self.member_acts(index);
        }
        let next_ms = 40 + self.random.below(60);
        self.schedule(next_ms, Event::MemberTick { member: index });
    }

    fn member_acts(&mut self, index: usize) {
        // Once everything is healed they only work.
        let choice = self.random.below(60).max(if self.now_ms < HEALED_MS { 0 } else { 3 });
        let member = &mut self.members[index];
        let ask = match &member.phase {
            Phase::Out => member.join(),
            Phase::Joined(joined) => member.sync(joined),
            // Nobody hears of it any more.
            Phase::Working { .. } if choice == 0 => return member.restart(),
            Phase::Working { .. } if choice == 1 => member.leave(),
            // It falls silent, and is thrown out before it goes on.
            Phase::Working { .. } if choice == 2 => {
                member.waiting = Some((0, self.now_ms + 2 * SESSION_MS as u64));
                return;
            }
            Phase::Working { generation, .. } if choice < 20 => member.heartbeat(*generation),
            Phase::Working { .. } if choice < 30 => member.fetch(),
            Phase::Working { generation, shares } => {
                let (generation, shares) = (*generation, shares.clone());
                let commits: Vec<(u8, u64)> = shares.into_iter().map(|share| (share, self.oracle.next_value())).collect();
                for (share, offset) in &commits {
                    self.oracle.groups.sends(&member.group, *share as i32, generation, *offset as i64);
                }
                match commits.is_empty() {
                    true => member.heartbeat(generation),
                    false => member.commit(generation, &commits),
                }
            }
        };
        self.ask(index, ask);
    }

    fn ask(&mut self, index: usize, ask: Ask) {
        let timeout_ms = if matches!(ask, Ask::Join(_)) { JOIN_TIMEOUT_MS } else { TIMEOUT_MS };
        let member = &mut self.members[index];
        let request = member.next_request;
        member.next_request += 1;
        member.waiting = Some((request, self.now_ms + timeout_ms));
        // Mostly it knows the coordinator; sometimes it asks whom it knew.
        let leader = self.controller.partitions().get(self.internal()).map_or(0, |known| known.leader.0.max(1) as usize - 1);
        let node = if self.random.chance(9, 10) { leader } else { self.random.below(self.nodes.len() as u64) as usize };
        self.send(Address::Member(index), Address::Node(node), Message::Ask { request, ask: Box::new(ask) });
    }

    pub(crate) fn member_answered(&mut self, index: usize, message: Message) {
        let Message::Answered { request, answer } = message else { return };
        let member = &mut self.members[index];
        if member.waiting.is_some_and(|(waiting, _)| waiting == request) {
            member.waiting = None;
            if member.takes(*answer) {
                self.member_acts(index);
            }
        }
    }
}
