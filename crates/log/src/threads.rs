//! The threads of the log: three (a fourth one with an index of keys) that repeat its steps and sleep when there is nothing to do;
//! see `shell`.

use crate::log::Log;
use crate::shell::{Role, repeat_when};
use std::io;
use std::sync::Arc;

impl Log {
    /// Starts the writer, syncer and housekeeping threads of the production shell; [`Log::close`] stops and joins them.
    pub fn start_threads(self: &Arc<Self>) -> io::Result<()> {
        let mut roles: Vec<Role<Log>> = vec![
            Role { name: "log-writer", run: |log| log.shell.repeat_writes(&log.state, || log.write_step()) },
            Role { name: "log-syncer", run: |log| log.shell.repeat_syncs(&log.state, || log.write_step(), || log.sync_step()) },
            Role { name: "log-house", run: |log| log.shell.repeat_house(&log.state, || log.prepare_step()) },
        ];
        if self.keys.is_some() {
            roles.push(Role { name: "log-keys", run: Log::repeat_key_rebuilding });
        }
        self.shell.start(self, &roles, |log, error| _ = log.fail("a step", &log.dir, error))
    }

    fn repeat_key_rebuilding(&self) {
        // A failure has been told to everybody by the step itself, and ends the loop.
        let rebuild = || while self.rebuild_keys_step().unwrap_or(false) {};
        repeat_when(&self.state, &self.keys_signal, |state| &mut state.keys_wanted, rebuild);
    }
}
