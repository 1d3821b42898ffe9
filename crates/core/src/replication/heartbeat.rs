//! Heartbeats: the task that tells the controller that this node lives, learns whether another life of it has begun, and asks for leave
//! when it is to stop; with it, the task that reports what the node holds. Started by the broker while it is in a cluster.

use super::report::{self, REPORT_EVERY};
use crate::metadata::{MembershipError, Metadata};
use duolog_log::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A node that wants to stop asks so many times more often.
const HURRY: u32 = 4;

/// The task, and what it has learned.
pub(crate) struct Heartbeats {
    wants_stop: watch::Sender<bool>,
    may_stop: watch::Receiver<bool>,
    superseded: watch::Receiver<bool>,
    tasks: [JoinHandle<()>; 2],
}

impl Heartbeats {
    pub(crate) fn start(metadata: Arc<Metadata>, log: Arc<Store>, interval: Duration) -> Heartbeats {
        let (wants_stop, wanted) = watch::channel(false);
        let (tell_may_stop, may_stop) = watch::channel(false);
        let (tell_superseded, superseded) = watch::channel(false);
        let reports = tokio::spawn(report::run(metadata.clone(), log, interval * REPORT_EVERY));
        let beats = tokio::spawn(beat(metadata, interval, wanted, tell_may_stop, tell_superseded));
        Heartbeats { wants_stop, may_stop, superseded, tasks: [beats, reports] }
    }

    /// Turns true when another life of this node has registered: this process has no place any more.
    pub(crate) fn superseded(&self) -> watch::Receiver<bool> {
        self.superseded.clone()
    }

    /// Asks to be relieved of all leadership, for so long at most. Whether it was.
    pub(crate) async fn hand_over(&self, limit: Duration) -> bool {
        self.wants_stop.send_replace(true);
        let mut may_stop = self.may_stop.clone();
        let let_go = tokio::time::timeout(limit, may_stop.wait_for(|may_stop| *may_stop)).await;
        matches!(let_go, Ok(Ok(_)))
    }

    pub(crate) fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn beat(
    metadata: Arc<Metadata>,
    interval: Duration,
    mut wanted: watch::Receiver<bool>,
    may_stop: watch::Sender<bool>,
    superseded: watch::Sender<bool>,
) {
    let mut was_fenced = true;
    loop {
        let wants_stop = *wanted.borrow_and_update();
        match metadata.heartbeat(wants_stop).await {
            Ok(answer) => {
                if answer.fenced != was_fenced {
                    tracing::info!(fenced = answer.fenced, "the controller has heard of this node");
                    was_fenced = answer.fenced;
                }
                if wants_stop && answer.may_stop {
                    may_stop.send_replace(true);
                }
            }
            Err(MembershipError::Unavailable(error)) => tracing::debug!(%error, "a heartbeat was not heard"),
            Err(error) => {
                tracing::error!(%error, "another life of this node has begun");
                superseded.send_replace(true);
                return;
            }
        }
        let pause = if wants_stop { interval / HURRY } else { interval };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}
