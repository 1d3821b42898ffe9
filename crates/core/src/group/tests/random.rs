//! Random lives of a group: whatever members do, the rules hold, and what was written gives the same group again.

use super::super::state::State;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Join {
        client: usize,
        topics: usize,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    /// The client stops and starts again under a new id.
    Forget {
        client: usize,
    },
    Commit {
        client: usize,
    },
    Wait {
        ms: u64,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        6 => (client.clone(), 1..3usize).prop_map(|(client, topics)| Step::Join { client, topics }),
        6 => client.clone().prop_map(|client| Step::Sync { client }),
        4 => client.clone().prop_map(|client| Step::Heartbeat { client }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        1 => client.clone().prop_map(|client| Step::Forget { client }),
        4 => client.prop_map(|client| Step::Commit { client }),
        4 => (1..20_000u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Restart),
    ]
}

/// A consumer as it sees itself.
#[derive(Default)]
struct Client {
    member_id: String,
    generation: Option<JoinedGeneration>,
    joining: Option<Waiting<JoinAnswer>>,
    syncing: Option<Waiting<Result<SyncAnswer, GroupError>>>,
    /// The share it believes to own.
    share: Option<(i32, Bytes)>,
}

struct Life {
    world: World,
    clients: Vec<Client>,
    /// Who was given a share in which generation.
    owners: BTreeMap<(i32, Bytes), String>,
    next_offset: i64,
    newest_generation: i32,
}

impl Life {
    fn new() -> Life {
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        Life { world: World::new(), clients, owners: BTreeMap::new(), next_offset: 0, newest_generation: 0 }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Join { client, topics } => self.join(*client, *topics),
            Step::Sync { client } => self.sync(*client),
            Step::Heartbeat { client } => self.heartbeat(*client),
            Step::Leave { client } => {
                let id = std::mem::take(&mut self.clients[*client]).member_id;
                if !id.is_empty() {
                    self.world.leave(&id, None);
                }
            }
            Step::Forget { client } => self.clients[*client] = Client::default(),
            Step::Commit { client } => self.commit(*client),
            Step::Wait { ms } => self.world.advance(*ms),
            Step::Restart => self.restart(),
        }
        self.collect();
        self.check();
    }

    /// A generation that was not written down is forgotten; nobody has a share in it.
    fn restart(&mut self) {
        self.world = self.world.restarted();
        self.newest_generation = self.world.shard.groups.get(GROUP).map_or(0, |group| group.generation);
        for client in &mut self.clients {
            client.joining = None;
            client.syncing = None;
        }
    }

    fn join(&mut self, client: usize, topics: usize) {
        let topics = &["orders", "refunds"][..topics];
        let request = JoinRequest {
            member_id: self.clients[client].member_id.clone(),
            instance_id: (client == 0).then(|| "static".to_owned()),
            ..join_request(&format!("client-{client}"), topics)
        };
        self.clients[client].joining = Some(self.world.join(request));
    }

    fn sync(&mut self, client: usize) {
        let Some(generation) = self.clients[client].generation.clone() else { return };
        let id = self.clients[client].member_id.clone();
        let ids: Vec<&str> = generation.members.iter().map(|member| member.member_id.as_str()).collect();
        let names: Vec<String> = (0..ids.len()).map(|at| at.to_string()).collect();
        let shares: Vec<(&str, &str)> = ids.into_iter().zip(names.iter().map(String::as_str)).collect();
        self.clients[client].syncing = Some(self.world.sync(&id, generation.generation, &shares));
    }

    fn heartbeat(&mut self, client: usize) {
        if let Some(generation) = self.clients[client].generation.as_ref().map(|generation| generation.generation) {
            let id = self.clients[client].member_id.clone();
            if self.world.heartbeat(&id, generation) == Err(GroupError::UnknownMember) {
                self.clients[client] = Client::default();
            }
        }
    }

    fn commit(&mut self, client: usize) {
        let Some((generation, _)) = self.clients[client].share else { return };
        let before = self.world.committed("orders");
        self.next_offset += 1;
        let id = self.clients[client].member_id.clone();
        let committed = self.world.commit(&id, generation, "orders", self.next_offset);
        let expected = if committed.is_ok() { Some(self.next_offset) } else { before };
        assert_eq!(self.world.committed("orders"), expected);
        if committed.is_ok() {
            assert_eq!(generation, self.newest_generation, "only the newest generation commits");
        }
    }

    /// Clients read what has arrived.
    fn collect(&mut self) {
        for client in &mut self.clients {
            if let Some(answer) = client.joining.as_mut().and_then(Waiting::take) {
                client.joining = None;
                match answer.outcome {
                    Ok(generation) => {
                        self.newest_generation = self.newest_generation.max(generation.generation);
                        client.member_id = answer.member_id;
                        client.generation = Some(generation);
                    }
                    Err(GroupError::MemberIdRequired) => client.member_id = answer.member_id,
                    Err(_) => *client = Client::default(),
                }
            }
            if let Some(answer) = client.syncing.as_mut().and_then(Waiting::take) {
                client.syncing = None;
                if let (Ok(answer), Some(generation)) = (answer, &client.generation) {
                    client.share = Some((generation.generation, answer.assignment));
                }
            }
        }
    }

    fn check(&mut self) {
        for client in &self.clients {
            let Some((generation, share)) = client.share.as_ref().filter(|(_, share)| !share.is_empty()) else { continue };
            let owner = self.owners.entry((*generation, share.clone())).or_insert_with(|| client.member_id.clone());
            // A static member may own its share again under a new id.
            let same_instance = owner.starts_with("static-") && client.member_id.starts_with("static-");
            assert!(*owner == client.member_id || same_instance, "one owner a share and generation");
        }
        if let Some(group) = self.world.shard.groups.get(GROUP) {
            assert!(group.members.is_empty() == (group.state == State::Empty) || group.state == State::PreparingRebalance);
            assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
            let joining = group.members.values().filter(|member| member.joining.is_some()).count();
            assert_eq!(group.joining(), joining);
        }
        self.check_replay();
    }

    /// What was written gives the group as it stands, if it stands still; offsets always.
    fn check_replay(&self) {
        let replayed = self.world.restarted();
        let (live, again) = (self.world.shard.groups.get(GROUP), replayed.shard.groups.get(GROUP));
        let none = super::super::offsets::Offsets::default();
        assert_eq!(live.map_or(&none, |group| &group.offsets), again.map_or(&none, |group| &group.offsets));
        let Some(live) = live.filter(|group| group.recorded && matches!(group.state, State::Empty | State::Stable)) else {
            return;
        };
        let again = again.expect("it was written down");
        assert_eq!((live.state, live.generation, &live.leader), (again.state, again.generation, &again.leader));
        assert_eq!((&live.protocol_type, &live.protocol_name), (&again.protocol_type, &again.protocol_name));
        assert_eq!((live.since, &live.subscribed), (again.since, &again.subscribed));
        assert_eq!(live.members.len(), again.members.len());
        for (live_member, member) in live.members.values().zip(again.members.values()) {
            assert_eq!((&live_member.id, &live_member.instance_id), (&member.id, &member.instance_id));
            assert_eq!(live_member.assignment, member.assignment);
            assert_eq!(live_member.session_timeout_ms, member.session_timeout_ms);
            let protocol = live.protocol_name.as_deref();
            assert_eq!(live_member.metadata(protocol), member.metadata(protocol));
        }
    }

    /// The clients behave from now on: within the time-outs there is a stable group of them all.
    fn settle(&mut self) {
        self.clients = (0..CLIENTS).map(|_| Client::default()).collect();
        for _ in 0..200 {
            self.world.advance(2_000);
            for client in 0..CLIENTS {
                self.drive(client);
                self.collect();
            }
            self.check();
        }
        let group = self.world.shard.groups.get(GROUP).expect("it has members");
        assert_eq!((group.state, group.members.len()), (State::Stable, CLIENTS));
    }

    fn drive(&mut self, client: usize) {
        let state = &self.clients[client];
        if state.joining.is_some() || state.syncing.is_some() {
            return;
        }
        match (&state.generation, &state.share) {
            (None, _) => self.join(client, 1),
            (Some(generation), share) if share.as_ref().is_none_or(|(of, _)| *of != generation.generation) => {
                self.sync(client);
                self.collect();
                // A sync that failed means that there is a newer generation to join.
                let state = &mut self.clients[client];
                let current = state.generation.as_ref().map(|generation| generation.generation);
                if state.syncing.is_none() && state.share.as_ref().map(|(of, _)| *of) != current {
                    state.generation = None;
                }
            }
            (Some(generation), _) => {
                let (id, generation) = (state.member_id.clone(), generation.generation);
                match self.world.heartbeat(&id, generation) {
                    Ok(()) => {}
                    Err(GroupError::UnknownMember) => self.clients[client] = Client::default(),
                    Err(_) => self.clients[client].generation = None,
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_hold_in_any_life_and_records_give_the_group_again(steps in prop::collection::vec(step(), 1..120)) {
        let mut life = Life::new();
        for step in &steps {
            life.take(step);
        }
        life.settle();
    }
}
