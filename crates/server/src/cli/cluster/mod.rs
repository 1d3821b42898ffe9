//! `duolog cluster ...`: look at a cluster, move everything off a node, strike it off, try a cluster out on one machine.

mod demo;
mod drain;
mod overview;
mod plan;
mod remove;
mod status;

use super::{Failure, OutputArguments, ServerArguments, output};
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(super) enum ClusterCommand {
    /// Show nodes, controller, leaders, partitions that lack replicas, and disks
    Status(status::Status),
    /// Move all replicas of a node to others, and give it no new ones
    Drain(drain::Drain),
    /// Strike off a node that holds nothing and has been stopped
    Remove(NodeArguments),
    /// Run a cluster on this machine, for trying it out; Ctrl-C ends it
    Demo(demo::Demo),
}

#[derive(Args)]
pub(super) struct NodeArguments {
    /// Number of the node
    node: i32,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status(arguments) => status::run(arguments).await,
        ClusterCommand::Drain(arguments) => drain::run(arguments).await,
        ClusterCommand::Remove(arguments) => remove::run(arguments).await,
        ClusterCommand::Demo(arguments) => Ok(demo::run(arguments).await?),
    }
}

pub(crate) use demo::DemoError;
