//! The controller: the production decisions on one log of images, always consistent, reached over the network.

use crate::log::Partition;
use crate::message::Message;
use duolog_base::{NodeId, PartitionIndex, TopicId};
use duolog_core::config::BrokerConfig;
use duolog_core::metadata::{
    Election, FreeSpace, IdSource, MetadataImage, MetadataRecord, NewTopic, PartitionImage, Reassignment, Sessions, TopicImage,
    decide_alter_partition, decide_create_topics, decide_elections, decide_fencing, decide_heartbeat, decide_reassignments,
    decide_registration, fold,
};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// A member that is silent for longer is fenced.
const SESSION_MS: u64 = 500;
const TOPIC: &str = "t";

pub struct Controller {
    /// By index of the metadata log.
    images: Vec<Arc<MetadataImage>>,
    sessions: Sessions,
}

/// The same ids in every run.
struct OneId;

impl IdSource for OneId {
    fn next_id(&self) -> TopicId {
        TopicId(7)
    }
}

fn config() -> Arc<BrokerConfig> {
    static CONFIG: OnceLock<Arc<BrokerConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| Arc::new(BrokerConfig::default())).clone()
}

impl Controller {
    pub fn new() -> Controller {
        let cluster = MetadataRecord::Cluster { id: "simulated".to_owned() };
        let empty = MetadataImage::empty(config());
        let first = fold(&empty, &[cluster], 0).expect("the first record");
        Controller { images: vec![Arc::new(first)], sessions: Sessions::default() }
    }

    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.images[self.newest()]
    }

    pub fn images(&self) -> &[Arc<MetadataImage>] {
        &self.images
    }

    pub fn newest(&self) -> usize {
        self.images.len() - 1
    }

    pub fn partitions(&self) -> &[PartitionImage] {
        self.topic().map_or(&[], |topic| &topic.partitions)
    }

    fn topic(&self) -> Option<&TopicImage> {
        self.image().topic(TOPIC).map(|topic| &**topic)
    }

    fn commit(&mut self, records: Vec<MetadataRecord>) {
        if records.is_empty() {
            return;
        }
        let index = self.images.len() as u64;
        let next = fold(self.image(), &records, index).expect("records that were decided on this image");
        self.images.push(Arc::new(next));
    }

    /// Answers a node's request; no answer is an answer that is lost.
    pub fn answer(&mut self, message: Message, now_ms: u64) -> Option<Message> {
        let image = self.image().clone();
        match message {
            Message::Register(registration) => {
                let decided = decide_registration(&image, &registration).ok()?;
                self.commit(decided.records);
                self.sessions.heard(registration.node, decided.answer, now_ms);
                Some(Message::Registered { incarnation: registration.incarnation, epoch: decided.answer })
            }
            Message::Heartbeat(heartbeat) => {
                let decided = match decide_heartbeat(&image, &heartbeat, &FreeSpace::new()) {
                    Ok(decided) => decided,
                    Err(_) => return Some(Message::Superseded { epoch: heartbeat.epoch }),
                };
                self.commit(decided.records);
                self.sessions.heard(heartbeat.node, heartbeat.epoch, now_ms);
                Some(Message::Beat { epoch: heartbeat.epoch, answer: decided.answer, newest: self.newest() })
            }
            Message::Alter { partition, request } => {
                let number = request.proposal.number;
                let decided = decide_alter_partition(&image, &request).ok();
                let state = decided.map(|decided| {
                    self.commit(decided.records);
                    decided.answer
                });
                Some(Message::Altered { partition, number, state })
            }
            other => unreachable!("not for the controller: {other:?}"),
        }
    }

    /// Fences who is silent.
    pub fn tick(&mut self, now_ms: u64) {
        for (node, epoch) in self.sessions.overdue(&self.image().clone(), SESSION_MS, now_ms) {
            let records = decide_fencing(self.image(), node, epoch);
            self.commit(records);
        }
    }

    /// Another controller takes over: it has heard of nobody yet.
    pub fn fail_over(&mut self) {
        self.sessions = Sessions::default();
    }

    pub fn live_nodes(&self) -> usize {
        self.image().nodes.values().filter(|node| node.is_live()).count()
    }

    pub fn create_topic(&mut self, partitions: usize, min_in_sync: usize) {
        let configs = BTreeMap::from([("min.insync.replicas".to_owned(), min_in_sync.to_string())]);
        let topic = NewTopic { partitions: partitions as i32, replication_factor: 3, configs, ..NewTopic::with_defaults(TOPIC) };
        let decision = decide_create_topics(self.image(), vec![topic], &OneId, &FreeSpace::new());
        self.commit(decision.records);
    }

    pub fn elect_preferred(&mut self, partition: Partition) {
        let asked = [(TOPIC.to_owned(), PartitionIndex(partition as i32))];
        let decision = decide_elections(self.image(), &asked, Election::Preferred);
        self.commit(decision.records);
    }

    pub fn reassign(&mut self, partition: Partition, target: Option<Vec<NodeId>>) {
        let request =
            Reassignment { topic: TOPIC.to_owned(), index: PartitionIndex(partition as i32), target, same_factor: false };
        let decision = decide_reassignments(self.image(), &[request], &FreeSpace::new());
        self.commit(decision.records);
    }
}
