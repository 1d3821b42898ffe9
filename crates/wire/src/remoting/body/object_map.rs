//! Maps from message queues, whose keys RocketMQ writes as JSON objects: `{{"brokerName":"b","queueId":0,"topic":"t"}:7}`.

use super::queue::MessageQueue;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::ser::Formatter;
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;

/// Entries in the order in which they were put or read.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectMap<V>(pub Vec<(MessageQueue, V)>);

impl<V> Default for ObjectMap<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> FromIterator<(MessageQueue, V)> for ObjectMap<V> {
    fn from_iter<I: IntoIterator<Item = (MessageQueue, V)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// A body's text. Object maps are written through here only, so nothing else in a body may be bytes.
pub(super) fn render<T: Serialize>(body: &T) -> Vec<u8> {
    let mut serializer = serde_json::Serializer::with_formatter(Vec::new(), Verbatim);
    body.serialize(&mut serializer).expect("a body is plain data");
    serializer.into_inner()
}

/// Writes compact JSON, and bytes as they are: an object map arrives as its text.
struct Verbatim;

impl Formatter for Verbatim {
    fn write_byte_array<W: Write + ?Sized>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        writer.write_all(value)
    }
}

impl<V: Serialize> Serialize for ObjectMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = vec![b'{'];
        for (at, (queue, value)) in self.0.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&render(queue));
            text.push(b':');
            text.extend_from_slice(&render(value));
        }
        text.push(b'}');
        serializer.serialize_bytes(&text)
    }
}

/// Reads the pairs that standard JSON has in its place.
impl<'de, V: Deserialize<'de>> Deserialize<'de> for ObjectMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Pairs(PhantomData))
    }
}

struct Pairs<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Pairs<V> {
    type Value = ObjectMap<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map with message queues as keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<ObjectMap<V>, A::Error> {
        let mut entries = Vec::new();
        while let Some(pair) = pairs.next_element()? {
            entries.push(pair);
        }
        Ok(ObjectMap(entries))
    }

    /// A map without entries does not show what its keys would be.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectMap<V>, A::Error> {
        match map.next_key::<IgnoredAny>()? {
            None => Ok(ObjectMap::default()),
            Some(_) => Err(A::Error::custom("a key that is no message queue")),
        }
    }
}
