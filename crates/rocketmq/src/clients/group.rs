//! One consumer group as its members describe it.

use super::channel::ChannelRef;
use duolog_core::filter::{FilterError, Subscription};
use duolog_wire::remoting::body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

/// Topics a group may subscribe to; of more there is no subscription.
const SUBSCRIPTIONS_OF_GROUP: usize = 4096;

/// A member of a group: one program on one connection.
#[derive(Clone)]
pub struct Client {
    /// What it calls itself; unique among the members of a group.
    pub id: String,
    pub channel: ChannelRef,
    pub language: u8,
    /// Its release, as an ordinal.
    pub version: i32,
    pub seen_ms: u64,
}

/// What a group wants of a topic.
#[derive(Clone, Debug)]
pub struct GroupSubscription {
    pub data: SubscriptionData,
    /// Compiled once.
    pub filter: Result<Arc<Subscription>, FilterError>,
}

impl GroupSubscription {
    fn new(data: SubscriptionData) -> GroupSubscription {
        let filter = Subscription::of_type(Some(&data.expression_type), &data.sub_string).map(Arc::new);
        GroupSubscription { data, filter }
    }
}

/// The members of a group and what they agree on. What they do not agree on is as the last one says.
#[derive(Default)]
pub struct ConsumerGroup {
    members: HashMap<u64, Client>,
    pub subscriptions: HashMap<String, GroupSubscription>,
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from_where: ConsumeFromWhere,
}

impl ConsumerGroup {
    pub fn members(&self) -> impl Iterator<Item = &Client> {
        self.members.values()
    }

    /// The ids of the members, sorted, each once.
    pub fn client_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.members.values().map(|client| client.id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What the members say of the group, as one of them would say it.
    pub(super) fn description(&self, name: &str) -> ConsumerData {
        ConsumerData {
            consume_from_where: self.consume_from_where,
            consume_type: self.consume_type,
            group_name: name.to_owned(),
            message_model: self.message_model,
            subscription_data_set: self.subscriptions.values().map(|subscription| subscription.data.clone()).collect(),
            ..ConsumerData::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether members want to know of each other.
    pub(super) fn notifies(&self) -> bool {
        self.message_model != MessageModel::Broadcasting
    }

    /// Takes in a member; whether it is new.
    pub(super) fn join(&mut self, client: Client) -> bool {
        self.members.insert(client.channel.id(), client).is_none()
    }

    /// Whether the connection was a member.
    pub(super) fn leave(&mut self, connection: u64) -> bool {
        self.members.remove(&connection).is_some()
    }

    /// Notes what a member says of the group; whether the topics have changed.
    pub(super) fn describe(&mut self, data: ConsumerData, keep_subscriptions: bool) -> bool {
        self.consume_type = data.consume_type;
        self.message_model = data.message_model;
        self.consume_from_where = data.consume_from_where;
        if keep_subscriptions {
            return false;
        }
        let wanted: HashSet<String> = data.subscription_data_set.iter().map(|data| data.topic.clone()).collect();
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| wanted.contains(topic));
        let mut changed = self.subscriptions.len() != before;
        for data in data.subscription_data_set {
            changed |= self.subscribe(data);
        }
        changed
    }

    /// Takes in a subscription unless a newer one is known; whether its topic is new.
    fn subscribe(&mut self, data: SubscriptionData) -> bool {
        let has_room = self.subscriptions.len() < SUBSCRIPTIONS_OF_GROUP;
        match self.subscriptions.get_mut(&data.topic) {
            Some(known) => {
                let same = known.data.sub_string == data.sub_string && known.data.expression_type == data.expression_type;
                if same {
                    known.data.sub_version = known.data.sub_version.max(data.sub_version);
                } else if data.sub_version > known.data.sub_version {
                    *known = GroupSubscription::new(data);
                }
                false
            }
            None if has_room => {
                self.subscriptions.insert(data.topic.clone(), GroupSubscription::new(data));
                true
            }
            None => false,
        }
    }
}
