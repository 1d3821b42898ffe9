//! The binary form of a header.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | code; the request codes above 32767 lose their upper half |
//! | 1 | language |
//! | 2 | version |
//! | 4 | opaque |
//! | 4 | flag |
//! | 4 + n | length of the remark, the remark in UTF-8 |
//! | 4 | bytes of all fields |
//! | … | each field: length (2), name, length (4), value, in UTF-8 |

use super::{Command, FLAG_RESPONSE, FrameError, HeaderForm, blank, check_field};
use crate::remoting::code;
use crate::remoting::fields::Fields;
use bytes::{BufMut, BytesMut};

pub(super) fn decode(header: &[u8]) -> Result<Command, FrameError> {
    let mut reader = Reader { header, at: 0 };
    let mut command = blank(HeaderForm::Binary, header.len());
    let code = i16::from_be_bytes(reader.array()?);
    [command.language] = reader.array()?;
    command.version = i32::from(i16::from_be_bytes(reader.array()?));
    command.opaque = reader.i32()?;
    command.flag = reader.i32()?;
    command.code = if command.flag & FLAG_RESPONSE == 0 { code::widened(code) } else { i32::from(code) };
    let remark_bytes = reader.i32()?;
    let remark = reader.text(remark_bytes)?;
    command.remark = (!remark.is_empty()).then(|| remark.to_owned());
    let field_bytes = reader.i32()?;
    let end = reader.end_of(field_bytes)?;
    // Nothing follows the fields in any release; what would is not looked at.
    reader.header = &header[..end];
    while reader.at < end {
        field(&mut reader, &mut command.fields)?;
    }
    Ok(command)
}

fn field(reader: &mut Reader<'_>, fields: &mut Fields) -> Result<(), FrameError> {
    let name_bytes = i32::from(i16::from_be_bytes(reader.array()?));
    let name = reader.text(name_bytes)?;
    check_field(fields, name.len())?;
    let value_bytes = reader.i32()?;
    fields.push(name, reader.text(value_bytes)?);
    Ok(())
}

/// Takes values off the front of a header.
struct Reader<'a> {
    header: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let bytes = self.header[self.at..].first_chunk().ok_or(FrameError::HeaderEnds { at: self.header.len() })?;
        self.at += N;
        Ok(*bytes)
    }

    fn i32(&mut self) -> Result<i32, FrameError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Where something of a length that was just read ends.
    fn end_of(&self, length: i32) -> Result<usize, FrameError> {
        let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= self.header.len() - self.at);
        bytes.map(|bytes| self.at + bytes).ok_or(FrameError::BadLength { length, at: self.at })
    }

    fn text(&mut self, length: i32) -> Result<&'a str, FrameError> {
        let end = self.end_of(length)?;
        let start = std::mem::replace(&mut self.at, end);
        std::str::from_utf8(&self.header[start..end]).map_err(|error| FrameError::Utf8 { at: start + error.valid_up_to() })
    }
}

pub(super) fn encode(command: &Command, out: &mut BytesMut) {
    // Narrowed as the form demands: upper halves of request codes are restored by `code::widened`.
    out.put_i16(command.code as i16);
    out.put_u8(command.language);
    out.put_i16(command.version as i16);
    out.put_i32(command.opaque);
    out.put_i32(command.flag);
    put_text(command.remark.as_deref().unwrap_or_default(), out);
    let start = out.len();
    out.put_i32(0);
    for (name, value) in command.fields.iter() {
        out.put_i16(name.len() as i16);
        out.put_slice(name.as_bytes());
        put_text(value, out);
    }
    let bytes = out.len() - start - 4;
    out[start..start + 4].copy_from_slice(&(bytes as i32).to_be_bytes());
}

fn put_text(text: &str, out: &mut BytesMut) {
    out.put_i32(text.len() as i32);
    out.put_slice(text.as_bytes());
}
