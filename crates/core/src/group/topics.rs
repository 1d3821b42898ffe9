//! What happens to groups when topics go.

use super::shard::GroupShard;
use crate::coordinator::{Output, Ticket};
use std::collections::BTreeSet;
use std::sync::Arc;

impl GroupShard {
    /// Forgets the offsets of topics that were deleted: another topic of that name starts anew.
    pub fn topics_deleted(&mut self, topics: &BTreeSet<String>, ticket: Ticket<()>, out: &mut Output) {
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                let gone = group.offsets.select(|topic, _| topics.contains(topic));
                group.drop_offsets(gone, out);
            }
            self.forget_if_trivial(&id);
        }
        out.answer(ticket, ());
    }
}
