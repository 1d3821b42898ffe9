//! Reads fields into a header: a deserializer of one flat struct whose values are text.

use super::super::fields::Fields;
use super::{Fault, HeaderError};
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::fmt::Display;

impl HeaderError {
    /// An error whose place is filled in on its way out.
    fn of(fault: Fault) -> Self {
        Self { header: "", field: "", fault }
    }
}

impl de::Error for HeaderError {
    /// Only names of choices are refused by what serde derives.
    fn custom<T: Display>(_: T) -> Self {
        Self::of(Fault::UnknownName)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { field, ..Self::of(Fault::Missing) }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self { field, ..Self::of(Fault::Repeated) }
    }
}

/// Reads one header.
pub(super) struct HeaderReader<'de> {
    pub(super) fields: &'de Fields,
}

impl<'de> de::Deserializer<'de> for HeaderReader<'de> {
    type Error = HeaderError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        header: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, HeaderError> {
        let access = FieldAccess { rest: self.fields.iter(), known, current: ("", "") };
        visitor.visit_map(access).map_err(|error| HeaderError { header, ..error })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, HeaderError> {
        self.deserialize_struct("", &[], visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Walks through the fields.
struct FieldAccess<'de, I> {
    rest: I,
    known: &'static [&'static str],
    current: (&'de str, &'de str),
}

impl<'de, I: Iterator<Item = (&'de str, &'de str)>> MapAccess<'de> for FieldAccess<'de, I> {
    type Error = HeaderError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, HeaderError> {
        let Some(current) = self.rest.next() else { return Ok(None) };
        self.current = current;
        seed.deserialize(BorrowedStrDeserializer::new(current.0)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, HeaderError> {
        let (name, text) = self.current;
        seed.deserialize(Value { text }).map_err(|error| {
            let field = self.known.iter().find(|known| **known == name).copied().unwrap_or_default();
            HeaderError { field, ..error }
        })
    }
}

/// The text of one field, as whatever is wanted.
struct Value<'de> {
    text: &'de str,
}

impl<'de> de::Deserializer<'de> for Value<'de> {
    type Error = HeaderError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, HeaderError> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, HeaderError> {
        if self.text.eq_ignore_ascii_case("true") {
            visitor.visit_bool(true)
        } else if self.text.eq_ignore_ascii_case("false") {
            visitor.visit_bool(false)
        } else {
            Err(HeaderError::of(Fault::NotABoolean))
        }
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, HeaderError> {
        visitor.visit_i32(self.text.parse().map_err(|_| HeaderError::of(Fault::NotANumber))?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, HeaderError> {
        visitor.visit_i64(self.text.parse().map_err(|_| HeaderError::of(Fault::NotANumber))?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, HeaderError> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, HeaderError> {
        visitor.visit_enum(BorrowedStrDeserializer::new(self.text))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, HeaderError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier
    }
}
