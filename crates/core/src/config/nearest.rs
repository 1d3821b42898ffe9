//! Finds the key a user probably meant.

use super::table::KEYS;

/// A key further away than this share of its length is no help to anyone.
const MAX_DISTANCE_DIVISOR: usize = 2;

/// The known name closest to `given` by edit distance, if any is close.
pub(super) fn nearest_key(given: &str) -> Option<&'static str> {
    let names = KEYS.iter().flat_map(|key| std::iter::once(key.name).chain(key.synonyms.iter().map(|synonym| synonym.name)));
    // Keys are typed with dashes and underscores too; those are near, not far.
    let given = given.to_ascii_lowercase().replace(['_', '-'], ".");
    names
        .map(|name| (edit_distance(&given, name), name))
        .filter(|(distance, name)| *distance <= name.len() / MAX_DISTANCE_DIVISOR)
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions and replacements that turn one into the other, counted in bytes.
fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::{edit_distance, nearest_key};

    #[test]
    fn distance_counts_single_changes() {
        assert_eq!(edit_distance("flush", "flush"), 0);
        assert_eq!(edit_distance("flsh", "flush"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        assert_eq!(nearest_key("num.partition"), Some("num.partitions"));
        assert_eq!(nearest_key("log_retention_ms"), Some("log.retention.ms"));
        assert_eq!(nearest_key("auto.create.topic.enabled"), Some("auto.create.topics.enable"));
        assert_eq!(nearest_key("xyzzy"), None);
    }
}
