//! A small Kafka client: what the command line and the process tests need, and no more.
//!
//! [`Connection`] is one socket with negotiated versions; [`Cluster`] finds nodes, leaders and coordinators and keeps
//! connections to them; [`Producer`], [`Fetcher`] and [`GroupMember`] stand on it, as do the admin calls.
//! Requests are sent one at a time a connection. Errors that pass by themselves are tried again for a bounded time.
//! It speaks only through `duolog_wire`, as any client would, and knows nothing of the server's inside.

mod admin;
mod api;
mod assignor;
mod cluster;
mod cluster_admin;
mod connection;
mod error;
mod fetcher;
mod group_admin;
mod member;
mod offsets;
mod partitioner;
mod producer;
mod retry;

pub use admin::{ConfigChange, ConfigEntry, NewTopicSpec};
pub use cluster::{Cluster, NodeAddress, PartitionLayout, TopicLayout};
pub use cluster_admin::{
    ClusterDescription, DataDirectory, MovingPartition, NodeDescription, QuorumDescription, QuorumReplica, StoredReplica,
    WantedReplicas,
};
pub use connection::{Connection, Reply};
pub use error::ClientError;
pub use fetcher::{FetchedRecord, Fetcher};
pub use group_admin::{GroupDescription, GroupMemberDescription, GroupSummary};
pub use member::{GroupMember, MemberEvent};
pub use offsets::{CommittedOffset, NotedOffset, OffsetQuery};
pub use partitioner::partition_for_key;
pub use producer::{Delivery, Identity, OutgoingRecord, Producer, ProducerSettings};
