//! SIGTERM and SIGINT: the first asks for an orderly stop, the second ends the process at once.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a stop that was not orderly.
const INTERRUPTED: i32 = 1;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub(super) fn install() -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next signal.
    pub(super) async fn next(&mut self) -> &'static str {
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
