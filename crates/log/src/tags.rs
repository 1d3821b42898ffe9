//! Which batches a reader wants, by the tag words stored beside them.
//!
//! The log does not know tags: core makes words of them (docs/storage-format.md). A batch is left out of a read only if its word
//! says that none of the wanted tags is in it; the reader still looks at every message. The dedicated layout keeps no words.

/// Set in every word whose batch's tags are known. A word without it says nothing, and its batch must be read.
pub const TAGS_KNOWN: u64 = 1 << 63;

/// Most tags a read is filtered by.
pub const MAX_WANTED_TAGS: usize = 16;

/// Whether a batch with this word may hold a message with one of the tags whose bits these are.
pub fn word_covers(word: u64, wanted: &[u64]) -> bool {
    word & TAGS_KNOWN == 0 || wanted.iter().any(|bits| word & bits == *bits)
}

/// The bits of each wanted tag, to go with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagFilter {
    wanted: [u64; MAX_WANTED_TAGS],
    count: usize,
}

impl TagFilter {
    /// `None` for more tags than [`MAX_WANTED_TAGS`]: such a reader is given every batch.
    pub fn new(wanted: &[u64]) -> Option<TagFilter> {
        let mut filter = TagFilter { wanted: [0; MAX_WANTED_TAGS], count: wanted.len() };
        filter.wanted.get_mut(..wanted.len())?.copy_from_slice(wanted);
        Some(filter)
    }

    pub fn may_match(&self, word: u64) -> bool {
        word_covers(word, &self.wanted[..self.count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_left_out_only_if_its_word_lacks_a_bit_of_every_wanted_tag() {
        let filter = TagFilter::new(&[0b011, 0b100]).unwrap();
        for (word, may_match) in [(0b011, true), (0b111, true), (0b100, true), (0b101, true), (0b001, false), (0, false)] {
            assert_eq!(filter.may_match(TAGS_KNOWN | word), may_match, "{word:b}");
            assert!(filter.may_match(word), "nothing is known of {word:b}");
        }
        let nothing = TagFilter::new(&[]).unwrap();
        assert!(!nothing.may_match(TAGS_KNOWN | 1) && nothing.may_match(0));
    }

    #[test]
    fn more_tags_than_fit_are_no_filter() {
        assert!(TagFilter::new(&[1; MAX_WANTED_TAGS]).is_some());
        assert_eq!(TagFilter::new(&[1; MAX_WANTED_TAGS + 1]), None);
    }
}
