//! The producers and consumers that are connected to this node, by group.
//!
//! A client is a member as long as it says so every 30 s and its connection lives. When the members or the subscriptions of a
//! consumer group change, all members are told (NOTIFY_CONSUMER_IDS_CHANGED), and each allocates the queues anew. Time is given by
//! the caller, in milliseconds of a clock that never goes back.

mod channel;
mod group;

pub use channel::{Channel, ChannelError, ChannelRef};
pub use group::{Client, ConsumerGroup, GroupSubscription};

use duolog_wire::remoting::body::ConsumerData;
use duolog_wire::remoting::code::request::NOTIFY_CONSUMER_IDS_CHANGED;
use duolog_wire::remoting::header::{ConsumerGroupRequest, Header};
use duolog_wire::remoting::{Command, HeaderForm};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;

/// A client that has not been heard of for so long is gone.
pub const CLIENT_LIFE_MS: u64 = 120_000;
/// Groups one connection may be in; of more it is not a member.
const GROUPS_OF_CONNECTION: usize = 4096;

/// All clients of this node.
#[derive(Default)]
pub struct Clients {
    /// Guards the registry; held for one request, and while a group's members are told.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    producers: HashMap<String, HashMap<u64, Client>>,
    /// The producers by their own ids; of one that has connected anew, the last.
    producer_ids: HashMap<String, Client>,
    consumers: HashMap<String, ConsumerGroup>,
    /// The groups of each connection, so that its end costs no search.
    connections: HashMap<u64, Memberships>,
}

#[derive(Default)]
struct Memberships {
    producers: HashSet<String>,
    consumers: HashSet<String>,
}

impl Memberships {
    fn len(&self) -> usize {
        self.producers.len() + self.consumers.len()
    }
}

impl Clients {
    /// A producer says that it is there.
    pub fn producer(&self, group: &str, client: Client) {
        let mut state = self.state.lock();
        let connection = client.channel.id();
        if state.enter(connection, |of| &mut of.producers, group) {
            state.producer_ids.insert(client.id.clone(), client.clone());
            let before = state.producers.entry_ref(group).or_default().insert(connection, client);
            before.into_iter().for_each(|before| state.forget_producer_id(&before, connection));
        }
    }

    /// The client is there still, as the producer that it is of all its groups.
    pub fn produces_still(&self, channel: &Channel, now_ms: u64) {
        let mut state = self.state.lock();
        let State { producers, connections, .. } = &mut *state;
        for group in connections.get(&channel.id()).into_iter().flat_map(|of| &of.producers) {
            if let Some(client) = producers.get_mut(group).and_then(|members| members.get_mut(&channel.id())) {
                client.seen_ms = now_ms;
            }
        }
    }

    /// A consumer says that it is there, and what its group wants unless `keep_subscriptions`. Members are told if it is news.
    pub fn consumer(&self, data: ConsumerData, keep_subscriptions: bool, client: Client, may_tell: bool) {
        let mut state = self.state.lock();
        let connection = client.channel.id();
        if !state.enter(connection, |of| &mut of.consumers, &data.group_name) {
            return;
        }
        let name = data.group_name.clone();
        let group = state.consumers.entry_ref(name.as_str()).or_default();
        let is_new = group.join(client);
        let is_other = group.describe(data, keep_subscriptions);
        if (is_new || is_other) && may_tell {
            tell(&name, group);
        }
    }

    /// A client leaves one group of each kind.
    pub fn leave(&self, channel: &Channel, producer_group: Option<&str>, consumer_group: Option<&str>) {
        let mut state = self.state.lock();
        if let Some(group) = producer_group {
            state.leave_producers(channel.id(), group);
        }
        if let Some(group) = consumer_group {
            state.leave_consumers(channel.id(), group);
        }
        state.forget_connection_if_idle(channel.id());
    }

    /// A connection has ended.
    pub fn gone(&self, channel: &Channel) {
        let mut state = self.state.lock();
        let Some(memberships) = state.connections.remove(&channel.id()) else { return };
        memberships.producers.iter().for_each(|group| state.leave_producers(channel.id(), group));
        memberships.consumers.iter().for_each(|group| state.leave_consumers(channel.id(), group));
    }

    /// Ends the memberships of those who have fallen silent, and closes their connections.
    pub fn expire(&self, now_ms: u64) {
        let mut state = self.state.lock();
        let producers = state.producers.values().flat_map(HashMap::values);
        let members = producers.chain(state.consumers.values().flat_map(ConsumerGroup::members));
        let silent = members.filter(|client| now_ms.saturating_sub(client.seen_ms) > CLIENT_LIFE_MS);
        let silent: HashMap<u64, ChannelRef> = silent.map(|client| (client.channel.id(), client.channel.clone())).collect();
        for (connection, channel) in silent {
            tracing::info!(remote = %channel.peer().remote, "client has fallen silent");
            channel.close();
            let Some(memberships) = state.connections.remove(&connection) else { continue };
            memberships.producers.iter().for_each(|group| state.leave_producers(connection, group));
            memberships.consumers.iter().for_each(|group| state.leave_consumers(connection, group));
        }
    }

    /// Another node keeps the group from now on: members whose connections are not here are no longer this node's business. The others,
    /// each with what it said of the group.
    pub fn leave_to_holders(&self, name: &str, is_guest: impl Fn(&Channel) -> bool) -> Vec<(Client, ConsumerData)> {
        let mut state = self.state.lock();
        let Some(group) = state.consumers.get_mut(name) else { return Vec::new() };
        let guests: Vec<u64> =
            group.members().filter(|member| is_guest(&member.channel)).map(|member| member.channel.id()).collect();
        for guest in &guests {
            group.leave(*guest);
        }
        let data = group.description(name);
        let own = group.members().map(|member| (member.clone(), data.clone())).collect();
        if group.is_empty() {
            state.consumers.remove(name);
        }
        for guest in guests {
            if let Some(memberships) = state.connections.get_mut(&guest) {
                memberships.consumers.remove(name);
            }
            state.forget_connection_if_idle(guest);
        }
        own
    }

    /// Looks at a consumer group while nobody changes it; `None` if it has no members.
    pub fn with_consumers<T>(&self, group: &str, look: impl FnOnce(&ConsumerGroup) -> T) -> Option<T> {
        self.state.lock().consumers.get(group).map(look)
    }

    /// The members of a producer group; none if there is no such group.
    pub fn producers(&self, group: &str) -> Vec<Client> {
        self.state.lock().producers.get(group).map_or_else(Vec::new, |members| members.values().cloned().collect())
    }

    /// The producer groups with their members, by name.
    pub fn all_producers(&self) -> Vec<(String, Vec<Client>)> {
        let state = self.state.lock();
        let of = |(name, members): (&String, &HashMap<u64, Client>)| (name.clone(), members.values().cloned().collect());
        let mut groups: Vec<(String, Vec<Client>)> = state.producers.iter().map(of).collect();
        groups.sort_by(|(one, _), (other, _)| one.cmp(other));
        groups
    }

    /// The names of all consumer groups with members, sorted.
    pub fn consumer_groups(&self) -> Vec<String> {
        let mut names: Vec<String> = self.state.lock().consumers.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// The consumer groups whose members want the topic.
    pub fn subscribers(&self, topic: &str) -> Vec<String> {
        let state = self.state.lock();
        let wants = |(_, group): &(&String, &ConsumerGroup)| group.subscriptions.contains_key(topic);
        state.consumers.iter().filter(wants).map(|(name, _)| name.clone()).collect()
    }

    /// The client of that id in a consumer group.
    pub fn find_consumer(&self, group: &str, client_id: &str) -> Option<Client> {
        self.with_consumers(group, |group| group.members().find(|client| client.id == client_id).cloned())?
    }

    /// The client of that id in any producer group, for replies to its requests.
    pub fn find_producer(&self, client_id: &str) -> Option<Client> {
        self.state.lock().producer_ids.get(client_id).cloned()
    }
}

impl State {
    /// Notes a membership of the connection; false if it has too many.
    fn enter(&mut self, connection: u64, of: impl Fn(&mut Memberships) -> &mut HashSet<String>, group: &str) -> bool {
        let memberships = self.connections.entry(connection).or_default();
        let room = memberships.len() < GROUPS_OF_CONNECTION;
        let known = of(memberships);
        known.contains(group) || (room && known.insert(group.to_owned()))
    }

    fn leave_producers(&mut self, connection: u64, group: &str) {
        if let Some(memberships) = self.connections.get_mut(&connection) {
            memberships.producers.remove(group);
        }
        let Some(members) = self.producers.get_mut(group) else { return };
        let left = members.remove(&connection);
        if members.is_empty() {
            self.producers.remove(group);
        }
        left.into_iter().for_each(|client| self.forget_producer_id(&client, connection));
    }

    /// Forgets where a producer is, unless it is still there for another group.
    fn forget_producer_id(&mut self, client: &Client, connection: u64) {
        let producer = |group: &String| self.producers.get(group)?.get(&connection);
        let mut groups = self.connections.get(&connection).into_iter().flat_map(|memberships| &memberships.producers);
        let stays = groups.any(|group| producer(group).is_some_and(|other| other.id == client.id));
        if !stays && self.producer_ids.get(&client.id).is_some_and(|known| known.channel.id() == connection) {
            self.producer_ids.remove(&client.id);
        }
    }

    fn leave_consumers(&mut self, connection: u64, name: &str) {
        if let Some(memberships) = self.connections.get_mut(&connection) {
            memberships.consumers.remove(name);
        }
        let Some(group) = self.consumers.get_mut(name) else { return };
        if !group.leave(connection) {
            return;
        }
        match group.is_empty() {
            true => drop(self.consumers.remove(name)),
            false => tell(name, group),
        }
    }

    fn forget_connection_if_idle(&mut self, connection: u64) {
        if self.connections.get(&connection).is_some_and(|memberships| memberships.len() == 0) {
            self.connections.remove(&connection);
        }
    }
}

/// Tells the members that the group is another one now. Who cannot be told learns it when it looks by itself, every 20 s.
fn tell(name: &str, group: &ConsumerGroup) {
    if !group.notifies() {
        return;
    }
    for member in group.members() {
        let mut notice = Command::request(NOTIFY_CONSUMER_IDS_CHANGED, 0, HeaderForm::Json);
        ConsumerGroupRequest { consumer_group: name }.put(&mut notice.fields);
        if let Err(error) = member.channel.notify(notice) {
            tracing::debug!(group = name, client = member.id, %error, "client is not told of a change");
        }
    }
}

#[cfg(test)]
mod tests;
