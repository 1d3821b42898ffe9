//! Topic and cluster ids: 128 random bits from an injected source, and their text form.

use duolog_base::TopicId;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Length of an id's text form, in characters.
const TEXT_LENGTH: usize = 22;
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

/// Reads the URL-safe base64 form of an id; `None` if it is not one.
pub fn parse_topic_id(text: &str) -> Option<TopicId> {
    if text.len() != TEXT_LENGTH {
        return None;
    }
    let mut digits = text.bytes().map(digit);
    let mut bits: u128 = 0;
    for _ in 0..TEXT_LENGTH - 1 {
        bits = (bits << 6) | digits.next()??;
    }
    // The last digit holds two bits and four zeros.
    let last = digits.next()??;
    (last & 0xf == 0).then_some(TopicId((bits << 2) | (last >> 4)))
}

fn digit(byte: u8) -> Option<u128> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u128::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_reads_back() {
        for id in [TopicId(1), TopicId(u128::MAX), TopicId(0x0123_4567_89ab_cdef_0011_2233_4455_6677)] {
            assert_eq!(parse_topic_id(&id.to_string()), Some(id));
        }
        for wrong in ["", "AAAAAAAAAAAAAAAAAAAAAR", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA=A"] {
            assert_eq!(parse_topic_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn random_ids_differ_and_are_version_4() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| RandomIds.next_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| (id.0 >> 76) & 0xf == 4 && (id.0 >> 62) & 0x3 == 2));
    }
}
