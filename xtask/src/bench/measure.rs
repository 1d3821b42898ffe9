//! One measurement of one case on one server, from an empty data directory.

use super::cases::{Case, Plan};
use super::cluster::Cluster;
use super::failure::Failure;
use super::figures::Figures;
use super::server::Subject;
use super::tool;
use crate::command;
use crate::interop::places::Places;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the server uses right after a start, without a load.
const LOOK: &str = "idle --seconds 0.1";
/// The node of a cluster that is lost: the one that was started first, which leads the metadata of ours, too.
const STRUCK: usize = 0;

pub(super) fn measure(
    places: &Places,
    tool: &Path,
    subject: &Subject,
    case: &Case,
    settings: &[String],
) -> Result<Figures, Failure> {
    let mut servers = Cluster::new(places, subject, case.settings, settings, case.plan.nodes())?;
    let figures = on(places, tool, &mut servers, &case.plan);
    if figures.is_err() {
        // The servers' logs lie beside their data: leave both.
        servers.kill();
        return figures;
    }
    servers.discard()?;
    figures
}

fn on(places: &Places, tool: &Path, servers: &mut Cluster, plan: &Plan) -> Result<Figures, Failure> {
    let started = servers.start()?;
    match plan {
        Plan::Load { before, load } | Plan::ClusterLoad { before, load } => {
            prepare(places, tool, servers, before)?;
            tool::load(places, tool, servers, load)
        }
        Plan::ColdLoad { before, load } => {
            prepare(places, tool, servers, before)?;
            empty_page_cache()?;
            tool::load(places, tool, servers, load)
        }
        Plan::Start => Ok(Figures { seconds: started.as_secs_f64(), ..tool::load(places, tool, servers, LOOK)? }),
        Plan::Restart { before, topic, partitions } => {
            prepare(places, tool, servers, before)?;
            let took = servers.restart(topic, *partitions)?;
            Ok(Figures { seconds: took.as_secs_f64(), ..tool::load(places, tool, servers, LOOK)? })
        }
        Plan::LoseNode { before, load, after_seconds, killed } => {
            prepare(places, tool, servers, before)?;
            let mut load = tool::start(places, tool, servers, load)?;
            tool::wait_until_measuring(&mut load)?;
            std::thread::sleep(Duration::from_secs_f64(*after_seconds));
            match killed {
                true => servers.kill_one(STRUCK),
                false => servers.stop_one(STRUCK)?,
            }
            tool::finish(load)
        }
        Plan::MoveLeaders { before, topic, partitions } => {
            prepare(places, tool, servers, before)?;
            servers.kill_one(STRUCK);
            let start = Instant::now();
            servers.wait_for_leaders_without(STRUCK, topic, *partitions)?;
            Ok(Figures { seconds: start.elapsed().as_secs_f64(), ..tool::load(places, tool, servers, LOOK)? })
        }
    }
}

fn prepare(places: &Places, tool: &Path, servers: &mut Cluster, before: &[String]) -> Result<(), Failure> {
    before.iter().try_for_each(|load| tool::load(places, tool, servers, load).map(|_| ()))
}

/// Writes out what is dirty and lets the kernel forget what it knows of files. Only the superuser may.
fn empty_page_cache() -> Result<(), Failure> {
    const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
    command::run("sync", &[]).map_err(|failure| Failure::PageCache { failure })?;
    std::fs::write(DROP_CACHES, "1").map_err(|error| Failure::file(Path::new(DROP_CACHES), error))
}
