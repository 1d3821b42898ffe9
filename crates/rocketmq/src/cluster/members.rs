//! Members of groups at the groups' homes.
//!
//! The node that holds a member's connection knows it, too: from it pulls get their subscriptions, and when a home moves its
//! members go to the new one at once, not only with their next heartbeat. Locks of the old home are gone then; who consumes in order takes
//! his anew within 20 s, as after the restart of a broker.

use super::messages::{self, Head, MEMBER};
use super::{CALL_LIMIT, PAUSE, Place, REQUESTS};
use crate::clients::{ChannelRef, Client};
use crate::node::Node;
use duolog_base::NodeId;
use duolog_core::group::partition_for;
use duolog_core::metadata::{MetadataImage, OFFSETS_TOPIC};
use duolog_peer::CallRefusal;
use duolog_wire::remoting::body::ConsumerData;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// How often a member is brought to a home that has moved before that is left to its next heartbeat, and how often while the client waits.
const ATTEMPTS: usize = 100;
const ATTEMPTS_AT_ONCE: usize = 20;

/// A client comes into a group, or leaves it.
#[derive(Serialize, Deserialize)]
pub(super) struct Membership {
    pub(super) head: Head,
    group: String,
    /// `None` of one that leaves.
    member: Option<Member>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Member {
    client_id: String,
    language: u8,
    version: i32,
    data: ConsumerData,
    keep_subscriptions: bool,
}

impl Node {
    /// A client of this node says that it is a member of a group, and what that wants unless `keep_subscriptions`.
    pub(crate) async fn join(self: &Arc<Self>, data: ConsumerData, keep_subscriptions: bool, client: Client, may_tell: bool) {
        let is_home = self.home(&data.group_name).await == Place::Here;
        self.clients.consumer(data.clone(), keep_subscriptions, client.clone(), may_tell && is_home);
        if !is_home {
            let (group, channel) = (data.group_name.clone(), client.channel.clone());
            self.tell_home(&channel, &group, Some(member(client, data, keep_subscriptions)), ATTEMPTS_AT_ONCE).await;
        }
    }

    /// A client of this node leaves its groups.
    pub(crate) async fn leave(self: &Arc<Self>, channel: &ChannelRef, producers: Option<&str>, consumers: Option<&str>) {
        self.clients.leave(channel, producers, consumers);
        if let Some(group) = consumers {
            self.tell_home(channel, group, None, ATTEMPTS_AT_ONCE).await;
        }
    }

    /// Tells a group's home of a member, unless this node is it.
    async fn tell_home(self: &Arc<Self>, channel: &ChannelRef, group: &str, member: Option<Member>, attempts: usize) {
        let Some(cluster) = &self.cluster else { return };
        for attempt in 0..attempts {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let to = match self.home(group).await {
                Place::Here => return,
                Place::At(to) if cluster.holder.introduce(channel, to) => to,
                Place::At(_) => return,
                Place::Nowhere => continue,
            };
            let told = Membership { head: self.head(channel), group: group.to_owned(), member: member.clone() };
            let answer = cluster.peers.call(to, REQUESTS, MEMBER, messages::pack_alone(&told), CALL_LIMIT).await;
            match answer.map(messages::unpack_alone::<bool>) {
                Ok(Ok(true)) => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(group, %error, "a group's home is not told of a member"),
            }
        }
    }

    /// A member of another node; false if this is not the group's home.
    pub(super) fn member_of(self: &Arc<Self>, from: NodeId, told: Membership) -> Result<bool, CallRefusal> {
        if self.home_now(&told.group) != Place::Here {
            return Ok(false);
        }
        let channel = self.guest(from, told.head.origin)?;
        let Some(Member { client_id, language, version, data, keep_subscriptions }) = told.member else {
            self.clients.leave(&channel, None, Some(&told.group));
            return Ok(true);
        };
        if data.group_name != told.group {
            return Err(CallRefusal::Malformed);
        }
        let may_tell = self.group_config(&told.group).is_ok_and(|config| config.notify_changes);
        let client = Client { id: client_id, channel: channel.clone(), language, version, seen_ms: self.monotonic_ms() };
        self.clients.consumer(data, keep_subscriptions, client, may_tell);
        if channel.is_gone() {
            self.clients.gone(&channel);
        }
        Ok(true)
    }

    /// Groups whose homes have moved: this node forgets what is not its own any more, and brings its members to the new homes.
    fn homes_moved(self: &Arc<Self>, is_moved: impl Fn(&str) -> bool) {
        for group in self.clients.consumer_groups().into_iter().filter(|group| is_moved(group)) {
            if self.home_now(&group) == Place::Here {
                continue;
            }
            let own = self.clients.leave_to_holders(&group, |channel| self.is_guest(channel));
            for (client, data) in own {
                let (node, group) = (self.clone(), group.clone());
                tokio::spawn(async move {
                    let channel = client.channel.clone();
                    node.tell_home(&channel, &group, Some(member(client, data, false)), ATTEMPTS).await;
                });
            }
        }
    }
}

fn member(client: Client, data: ConsumerData, keep_subscriptions: bool) -> Member {
    Member { client_id: client.id, language: client.language, version: client.version, data, keep_subscriptions }
}

/// Follows the metadata: who leads the partitions that groups live on, and who is live.
pub(super) async fn follow(node: Weak<Node>, mut known: Arc<MetadataImage>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        let Some(node) = node.upgrade() else { return };
        // The image is taken after the hosts: it is no older than those by which their guests came.
        let hosts = node.hosts();
        let image = node.broker.image();
        let is_live = |image: &MetadataImage, id: NodeId| image.nodes.get(&id).is_some_and(|node| node.is_live());
        for host in hosts.into_iter().filter(|host| !is_live(&image, *host)) {
            node.end_guests_of(host);
        }
        let me = node.broker.node();
        // While it was fenced the others have ended what they knew of its clients.
        let is_back = is_live(&image, me) && !is_live(&known, me);
        let moved = moved_homes(&known, &image);
        if is_back {
            node.homes_moved(|_| true);
        } else if moved.iter().any(|moved| *moved) {
            node.homes_moved(|group| moved[partition_for(group, moved.len() as i32).0 as usize]);
        }
        known = image;
    }
}

/// Of each partition of the offsets' topic: whether another node, or another life of one, leads it now.
fn moved_homes(old: &MetadataImage, new: &MetadataImage) -> Vec<bool> {
    let Some(topic) = new.topic(OFFSETS_TOPIC) else { return Vec::new() };
    let before = old.topic(OFFSETS_TOPIC).filter(|before| before.partitions.len() == topic.partitions.len());
    if before.is_some_and(|before| Arc::ptr_eq(before, topic)) {
        return Vec::new();
    }
    let place = |topic: &duolog_core::metadata::TopicImage, at: usize| {
        topic.partitions.get(at).map(|partition| (partition.leader, partition.leader_epoch))
    };
    let moved = |at| before.is_none_or(|before| place(before, at) != place(topic, at));
    (0..topic.partitions.len()).map(moved).collect()
}
