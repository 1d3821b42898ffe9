//! Scenarios of three brokers over the loopback interface, each with a simulated disk: nothing acknowledged is lost, whoever is lost.

mod balance;
mod cluster;
mod failover;
mod heal;
mod protocol;
mod reassignment;
mod share_groups;
mod throttling;

use cluster::{Cluster, Node, Site, until};
