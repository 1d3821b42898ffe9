//! A record as the message that RocketMQ's clients see, for `--view rocketmq`.
//!
//! What the message is, is said by [`MessageView`]; here it is only printed. The broker's own id of a message is not among it: it
//! has the partition's number in it, of which Kafka's protocol says nothing.

use super::put_bytes;
use crate::client::FetchedRecord;
use crate::instant;
use crate::output::Output;
use duolog_base::TimestampMs;
use duolog_rocketmq::message::MessageView;
use serde_json::{Map, Value, json};
use std::io;

/// What is printed where there is nothing.
const NOTHING: &str = "-";

/// Lines of `name: value`, the body last, and an empty line.
pub(super) fn print(out: &mut Output, record: &FetchedRecord) -> io::Result<()> {
    let message = MessageView::new(record.record());
    let time = |at: TimestampMs| instant::format(at);
    let tags = message.tag().unwrap_or(NOTHING);
    let keys = message.keys().unwrap_or(NOTHING.into());
    out.line(&format!("topic: {}, queue id: {}, queue offset: {}", record.topic, record.partition, record.offset))?;
    out.line(&format!("message id: {}", message.unique_key().unwrap_or(NOTHING)))?;
    out.line(&format!("tags: {tags}, keys: {keys}"))?;
    out.line(&format!("born: {} at {}", time(message.born_timestamp()), message.born_host()))?;
    out.line(&format!("stored: {}, reconsume times: {}", time(message.store_timestamp()), message.reconsume_times()))?;
    for (name, value) in properties(&message) {
        out.line(&format!("property {name}: {}", value.as_str().unwrap_or_default()))?;
    }
    out.raw_line(&[b"body: ", message.body()])?;
    out.line("")
}

pub(super) fn as_json(record: &FetchedRecord) -> Value {
    let message = MessageView::new(record.record());
    let mut value = Map::new();
    value.insert("topic".into(), json!(&*record.topic));
    value.insert("queue_id".into(), json!(record.partition));
    value.insert("queue_offset".into(), json!(record.offset));
    value.insert("message_id".into(), json!(message.unique_key()));
    value.insert("tags".into(), json!(message.tag()));
    value.insert("keys".into(), json!(message.keys()));
    value.insert("born_timestamp".into(), json!(message.born_timestamp().0));
    value.insert("born_host".into(), json!(message.born_host().to_string()));
    value.insert("store_timestamp".into(), json!(message.store_timestamp().0));
    value.insert("reconsume_times".into(), json!(message.reconsume_times()));
    value.insert("flag".into(), json!(message.flag()));
    value.insert("sys_flag".into(), json!(message.sys_flag()));
    value.insert("properties".into(), Value::Object(properties(&message)));
    put_bytes(&mut value, "body", Some(message.body()));
    Value::Object(value)
}

/// By name; of a repeated name the last counts.
fn properties(message: &MessageView<'_>) -> Map<String, Value> {
    message.properties().map(|(name, value)| (name.into_owned(), json!(value))).collect()
}
