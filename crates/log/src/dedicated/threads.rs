//! The threads of the log: three that repeat its steps and sleep when there is nothing to do; see `shell`.

use super::log::DedicatedLog;
use crate::shell::Role;
use std::io;
use std::sync::Arc;

impl DedicatedLog {
    /// Starts the writer, syncer and housekeeping threads; [`DedicatedLog::close`] stops and joins them.
    pub fn start_threads(self: &Arc<Self>) -> io::Result<()> {
        let roles: [Role<DedicatedLog>; 3] = [
            Role { name: "dedicated-write", run: |log| log.shell.repeat_writes(&log.state, || log.write_step()) },
            Role {
                name: "dedicated-sync",
                run: |log| log.shell.repeat_syncs(&log.state, || log.write_step(), || log.sync_step()),
            },
            Role { name: "dedicated-house", run: |log| log.shell.repeat_house(&log.state, || log.prepare_step()) },
        ];
        self.shell.start(self, &roles, |log, error| _ = log.fail("a step", &log.dir, error))
    }
}
