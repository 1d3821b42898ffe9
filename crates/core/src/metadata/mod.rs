//! Cluster state: records in one replicated log, folded into an immutable image.
//!
//! Everything the controller decides (topics, partitions, configurations, producer id blocks) is a
//! [`MetadataRecord`] committed through Raft; a single node is a quorum of one and takes the same path.
//! Readers take the current image with [`Metadata::image`] and never wait. A change is durable, folded into the
//! image, and seen by the [`ImageListener`] before the call that asked for it returns.

mod image;

pub use image::{MetadataImage, NodeImage, PartitionImage, TopicImage};
