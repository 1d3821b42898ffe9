//! The named values of a header (`extFields`), in the order in which they arrived or were added.
//!
//! All text stands in one string, so that a header costs two allocations however many fields it has.

use super::frame::NAME_BYTES_LIMIT;
use std::fmt;
use std::fmt::Write;

/// Names and values. A name may be there twice; the last value counts, as in the maps that clients keep.
#[derive(Clone, Default)]
pub struct Fields {
    text: String,
    entries: Vec<Entry>,
}

/// The name is `text[start..name_end]`, its value `text[name_end..end]`.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    name_end: u32,
    end: u32,
}

impl Fields {
    pub const fn new() -> Self {
        Self { text: String::new(), entries: Vec::new() }
    }

    /// Room for names and values of so many bytes together.
    pub(super) fn with_capacity(bytes: usize, fields: usize) -> Self {
        Self { text: String::with_capacity(bytes), entries: Vec::with_capacity(fields) }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let text = self.text.as_bytes();
        let found =
            self.entries.iter().rev().find(|entry| &text[entry.start as usize..entry.name_end as usize] == name.as_bytes());
        found.map(|entry| self.value(entry))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (&self.text[entry.start as usize..entry.name_end as usize], self.value(entry)))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a field. The name is no longer than [`NAME_BYTES_LIMIT`]; ours are constants.
    pub fn push(&mut self, name: &str, value: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        let name_end = self.text.len();
        self.text.push_str(value);
        self.close(start, name_end);
    }

    /// Adds a field whose value is what `value` displays as, without another allocation.
    pub fn push_display(&mut self, name: &str, value: impl fmt::Display) {
        let start = self.text.len();
        self.text.push_str(name);
        let name_end = self.text.len();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
        self.close(start, name_end);
    }

    /// Where a decoder appends a name and then its value, before it calls [`Fields::close`].
    pub(super) fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }

    /// Makes a field of the text from `start` on.
    pub(super) fn close(&mut self, start: usize, name_end: usize) {
        assert!(name_end - start <= NAME_BYTES_LIMIT, "a name of {} bytes", name_end - start);
        let narrow = |at: usize| u32::try_from(at).expect("a header is far shorter than 4 GiB");
        self.entries.push(Entry { start: narrow(start), name_end: narrow(name_end), end: narrow(self.text.len()) });
    }

    fn value(&self, entry: &Entry) -> &str {
        &self.text[entry.name_end as usize..entry.end as usize]
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut fields = Self::new();
        pairs.into_iter().for_each(|(name, value)| fields.push(name, value));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_counts() {
        let fields = Fields::from_iter([("topic", "a"), ("queueId", "1"), ("topic", "b")]);
        assert_eq!(fields.get("topic"), Some("b"));
        assert_eq!(fields.get("queueId"), Some("1"));
        assert_eq!(fields.get("queue"), None);
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("topic", "a"), ("queueId", "1"), ("topic", "b")]);
    }

    #[test]
    fn a_displayed_value_is_its_text() {
        let mut fields = Fields::new();
        fields.push_display("offset", -5i64);
        fields.push_display("order", true);
        assert_eq!(fields, Fields::from_iter([("offset", "-5"), ("order", "true")]));
    }
}
