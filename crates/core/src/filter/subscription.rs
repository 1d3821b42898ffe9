//! A subscription's expression, compiled once: which stored batches need reading, and which of their messages are wanted.
//!
//! Compiled when a consumer pulls or registers, then asked about every message without allocating.

use super::sql::{self, Condition};
use super::tags::TagSet;
use super::{FilterError, MAX_EXPRESSION_BYTES, Properties};
use duolog_log::{TagFilter, word_covers};

/// What a client calls the two languages; no type at all means tags.
const TAG_TYPE: &str = "TAG";
const SQL_TYPE: &str = "SQL92";

#[derive(Clone, Debug, PartialEq)]
pub struct Subscription(Wanted);

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    All,
    Tags(TagSet),
    Sql(Condition),
}

impl Subscription {
    pub fn all() -> Subscription {
        Subscription(Wanted::All)
    }

    /// Of an expression and the type a client named it by.
    pub fn of_type(kind: Option<&str>, expression: &str) -> Result<Subscription, FilterError> {
        match kind {
            None | Some("" | TAG_TYPE) => Subscription::tags(expression),
            Some(SQL_TYPE) => Subscription::sql(expression),
            Some(kind) => Err(FilterError::UnknownType { kind: kind.to_owned() }),
        }
    }

    /// `a || b`; an empty expression or `*` wants everything, an expression of blanks nothing.
    pub fn tags(expression: &str) -> Result<Subscription, FilterError> {
        if matches!(expression, "" | "*") {
            return Ok(Subscription::all());
        }
        check_length(expression)?;
        TagSet::parse(expression).map(|tags| Subscription(Wanted::Tags(tags)))
    }

    pub fn sql(expression: &str) -> Result<Subscription, FilterError> {
        if expression.is_empty() {
            return Err(FilterError::Empty);
        }
        check_length(expression)?;
        sql::parse(expression).map(|condition| Subscription(Wanted::Sql(condition)))
    }

    /// Whether a batch with this tag word may hold a wanted message.
    pub fn may_match(&self, tag_word: u64) -> bool {
        match &self.0 {
            Wanted::Tags(tags) => word_covers(tag_word, tags.bits()),
            Wanted::All | Wanted::Sql(_) => true,
        }
    }

    /// What goes with a read, so that the log leaves out what cannot match; `None` if every batch must be read, be it because
    /// there are too many tags.
    pub fn tag_filter(&self) -> Option<TagFilter> {
        match &self.0 {
            Wanted::Tags(tags) => TagFilter::new(tags.bits()),
            Wanted::All | Wanted::Sql(_) => None,
        }
    }

    /// Whether a message is wanted. Tags are compared by name, not by hash. An SQL expression that is unknown for these
    /// properties, or that cannot be evaluated (a text compared with a number), does not want the message.
    pub fn matches(&self, tag: Option<&str>, properties: &dyn Properties) -> bool {
        match &self.0 {
            Wanted::All => true,
            Wanted::Tags(tags) => tag.is_some_and(|tag| tags.contains(tag)),
            Wanted::Sql(condition) => condition.evaluate(properties) == Ok(Some(true)),
        }
    }
}

fn check_length(expression: &str) -> Result<(), FilterError> {
    let bytes = expression.len();
    if bytes > MAX_EXPRESSION_BYTES {
        return Err(FilterError::TooLong { bytes, limit: MAX_EXPRESSION_BYTES });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tags::{java_hash, tag_word};
    use super::*;
    use duolog_log::TAGS_KNOWN;

    struct Tagged(&'static str);

    impl Properties for Tagged {
        fn property(&self, name: &str) -> Option<&str> {
            (name == "TAGS").then_some(self.0)
        }
    }

    fn wants(subscription: &Subscription, tag: &'static str) -> bool {
        subscription.matches(Some(tag), &Tagged(tag))
    }

    #[test]
    fn the_type_chooses_the_language() {
        for kind in [None, Some(""), Some("TAG")] {
            assert!(wants(&Subscription::of_type(kind, "a || b").unwrap(), "b"));
        }
        let sql = Subscription::of_type(Some("SQL92"), "TAGS = 'a' OR TAGS = 'b'").unwrap();
        assert!(wants(&sql, "b") && !wants(&sql, "c"));
        assert_eq!(Subscription::of_type(Some("SQL92"), ""), Err(FilterError::Empty));
        let unknown = Subscription::of_type(Some("sql92"), "a = 1");
        assert_eq!(unknown, Err(FilterError::UnknownType { kind: "sql92".to_owned() }));
    }

    #[test]
    fn everything_is_wanted_of_a_star_and_of_nothing() {
        for expression in ["*", ""] {
            let all = Subscription::tags(expression).unwrap();
            assert_eq!(all, Subscription::all());
            assert!(all.matches(None, &Tagged("x")) && all.may_match(TAGS_KNOWN) && all.tag_filter().is_none());
        }
    }

    #[test]
    fn tags_are_compared_by_name_and_not_by_hash() {
        assert_eq!(java_hash("Aa"), java_hash("BB"));
        let subscription = Subscription::tags("Aa").unwrap();
        assert!(subscription.may_match(tag_word([java_hash("BB")].into_iter())));
        assert!(wants(&subscription, "Aa") && !wants(&subscription, "BB") && !subscription.matches(None, &Tagged("Aa")));
    }

    #[test]
    fn batches_are_read_unless_their_word_lacks_all_wanted_tags() {
        let subscription = Subscription::tags("TagA || TagB").unwrap();
        let word = |tags: &[&str]| tag_word(tags.iter().map(|tag| java_hash(tag)));
        assert!(subscription.may_match(word(&["TagB", "other"])) && subscription.may_match(word(&["TagA"])));
        assert!(!subscription.may_match(word(&["TagC"])) && !subscription.may_match(word(&[])));
        let filter = subscription.tag_filter().unwrap();
        assert!(filter.may_match(word(&["TagA"])) && !filter.may_match(word(&["TagC"])));
        assert!(subscription.may_match(0), "nothing is known of this batch");
        assert!(Subscription::sql("TAGS = 'TagA'").unwrap().may_match(word(&["TagC"])));
    }

    #[test]
    fn long_expressions_are_refused() {
        let long = "a".repeat(MAX_EXPRESSION_BYTES + 1);
        let refused = Err(FilterError::TooLong { bytes: MAX_EXPRESSION_BYTES + 1, limit: MAX_EXPRESSION_BYTES });
        assert_eq!((Subscription::tags(&long), Subscription::sql(&long)), (refused.clone(), refused));
    }
}
