//! One measurement of one case on one server, from an empty data directory.

use super::cases::{Case, Plan};
use super::failure::Failure;
use super::figures::Figures;
use super::server::{Server, Subject};
use super::tool;
use crate::command;
use crate::interop::places::Places;
use std::path::Path;

/// What the server uses right after a start, without a load.
const LOOK: &str = "idle --seconds 0.1";

pub(super) fn measure(
    places: &Places,
    tool: &Path,
    subject: &Subject,
    case: &Case,
    settings: &[String],
) -> Result<Figures, Failure> {
    let mut server = Server::new(places, subject, case.settings, settings)?;
    let figures = on(places, tool, &mut server, &case.plan);
    if figures.is_err() {
        // The server's log lies beside its data: leave both.
        server.kill();
        return figures;
    }
    server.discard()?;
    figures
}

fn on(places: &Places, tool: &Path, server: &mut Server, plan: &Plan) -> Result<Figures, Failure> {
    let started = server.start(None)?;
    match plan {
        Plan::Load { before, load } => {
            prepare(places, tool, server, before)?;
            tool::load(places, tool, server, load)
        }
        Plan::ColdLoad { before, load } => {
            prepare(places, tool, server, before)?;
            empty_page_cache()?;
            tool::load(places, tool, server, load)
        }
        Plan::Start => Ok(Figures { seconds: started.as_secs_f64(), ..tool::load(places, tool, server, LOOK)? }),
        Plan::Restart { before, topic, partitions } => {
            prepare(places, tool, server, before)?;
            server.kill();
            let took = server.start(Some((topic, *partitions)))?;
            Ok(Figures { seconds: took.as_secs_f64(), ..tool::load(places, tool, server, LOOK)? })
        }
    }
}

fn prepare(places: &Places, tool: &Path, server: &mut Server, before: &[String]) -> Result<(), Failure> {
    before.iter().try_for_each(|load| tool::load(places, tool, server, load).map(|_| ()))
}

/// Writes out what is dirty and lets the kernel forget what it knows of files. Only the superuser may.
fn empty_page_cache() -> Result<(), Failure> {
    const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
    command::run("sync", &[]).map_err(|failure| Failure::PageCache { failure })?;
    std::fs::write(DROP_CACHES, "1").map_err(|error| Failure::file(Path::new(DROP_CACHES), error))
}
