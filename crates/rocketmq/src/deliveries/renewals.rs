//! Messages that stay hidden for as long as their client lives: each is renewed from time to time until it is acknowledged, hidden for a time,
//! or its client is gone; then others get it soon.
//!
//! In memory: after a crash they are available like all others.

use super::place::{Place, member};
use super::{Deliveries, RENEWED, Receive};
use crate::node::Node;
use duolog_base::Offset;
use duolog_core::share::SharePartition;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// How long the messages of a consumer that lives are hidden altogether.
const RENEWED_ALTOGETHER: Duration = Duration::from_secs(3 * 3600);
/// How soon the messages of a consumer that has left are available.
const RELEASED_AFTER: Duration = Duration::from_secs(1);
/// Messages that are renewed at a time; those of more are hidden once.
const RENEWALS: usize = 1_000_000;

#[derive(Default)]
pub(super) struct Renewals {
    /// Guards the table; held for look-ups.
    table: Mutex<HashMap<(SharePartition, Offset), Renewal>>,
}

/// A message that a client has.
#[derive(Clone)]
struct Renewal {
    client: Arc<str>,
    number: u64,
    /// When it is to be renewed.
    due_ms: u64,
    /// Not beyond this time.
    until_ms: u64,
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

impl Renewals {
    /// A message was delivered; it is renewed if the receive wants that.
    pub(super) fn begin(&self, node: &Node, place: &Place, offset: Offset, receive: &Receive<'_>) {
        let mut table = self.table.lock();
        let key = (place.at.clone(), offset);
        match &receive.renewed_by {
            Some(client) if table.len() < RENEWALS => {
                let now_ms = node.monotonic_ms();
                let (due_ms, until_ms) = (now_ms + ms(RENEWED) / 2, now_ms + ms(RENEWED_ALTOGETHER));
                table.insert(key, Renewal { client: client.clone(), number: receive.number, due_ms, until_ms });
            }
            _ => drop(table.remove(&key)),
        }
    }

    pub(super) fn forget(&self, at: &SharePartition, offset: Offset) {
        let mut table = self.table.lock();
        if !table.is_empty() {
            table.remove(&(at.clone(), offset));
        }
    }

    fn select(&self, wanted: impl Fn(&Renewal) -> bool) -> Vec<((SharePartition, Offset), Renewal)> {
        let table = self.table.lock();
        table.iter().filter(|(_, renewal)| wanted(renewal)).map(|(key, renewal)| (key.clone(), renewal.clone())).collect()
    }

    /// Renewed, unless it is somebody else's by now.
    fn renewed(&self, key: &(SharePartition, Offset), number: u64, due_ms: u64) {
        if let Some(renewal) = self.table.lock().get_mut(key).filter(|renewal| renewal.number == number) {
            renewal.due_ms = due_ms;
        }
    }

    fn remove(&self, key: &(SharePartition, Offset), number: u64) {
        let mut table = self.table.lock();
        if table.get(key).is_some_and(|renewal| renewal.number == number) {
            table.remove(key);
        }
    }
}

impl Deliveries {
    /// Renews what is due of the clients that live. Called from time to time, more often than [`RENEWED`].
    pub(crate) async fn renew(&self, node: &Node, is_alive: impl Fn(&str) -> bool) {
        let now_ms = node.monotonic_ms();
        for (key, renewal) in self.renewals.select(|renewal| renewal.due_ms <= now_ms) {
            let left_ms = renewal.until_ms.saturating_sub(now_ms);
            let is_renewed = left_ms > 0
                && is_alive(&renewal.client)
                && self.lock_for(node, &key, &renewal, RENEWED.min(Duration::from_millis(left_ms))).await;
            match is_renewed {
                true => self.renewals.renewed(&key, renewal.number, now_ms + ms(RENEWED) / 2),
                false => self.renewals.remove(&key, renewal.number),
            }
        }
    }

    /// A consumer has left: what was hidden for as long as it lives is available soon.
    pub(crate) async fn release(&self, node: &Node, client: &str) {
        for (key, renewal) in self.renewals.select(|renewal| *renewal.client == *client) {
            self.renewals.remove(&key, renewal.number);
            self.lock_for(node, &key, &renewal, RELEASED_AFTER).await;
        }
    }

    async fn lock_for(&self, node: &Node, (at, offset): &(SharePartition, Offset), of: &Renewal, lock: Duration) -> bool {
        let member = member(of.number);
        node.share.renew_as(at, &member, *offset, lock, &member).await.is_ok()
    }
}
