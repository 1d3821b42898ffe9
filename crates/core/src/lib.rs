//! What both protocols share: topics, partitions, groups, configuration. Knows neither protocol's wire form.
//!
//! * [`metadata`]: the one event-sourced log of cluster state, folded into an immutable [`metadata::MetadataImage`].
//! * [`config`]: the table of configuration keys and the typed values resolved from it.
//! * [`broker`]: append, read and look up in partitions; the narrow API both front ends call.
//! * [`coordinator`]: the runtime in which stateful services live on internal partitions: records out, replay in.
//! * [`group`]: consumer groups, the first service on that runtime.
//! * [`delay`]: records that are delivered later.
//! * [`filter`]: which messages a subscription wants: tags and SQL92 expressions.
//! * [`query`]: finding messages by key.
//! * [`replication`]: leaders and followers of partitions that several nodes hold.
//! * [`share`]: delivery record by record to groups whose members share partitions.

pub mod broker;
pub mod config;
pub mod coordinator;
pub mod delay;
pub mod filter;
pub mod group;
pub mod metadata;
pub mod query;
pub mod replication;
#[cfg(test)]
mod scenarios;
pub mod share;
