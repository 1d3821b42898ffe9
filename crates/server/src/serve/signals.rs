//! SIGTERM and SIGINT: the first asks for an orderly stop, the second ends the process at once.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a stop that was not orderly.
const INTERRUPTED: i32 = 1;

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub(crate) fn install() -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next signal.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// For the time of the orderly stop: whoever signals again does not want to wait for it.
    pub(super) async fn exit_at_next(mut self) {
        let signal = self.next().await;
        tracing::warn!(signal, "stopping at once");
        std::process::exit(INTERRUPTED);
    }
}

/// The process that has started this one takes it with it. Called before there are other threads.
#[cfg(target_os = "linux")]
pub(super) fn end_with(parent: u32) {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::warn!(%error, "this process would outlive the one that has started it");
    }
    // It may have ended before it was asked to tell.
    if getppid().is_none_or(|now| now.as_raw_nonzero().get().cast_unsigned() != parent) {
        std::process::exit(INTERRUPTED);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn end_with(_parent: u32) {}
