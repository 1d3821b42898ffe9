//! The in-sync sets: who falls behind is proposed to leave, who has caught up to join. All proposals of a moment go in one request.

use super::Replication;
use super::slot::Slot;
use crate::metadata::{AlterPartition, AlterPartitionError};
use duolog_replica::{PartitionState, Peer};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often incomplete in-sync sets are looked at.
const TICK: Duration = Duration::from_millis(100);
/// All are looked at once in so many ticks, and at once when the metadata says something new of nodes.
const FULL_EVERY: u32 = 10;

/// Proposes for a broker until it is gone.
pub(super) async fn run(replication: Weak<Replication>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0;
    loop {
        let Some(known) = replication.upgrade() else { return };
        let told = tokio::select! {
            _ = ticks.tick() => false,
            () = known.propose_now.notified() => true,
        };
        count = (count + 1) % FULL_EVERY;
        known.propose(told || count == 0).await;
    }
}

impl Replication {
    async fn propose(&self, all: bool) {
        let peers = self.around.metadata.image().peers();
        let (slots, requests): (Vec<_>, Vec<_>) =
            self.all_led(all).into_iter().filter_map(|slot| self.proposal(&slot, &peers).map(|request| (slot, request))).unzip();
        if requests.is_empty() {
            return;
        }
        let results = self.around.metadata.alter_partitions(&requests).await;
        let taken = results.iter().filter(|result| result.is_ok()).count();
        tracing::info!(asked = requests.len(), taken, "in-sync sets were to change");
        for ((slot, request), result) in slots.iter().zip(&requests).zip(results) {
            self.altered(slot, request.proposal.number, result);
        }
    }

    /// Partitions whose in-sync set may have to change.
    fn all_led(&self, all: bool) -> Vec<Arc<Slot>> {
        let slots = self.slots.read();
        let led = slots.values().filter(|slot| slot.needs_attention() || (all && slot.leads().is_some()));
        led.cloned().collect()
    }

    fn proposal(&self, slot: &Slot, peers: &[Peer]) -> Option<AlterPartition> {
        let broker_epoch = self.me.get()?.epoch?;
        let mut state = slot.lock();
        let topic = state.topic.id;
        let leader = state.replica.leader_mut()?;
        leader.meet(peers);
        let proposal = leader.propose(peers, &self.limits, self.now_ms())?;
        Some(AlterPartition { node: self.around.node, broker_epoch, topic, index: slot.index, proposal })
    }

    fn altered(&self, slot: &Slot, number: u64, result: Result<PartitionState, AlterPartitionError>) {
        let mut state = slot.lock();
        match result {
            Ok(partition) => {
                tracing::debug!(topic = state.topic.name, partition = %slot.index, in_sync = ?partition.in_sync, "in sync");
                state.replica.accepted(&partition, self.now_ms());
            }
            Err(error) => {
                tracing::debug!(topic = state.topic.name, partition = %slot.index, %error, "an in-sync set is not changed");
                if let Some(leader) = state.replica.leader_mut() {
                    leader.refused(number);
                }
            }
        }
        self.after(slot, &mut state);
    }
}
