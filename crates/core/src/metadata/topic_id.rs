//! Topic and cluster ids: 128 random bits from an injected source, and their text form.

use duolog_base::TopicId;
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Kafka keeps the lowest ids for itself (its metadata topic has id 1).
const RESERVED_IDS: u128 = 100;

/// Where new ids come from.
pub trait IdSource: Send + Sync + 'static {
    /// An id that was never returned before, anywhere.
    fn next_id(&self) -> TopicId;
}

/// Ids from keys that the operating system gave the process.
#[derive(Debug, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn next_id(&self) -> TopicId {
        loop {
            // Each state has a fresh key; what it hashes does not matter.
            let half = || u128::from(RandomState::new().build_hasher().finish());
            let bits = (half() << 64) | half();
            // The form of a random UUID (RFC 9562, version 4), which clients may check.
            let id = TopicId((bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62));
            // Text forms that begin with a dash look like an option on a command line.
            if id.0 >= RESERVED_IDS && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}

/// Ids that were given elsewhere, one after the other; then random ones.
pub(super) struct GivenIds(Mutex<std::vec::IntoIter<TopicId>>);

impl GivenIds {
    pub(super) fn new(ids: Vec<TopicId>) -> GivenIds {
        GivenIds(Mutex::new(ids.into_iter()))
    }
}

impl IdSource for GivenIds {
    fn next_id(&self) -> TopicId {
        self.0.lock().next().unwrap_or_else(|| RandomIds.next_id())
    }
}

/// Reads the text form of an id; `None` if it is not one.
pub fn parse_topic_id(text: &str) -> Option<TopicId> {
    TopicId::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_differ_and_are_version_4() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| RandomIds.next_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| (id.0 >> 76) & 0xf == 4 && (id.0 >> 62) & 0x3 == 2));
    }
}
