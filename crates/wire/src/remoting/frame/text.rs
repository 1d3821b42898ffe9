//! The JSON form of a header: one object, with the fields as an object of strings inside.

use super::{Command, FrameError, HeaderForm, blank, check_field};
use crate::remoting::fields::Fields;
use crate::remoting::json::{JsonError, Kind, Scanner, put_string};
use crate::remoting::language;
use bytes::{BufMut, BytesMut};
use std::fmt::Write;

pub(super) fn decode(header: &[u8]) -> Result<Command, FrameError> {
    let text = std::str::from_utf8(header).map_err(|error| FrameError::Utf8 { at: error.valid_up_to() })?;
    let mut command = blank(HeaderForm::Json, header.len());
    let mut scanner = Scanner::new(text);
    scanner.expect(b'{')?;
    let mut first = true;
    while scanner.next(first, b'}')? {
        member(&mut scanner, &mut command)?;
        first = false;
    }
    scanner.finish()?;
    Ok(command)
}

/// Takes one member of the header. Keys that mean nothing here are skipped.
fn member(scanner: &mut Scanner<'_>, command: &mut Command) -> Result<(), FrameError> {
    // The key stands in the buffer of the fields only while it is looked at.
    let scratch = command.fields.text_mut();
    let start = scratch.len();
    scanner.string(scratch)?;
    scanner.expect(b':')?;
    let key = match &scratch[start..] {
        "code" => Key::Code,
        "language" => Key::Language,
        "version" => Key::Version,
        "opaque" => Key::Opaque,
        "flag" => Key::Flag,
        "remark" => Key::Remark,
        "extFields" => Key::Fields,
        _ => Key::Other,
    };
    scratch.truncate(start);
    match (key, scanner.kind()?) {
        (Key::Other, _) | (_, Kind::Null) => scanner.skip(1)?,
        (Key::Code, _) => command.code = scanner.integer()?,
        (Key::Version, _) => command.version = scanner.integer()?,
        (Key::Opaque, _) => command.opaque = scanner.integer()?,
        (Key::Flag, _) => command.flag = scanner.integer()?,
        (Key::Language, kind) => command.language = language(scanner, kind)?,
        (Key::Remark, _) => {
            let mut remark = String::new();
            scanner.string(&mut remark)?;
            command.remark = Some(remark);
        }
        (Key::Fields, _) => fields(scanner, &mut command.fields)?,
    }
    Ok(())
}

enum Key {
    Code,
    Language,
    Version,
    Opaque,
    Flag,
    Remark,
    Fields,
    Other,
}

/// A name; some clients send the number.
fn language(scanner: &mut Scanner<'_>, kind: Kind) -> Result<u8, FrameError> {
    if kind == Kind::Plain {
        return Ok(u8::try_from(scanner.integer()?).unwrap_or(language::OTHER));
    }
    let mut name = String::new();
    scanner.string(&mut name)?;
    Ok(language::number(&name))
}

fn fields(scanner: &mut Scanner<'_>, fields: &mut Fields) -> Result<(), FrameError> {
    scanner.expect(b'{')?;
    let mut first = true;
    while scanner.next(first, b'}')? {
        field(scanner, fields)?;
        first = false;
    }
    Ok(())
}

/// A value is a string. A number, `true` or `false` counts as its text, `null` as no field.
fn field(scanner: &mut Scanner<'_>, fields: &mut Fields) -> Result<(), FrameError> {
    let start = fields.text_mut().len();
    scanner.string(fields.text_mut())?;
    scanner.expect(b':')?;
    let name_end = fields.text_mut().len();
    check_field(fields, name_end - start)?;
    match scanner.kind()? {
        Kind::String => scanner.string(fields.text_mut())?,
        Kind::Plain => fields.text_mut().push_str(scanner.plain()?),
        Kind::Null => {
            scanner.plain()?;
            fields.text_mut().truncate(start);
            return Ok(());
        }
        Kind::Object | Kind::Array => return Err(FrameError::Json(JsonError::Unexpected { at: scanner.at() })),
    }
    fields.close(start, name_end);
    Ok(())
}

pub(super) fn encode(command: &Command, out: &mut BytesMut) {
    number(b"{\"code\":", command.code, out);
    if !command.fields.is_empty() {
        out.put_slice(b",\"extFields\":");
        for (at, (name, value)) in command.fields.iter().enumerate() {
            out.put_u8(if at == 0 { b'{' } else { b',' });
            put_string(name, out);
            out.put_u8(b':');
            put_string(value, out);
        }
        out.put_u8(b'}');
    }
    number(b",\"flag\":", command.flag, out);
    out.put_slice(b",\"language\":");
    put_string(language::name(command.language), out);
    number(b",\"opaque\":", command.opaque, out);
    if let Some(remark) = &command.remark {
        out.put_slice(b",\"remark\":");
        put_string(remark, out);
    }
    // Java's own writes the form once more.
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\"");
    number(b",\"version\":", command.version, out);
    out.put_u8(b'}');
}

fn number(key: &[u8], value: i32, out: &mut BytesMut) {
    out.put_slice(key);
    // Memory does not fail to take a few digits.
    let _ = write!(out, "{value}");
}
