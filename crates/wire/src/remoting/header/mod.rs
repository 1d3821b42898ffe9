//! Typed headers: what the fields of each request and answer mean, one struct each.
//!
//! A struct's members are the fields by their names in Java's camel case. A member that is not optional must be there, both
//! ways: Java's clients refuse answers that lack one. Fields of other names are ignored. Strings are views of the [`Fields`].

mod client;
mod group;
mod message;
mod name_server;
mod offset;
mod pop;
mod query;
mod reader;
mod server;
mod topic;
mod transaction;
mod writer;

pub use client::*;
pub use group::*;
pub use message::*;
pub use name_server::*;
pub use offset::*;
pub use pop::*;
pub use query::*;
pub use server::*;
pub use topic::*;
pub use transaction::*;

use super::fields::Fields;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Fields that are not what a header needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{header}: field {field} {fault}")]
pub struct HeaderError {
    pub header: &'static str,
    pub field: &'static str,
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("is missing")]
    Missing,
    #[error("is there twice")]
    Repeated,
    #[error("is not a number that fits")]
    NotANumber,
    #[error("is neither true nor false")]
    NotABoolean,
    #[error("is none of the names it may be")]
    UnknownName,
}

/// What every header can do.
pub trait Header<'a>: Deserialize<'a> + Serialize {
    fn from_fields(fields: &'a Fields) -> Result<Self, HeaderError> {
        Self::deserialize(reader::HeaderReader { fields })
    }

    /// Adds the header's fields, except those that are `None`.
    fn put(&self, fields: &mut Fields) {
        writer::write(self, fields);
    }
}

impl<'a, T: Deserialize<'a> + Serialize> Header<'a> for T {}

/// What clients of releases 5 add to almost every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonFields<'a> {
    /// The queue is one of a topic that is spread over brokers.
    #[serde(rename = "lo")]
    pub logical: Option<bool>,
    #[serde(rename = "ns", borrow)]
    pub namespace: Option<&'a str>,
    #[serde(rename = "nsd")]
    pub namespaced: Option<bool>,
    /// The broker that the request is for.
    #[serde(rename = "bname")]
    pub broker_name: Option<&'a str>,
    #[serde(rename = "oway")]
    pub one_way: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<'a, T: Header<'a> + std::fmt::Debug>(fields: &'a Fields) -> (&'static str, &'static str, Fault) {
        let HeaderError { header, field, fault } = T::from_fields(fields).expect_err("an error");
        (header, field, fault)
    }

    #[test]
    fn a_header_reads_what_it_knows_and_leaves_the_rest() {
        let fields =
            Fields::from_iter([("queueId", "3"), ("bname", "duolog"), ("nsd", "TRUE"), ("topic", "t"), ("committed", "False")]);
        let header = MaxOffsetRequest::from_fields(&fields).unwrap();
        assert_eq!(header, MaxOffsetRequest { topic: "t", queue_id: 3, committed: Some(false) });
        let common = CommonFields::from_fields(&fields).unwrap();
        assert_eq!((common.broker_name, common.namespaced, common.logical), (Some("duolog"), Some(true), None));
    }

    #[test]
    fn an_error_names_the_header_and_the_field() {
        let fields = |value| Fields::from_iter([("topic", "t"), ("queueId", value)]);
        assert_eq!(error::<QueueRequest>(&Fields::from_iter([("topic", "t")])), ("QueueRequest", "queueId", Fault::Missing));
        for value in ["", "x", "1.0", "2147483648", " 1", "true"] {
            assert_eq!(error::<QueueRequest>(&fields(value)), ("QueueRequest", "queueId", Fault::NotANumber), "{value}");
        }
        let twice = Fields::from_iter([("topic", "t"), ("queueId", "1"), ("topic", "u")]);
        assert_eq!(error::<QueueRequest>(&twice), ("QueueRequest", "topic", Fault::Repeated));
        let neither = Fields::from_iter([("isOrder", "yes")]);
        assert_eq!(error::<BrokerConsumeStatsRequest>(&neither), ("BrokerConsumeStatsRequest", "isOrder", Fault::NotABoolean));
        let side = Fields::from_iter([("topic", "t"), ("queueId", "1"), ("timestamp", "5"), ("boundaryType", "MIDDLE")]);
        assert_eq!(error::<SearchOffsetRequest>(&side), ("SearchOffsetRequest", "boundaryType", Fault::UnknownName));
    }

    #[test]
    fn a_missing_default_is_what_java_says() {
        let fields = Fields::from_iter([("group", "g"), ("topic", "t"), ("timestamp", "-1"), ("isForce", "true")]);
        let header = ResetOffsetRequest::from_fields(&fields).unwrap();
        assert_eq!((header.queue_id, header.offset, header.timestamp, header.is_force), (-1, None, -1, true));
    }

    #[test]
    fn both_forms_of_sending_mean_the_same() {
        let short =
            SendMessageRequestV2 { topic: "t", producer_group: "g", properties: Some("TAGS\u{1}a\u{2}"), ..Default::default() };
        let mut fields = Fields::new();
        short.put(&mut fields);
        assert_eq!((fields.get("b"), fields.get("i"), fields.get("l")), (Some("t"), Some("TAGS\u{1}a\u{2}"), None));
        let header = SendMessageRequest::from_v2(&fields).unwrap();
        let mut long = Fields::new();
        header.put(&mut long);
        assert_eq!(long.get("producerGroup"), Some("g"));
        assert_eq!(SendMessageRequest::from_fields(&long), Ok(header));
    }

    #[test]
    fn an_answer_carries_its_required_fields_even_if_zero() {
        let mut fields = Fields::new();
        PullMessageResponse { next_begin_offset: 9, ..Default::default() }.put(&mut fields);
        let expected = [("suggestWhichBrokerId", "0"), ("nextBeginOffset", "9"), ("minOffset", "0"), ("maxOffset", "0")];
        assert_eq!(fields, Fields::from_iter(expected));
    }

    #[test]
    fn names_outside_of_camel_case_are_kept() {
        let mut fields = Fields::new();
        UnregisterClientRequest { client_id: "c", ..Default::default() }.put(&mut fields);
        HeartbeatResponse { supports_fingerprints: true, subscription_changed: true }.put(&mut fields);
        let expected = [("clientID", "c"), ("IS_SUPPORT_HEART_BEAT_V2", "true"), ("IS_SUB_CHANGE", "true")];
        assert_eq!(fields, Fields::from_iter(expected));
    }
}
