//! What happens to groups when topics go.

use super::offsets::CommittedOffset;
use super::shard::GroupShard;
use crate::coordinator::{Output, Ticket};
use crate::metadata::MetadataImage;
use duolog_base::TopicId;
use std::sync::Arc;

impl GroupShard {
    /// Forgets the offsets, and the share groups' states, of topics that are not in the image: another topic of that name starts anew.
    pub fn forget_deleted_topics(&mut self, image: &MetadataImage, ticket: Ticket<()>, out: &mut Output) {
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                let gone = group.offsets.select(|topic, committed| is_gone(topic, committed, image));
                group.drop_offsets(gone, out);
            }
            self.forget_if_trivial(&id);
        }
        self.share_forget_deleted_topics(image, out);
        out.answer(ticket, ());
    }
}

fn is_gone(topic: &str, committed: &CommittedOffset, image: &MetadataImage) -> bool {
    let Some(topic) = image.topic(topic) else { return true };
    committed.topic_id != TopicId::NONE && committed.topic_id != topic.id
}
