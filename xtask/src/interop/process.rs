//! Child processes with a log file and a time limit. A child leads a process group of its own, so that ending
//! it ends what it started, and nothing else.

use super::failure::Failure;
use super::places::tail;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a running child is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// How much of a log an error message shows.
const TAIL_LINES: usize = 60;

/// A started child, killed with its group when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    line: String,
    log: PathBuf,
    ended: bool,
}

impl Running {
    /// Starts a program; what it prints goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Running, Failure> {
        let out = File::create(log).map_err(|error| Failure::file(log, error))?;
        let err = out.try_clone().map_err(|error| Failure::file(log, error))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let line = command.get_args().fold(program.clone(), |line, argument| line + " " + &argument.to_string_lossy());
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
        match child {
            Ok(child) => Ok(Running { child, line: shorten(&line), log: log.to_owned(), ended: false }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::Missing { program }),
            Err(error) => Err(Failure::file(Path::new(&program), error)),
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, when it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("a child of this process can be waited for");
        self.ended |= status.is_some();
        status
    }

    /// Waits until it ends by itself; kills it after `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        self.wait_while(limit, || {})
    }

    /// As `wait`, doing something every now and then.
    pub(crate) fn wait_while(&mut self, limit: Duration, mut meanwhile: impl FnMut()) -> Result<ExitStatus, Failure> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            meanwhile();
            std::thread::sleep(POLL);
        }
        self.kill();
        Err(Failure::TooSlow { line: self.line.clone(), seconds: limit.as_secs(), output: self.output() })
    }

    /// Ends it at once, as `kill -9` does, with everything it started.
    pub(crate) fn kill(&mut self) {
        if !self.ended {
            self.signal("-KILL");
            let _ = self.child.wait();
            self.ended = true;
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
    }

    /// The end of what it printed.
    pub(crate) fn output(&self) -> String {
        tail(&self.log, TAIL_LINES)
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn line(&self) -> &str {
        &self.line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program to its successful end.
pub(crate) fn run(command: &mut Command, log: &Path, limit: Duration) -> Result<(), Failure> {
    let mut running = Running::start(command, log)?;
    if running.wait(limit)?.success() {
        Ok(())
    } else {
        Err(Failure::Failed { line: running.line().to_owned(), output: running.output() })
    }
}

/// A class path makes a command line unreadable.
fn shorten(line: &str) -> String {
    const SHOWN: usize = 300;
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xtask-process-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_program_that_is_not_there_is_missing() {
        let log = log("missing");
        let outcome = Running::start(&mut Command::new("no-such-program-anywhere"), &log);
        assert!(matches!(outcome, Err(Failure::Missing { program }) if program == "no-such-program-anywhere"));
        let _ = std::fs::remove_file(log);
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_reported_with_its_output() {
        let log = log("hangs");
        let outcome = run(Command::new("sh").args(["-c", "echo started; exec sleep 600"]), &log, Duration::from_millis(300));
        assert!(matches!(outcome, Err(Failure::TooSlow { .. })));
        let _ = std::fs::remove_file(log);
    }

    #[test]
    fn a_failing_program_is_reported_with_both_its_streams() {
        let log = log("fails");
        let outcome = run(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]), &log, Duration::from_secs(60));
        assert!(matches!(outcome, Err(Failure::Failed { output, .. }) if output == "one\ntwo"));
        let _ = std::fs::remove_file(log);
    }
}
