//! Who is told of whom, and which subscription of a group counts.

use super::*;
use duolog_net::Peer;
use duolog_wire::remoting::body::SubscriptionData;
use tokio::sync::mpsc;

struct Member {
    channel: ChannelRef,
    frames: mpsc::Receiver<Command>,
}

impl Member {
    fn new(connection: u64) -> Member {
        let local = "127.0.0.1:1".parse().unwrap();
        let (channel, frames) =
            Channel::new(Peer { local, remote: local, listener: "rocketmq".to_owned(), advertised: None, connection });
        Member { channel, frames }
    }

    fn client(&self, seen_ms: u64) -> Client {
        let id = format!("client-{}", self.channel.id());
        Client { id, channel: self.channel.clone(), language: 0, version: 513, seen_ms }
    }

    /// The groups whose changes the member was told of since the last look.
    fn told(&mut self) -> Vec<String> {
        let frames = std::iter::from_fn(|| self.frames.try_recv().ok());
        frames
            .map(|notice| {
                assert!(notice.is_one_way() && notice.code == NOTIFY_CONSUMER_IDS_CHANGED);
                notice.fields.get("consumerGroup").unwrap().to_owned()
            })
            .collect()
    }
}

fn data(group: &str, topics: &[(&str, &str, i64)]) -> ConsumerData {
    let subscription = |(topic, text, version): &(&str, &str, i64)| SubscriptionData {
        topic: topic.to_string(),
        sub_string: text.to_string(),
        sub_version: *version,
        ..SubscriptionData::default()
    };
    let subscription_data_set = topics.iter().map(subscription).collect();
    ConsumerData { group_name: group.to_owned(), subscription_data_set, ..ConsumerData::default() }
}

fn ids(clients: &Clients, group: &str) -> Option<Vec<String>> {
    clients.with_consumers(group, ConsumerGroup::client_ids)
}

#[test]
fn members_are_told_of_each_other_and_not_of_heartbeats() {
    let clients = Clients::default();
    let (mut one, mut two) = (Member::new(1), Member::new(2));
    clients.consumer(data("g", &[("t", "*", 1)]), false, one.client(0), true);
    assert_eq!(one.told(), ["g"]);
    clients.consumer(data("g", &[("t", "*", 1)]), false, two.client(0), true);
    assert_eq!((one.told(), two.told()), (vec!["g".to_owned()], vec!["g".to_owned()]));
    clients.consumer(data("g", &[("t", "*", 1)]), false, one.client(1), true);
    assert!(one.told().is_empty() && two.told().is_empty());
    assert_eq!(ids(&clients, "g").unwrap(), ["client-1", "client-2"]);
    clients.consumer(data("g", &[("t", "*", 1), ("u", "*", 1)]), false, one.client(1), true);
    assert_eq!((one.told().len(), two.told().len()), (1, 1), "another topic");
    clients.leave(&two.channel, None, Some("g"));
    assert_eq!((one.told().len(), two.told().len()), (1, 0));
    clients.gone(&one.channel);
    assert_eq!(ids(&clients, "g"), None);
    assert!(clients.state.lock().consumers.is_empty());
}

#[test]
fn who_falls_silent_is_closed_and_the_others_are_told() {
    let clients = Clients::default();
    let (mut one, two) = (Member::new(1), Member::new(2));
    clients.consumer(data("g", &[]), false, one.client(0), true);
    clients.consumer(data("g", &[]), false, two.client(0), true);
    clients.producer("p", two.client(0));
    clients.consumer(data("g", &[]), false, one.client(60_000), true);
    one.told();
    clients.expire(CLIENT_LIFE_MS);
    assert!(one.told().is_empty());
    clients.expire(CLIENT_LIFE_MS + 1);
    assert_eq!(one.told(), ["g"]);
    assert_eq!(ids(&clients, "g").unwrap(), ["client-1"]);
    assert!(*two.channel.closing().borrow() && !*one.channel.closing().borrow());
    assert!(clients.producers("p").is_empty());
}

#[test]
fn a_newer_subscription_counts_and_one_that_was_not_sent_stays() {
    let clients = Clients::default();
    let one = Member::new(1);
    let text = |topic: &str| {
        let text = |group: &ConsumerGroup| group.subscriptions.get(topic).map(|known| known.data.sub_string.clone());
        clients.with_consumers("g", text).flatten()
    };
    clients.consumer(data("g", &[("t", "a", 5)]), false, one.client(0), true);
    clients.consumer(data("g", &[("t", "b", 4)]), false, one.client(0), true);
    assert_eq!(text("t").as_deref(), Some("a"));
    clients.consumer(data("g", &[("t", "b", 6)]), false, one.client(0), true);
    assert_eq!(text("t").as_deref(), Some("b"));
    clients.consumer(data("g", &[]), true, one.client(0), true);
    assert_eq!(text("t").as_deref(), Some("b"));
    clients.consumer(data("g", &[]), false, one.client(0), true);
    assert_eq!(text("t"), None);
}
