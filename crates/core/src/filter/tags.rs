//! Tags: the set of them that a subscription names, Java's hash of a tag, and the word of tag bits stored with every batch.
//!
//! Promises that a stored word never hides a message: a word that does not cover a tag's bits was made of a batch in
//! which no message has that tag. Words are stored, so their bits are a format (docs/storage-format.md) and never change.

use super::FilterError;
use duolog_log::TAGS_KNOWN;

/// Most tags of one subscription.
pub const MAX_TAGS: usize = 1024;

const BLOOM_BITS: u64 = 63;
const SEPARATOR: &str = "||";

/// `String.hashCode` of Java: over UTF-16 units, in wrapping 32-bit arithmetic. Subscriptions carry it as `codeSet`.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The word of a batch whose messages have these tag hashes. Messages without a tag add nothing; repeated tags are free.
pub fn tag_word(tags: impl Iterator<Item = i32>) -> u64 {
    tags.fold(TAGS_KNOWN, |word, hash| word | tag_bits(hash))
}

/// The bits, three of 63, that a tag with this hash sets in a word. Two or all three may coincide.
pub fn tag_bits(hash: i32) -> u64 {
    let mixed = mix(u64::from(hash.cast_unsigned()));
    [0, 16, 32].into_iter().fold(0, |bits, shift| bits | 1 << (((mixed >> shift) & 0xffff) % BLOOM_BITS))
}

/// The finishing steps of MurmurHash3: every bit of a short tag's small hash reaches all bits of the result.
fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// The tags that a subscription names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagSet {
    /// Ascending, each once.
    names: Box<[Box<str>]>,
    /// The bits of each name.
    bits: Box<[u64]>,
}

impl TagSet {
    /// Tags between `||`, blanks around them cut off, empty ones left out. Separators alone are no expression.
    pub fn parse(expression: &str) -> Result<TagSet, FilterError> {
        if expression.split(SEPARATOR).all(str::is_empty) {
            return Err(FilterError::Empty);
        }
        let mut names: Vec<Box<str>> = Vec::new();
        for tag in expression.split(SEPARATOR).map(trim).filter(|tag| !tag.is_empty()) {
            if names.len() == MAX_TAGS {
                return Err(FilterError::TooManyTags { limit: MAX_TAGS });
            }
            names.push(tag.into());
        }
        names.sort_unstable();
        names.dedup();
        let bits = names.iter().map(|name| tag_bits(java_hash(name))).collect();
        Ok(TagSet { names: names.into(), bits })
    }

    pub fn contains(&self, tag: &str) -> bool {
        self.names.binary_search_by(|name| (**name).cmp(tag)).is_ok()
    }

    pub fn bits(&self) -> &[u64] {
        &self.bits
    }
}

/// Java's notion of blanks at the ends: everything up to the space.
fn trim(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_log::word_covers;

    #[test]
    fn hashes_are_java_s() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("😀"), 1_772_899);
    }

    #[test]
    fn a_word_covers_the_tags_it_was_made_of() {
        let word = tag_word(["TagA", "TagB"].iter().map(|tag| java_hash(tag)));
        for tag in ["TagA", "TagB"] {
            assert!(word_covers(word, &[tag_bits(java_hash(tag))]));
        }
        assert!(!word_covers(word, &[tag_bits(java_hash("TagC"))]));
        assert_eq!(tag_word(std::iter::empty()), TAGS_KNOWN);
    }

    #[test]
    fn bits_are_a_format() {
        let stored: Vec<u64> = ["", "TagA", "TagB", "order-created"].iter().map(|tag| tag_bits(java_hash(tag))).collect();
        assert_eq!(stored, [1, 0x200_0100_0080, 0x40_0800_2000, 0x20_0000_1000_0002]);
    }

    #[test]
    fn tags_stand_between_bars() {
        let names =
            |expression: &str| TagSet::parse(expression).unwrap().names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (expression, expected) in [
            ("a", &["a"] as &[&str]),
            ("b||a", &["a", "b"]),
            ("  b \t|| a ||b", &["a", "b"]),
            ("|| a ||", &["a"]),
            ("a|b", &["a|b"]),
            ("a ||| b", &["a", "| b"]),
            ("* || a", &["*", "a"]),
            (" * ", &["*"]),
            ("\u{a0}", &["\u{a0}"]),
            (" ", &[]),
            ("|| ", &[]),
        ] {
            assert_eq!(names(expression), expected, "{expression:?}");
        }
        for expression in ["||", "||||"] {
            assert_eq!(TagSet::parse(expression), Err(FilterError::Empty), "{expression:?}");
        }
    }

    #[test]
    fn tags_are_limited() {
        let expression = |tags: usize| (0..tags).map(|tag| tag.to_string()).collect::<Vec<_>>().join("||");
        assert!(TagSet::parse(&expression(MAX_TAGS)).unwrap().contains("1023"));
        assert_eq!(TagSet::parse(&expression(MAX_TAGS + 1)), Err(FilterError::TooManyTags { limit: MAX_TAGS }));
    }
}
