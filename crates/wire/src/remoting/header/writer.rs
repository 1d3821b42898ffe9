//! Writes a header into fields: a serializer of one flat struct of numbers, texts, truth values and names.

use super::super::fields::Fields;
use serde::ser::{Impossible, SerializeStruct, Serializer};
use serde::{Serialize, ser};
use std::fmt::Display;
use thiserror::Error;

/// A header of ours has a member of a kind that no field can be.
#[derive(Debug, Error)]
#[error("not a value of a header")]
struct NotAHeader;

impl ser::Error for NotAHeader {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

/// Adds the fields of `header`, which is a struct of this module.
pub(super) fn write<T: Serialize>(header: &T, fields: &mut Fields) {
    header.serialize(Target { fields, name: "" }).expect("a header is a struct of plain values");
}

/// The whole header if `name` is empty, else the value of that field.
struct Target<'f> {
    fields: &'f mut Fields,
    name: &'static str,
}

impl Target<'_> {
    fn display(self, value: impl Display) -> Result<(), NotAHeader> {
        self.fields.push_display(self.name, value);
        Ok(())
    }
}

impl SerializeStruct for Target<'_> {
    type Ok = ();
    type Error = NotAHeader;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), NotAHeader> {
        value.serialize(Target { fields: self.fields, name })
    }

    fn end(self) -> Result<(), NotAHeader> {
        Ok(())
    }
}

type Never = Impossible<(), NotAHeader>;

impl<'f> Serializer for Target<'f> {
    type Ok = ();
    type Error = NotAHeader;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Self;
    type SerializeStructVariant = Never;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NotAHeader> {
        Ok(self)
    }

    fn serialize_bool(self, value: bool) -> Result<(), NotAHeader> {
        self.display(value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), NotAHeader> {
        self.display(value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), NotAHeader> {
        self.display(value)
    }

    fn serialize_str(self, value: &str) -> Result<(), NotAHeader> {
        self.fields.push(self.name, value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), NotAHeader> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotAHeader> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), NotAHeader> {
        self.serialize_str(name)
    }

    fn serialize_i8(self, _: i8) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_i16(self, _: i16) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_u8(self, _: u8) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_u16(self, _: u16) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_u32(self, _: u32) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_u64(self, _: u64) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_f32(self, _: f32) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_f64(self, _: f64) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_char(self, _: char) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_unit(self) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Never, NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_tuple(self, _: usize) -> Result<Never, NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Never, NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Never, NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Never, NotAHeader> {
        Err(NotAHeader)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Never, NotAHeader> {
        Err(NotAHeader)
    }
}
