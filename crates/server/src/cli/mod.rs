//! The command line: what can be typed, and where it goes.
//!
//! One file a command. Commands talk the Kafka protocol through [`crate::client`], except `serve`, `config list`,
//! `completions`, and `log`, which reads a data directory that no server has open.
//! Exit codes: 0 done, 1 failed, 2 not understood (clap's own), 3 another process has taken this node's place.

pub(crate) mod arguments;
mod bench;
mod cluster;
mod completions;
mod config;
mod consume;
mod dlq;
mod failure;
mod group;
mod log;
mod produce;
mod topic;

pub(crate) use cluster::DemoError;
pub(crate) use failure::Failure;

use crate::output::Output;
use crate::serve;
use clap::{Args, Parser, Subcommand};
use std::future::Future;

#[derive(Parser)]
#[command(name = "duolog", version, about = "One durable log for Kafka and RocketMQ clients")]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the broker
    Serve(serve::ServeArguments),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Send lines of standard input or of a file to a topic
    Produce(produce::ProduceArguments),
    /// Print the records of a topic
    Consume(consume::ConsumeArguments),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// List, show, send again and discard the messages that groups gave up
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Look at a cluster, drain or remove a node, try a cluster out
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Measure how a server's speed depends on the number of partitions; writes at full speed, then removes its topics
    Bench(bench::BenchArguments),
    /// Look into a data directory, without a server
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Show what can be configured
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArguments),
}

/// What every command that talks to a server takes.
#[derive(Args, Clone)]
struct ServerArguments {
    /// A broker to begin with; several are separated by commas
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", value_delimiter = ',')]
    bootstrap: Vec<String>,
}

/// How a command that prints something prints it.
#[derive(Args, Clone, Copy)]
struct OutputArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl CommandLine {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Serve(arguments) => Ok(serve::run(arguments)?),
            Command::Topic(command) => wait_for(topic::run(command)),
            Command::Produce(arguments) => wait_for(produce::run(arguments)),
            Command::Consume(arguments) => wait_for(consume::run(arguments)),
            Command::Group(command) => wait_for(group::run(command)),
            Command::Dlq(command) => wait_for(dlq::run(command)),
            Command::Cluster(command) => wait_for(cluster::run(command)),
            Command::Bench(arguments) => wait_for(bench::run(arguments)),
            Command::Log(command) => log::run(command),
            Command::Config(command) => config::run(command),
            Command::Completions(arguments) => completions::run(&arguments),
        }
    }
}

/// Runs a client command on this thread; the server has a runtime of its own.
fn wait_for(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    let done = runtime.block_on(command);
    // A thread may still sit in a read of standard input; nobody waits for it.
    runtime.shutdown_background();
    done
}

fn output(arguments: OutputArguments) -> Output {
    Output::new(arguments.json)
}
