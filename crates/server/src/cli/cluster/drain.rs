//! `duolog cluster drain NODE`: gives all replicas of a node to others and waits until it has none.
//!
//! The node is put on the list of those that are to hold nothing, so that nothing comes back meanwhile. The cluster does the moving; who
//! interrupts the command does not interrupt that.

use super::overview::Overview;
use super::plan;
use super::{Failure, NodeArguments, output};
use crate::client::{ClientError, Cluster, WantedReplicas};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;
use std::time::Duration;

/// Partitions in one request.
const AT_ONCE: usize = 500;
/// Between two looks at what is left.
const LOOK: Duration = Duration::from_millis(500);
/// Looks after which it is said what is left, where there is no terminal to show it on all the time.
const LOOKS_BETWEEN_LINES: usize = 20;

#[derive(Args)]
pub(in crate::cli) struct Drain {
    #[command(flatten)]
    node: NodeArguments,
    /// The node may hold replicas again
    #[arg(long)]
    undo: bool,
}

pub(super) async fn run(arguments: Drain) -> Result<(), Failure> {
    match arguments.undo {
        true => undo(arguments.node).await,
        false => drain(arguments.node).await,
    }
}

async fn undo(arguments: NodeArguments) -> Result<(), Failure> {
    let node = arguments.node;
    let mut client = Cluster::connect(&arguments.server.bootstrap).await?;
    client.set_drained(node, false).await?;
    let mut out = output(arguments.output);
    out.sentence(&format!("node {node} may hold replicas again"), || json!({ "node": node, "drained": false }))?;
    Ok(out.flush()?)
}

async fn drain(arguments: NodeArguments) -> Result<(), Failure> {
    let node = arguments.node;
    let mut client = Cluster::connect(&arguments.server.bootstrap).await?;
    let mut overview = Overview::gather(&mut client).await?;
    if !overview.cluster.nodes.iter().any(|known| known.id == node) {
        return Err(Failure::NoSuchNode { node });
    }
    // Refused before anything is changed if there is no room.
    plan::drain(&overview, node)?;
    client.set_drained(node, true).await?;
    let before = overview.replicas(node);
    let mut progress = Progress::new(node, before);
    // Others may create topics meanwhile, so it is looked again until there is nothing.
    while overview.replicas(node) > 0 {
        let wanted = plan::drain(&overview, node)?;
        for some in wanted.chunks(AT_ONCE) {
            ask(&mut client, some).await?;
        }
        tokio::time::sleep(LOOK).await;
        overview = Overview::gather(&mut client).await?;
        progress.left(overview.replicas(node));
    }
    progress.end();
    let mut out = output(arguments.output);
    out.sentence(
        &format!("node {node} holds nothing any more; {before} replicas have moved"),
        || json!({ "node": node, "moved": before }),
    )?;
    Ok(out.flush()?)
}

/// What is refused in passing, since too few replicas are in sync now, say, is asked again with the next look.
async fn ask(client: &mut Cluster, wanted: &[WantedReplicas]) -> Result<(), ClientError> {
    match client.reassign(wanted).await {
        Err(error) if error.is_passing() => {
            eprintln!("duolog: {error}; it will be tried again");
            Ok(())
        }
        done => done,
    }
}

/// Tells on standard error how far it is.
struct Progress {
    node: i32,
    all: usize,
    bar: Option<ProgressBar>,
    looks: usize,
}

impl Progress {
    fn new(node: i32, all: usize) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} replicas moved {elapsed}");
            // The template is a constant: it parses.
            ProgressBar::new(all as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress { node, all, bar, looks: 0 }
    }

    fn left(&mut self, left: usize) {
        self.looks += 1;
        match &self.bar {
            Some(bar) => bar.set_position(self.all.saturating_sub(left) as u64),
            None if self.looks.is_multiple_of(LOOKS_BETWEEN_LINES) => eprintln!("node {} holds {left} replicas", self.node),
            None => {}
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
