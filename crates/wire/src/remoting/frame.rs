//! One frame: a request, or the answer to one, with its header in either form.
//!
//! The form belongs to each frame, not to the connection: an answer is written in the form of its request. A decoded frame
//! copies its header's text once; the body stays a view of the bytes that arrived.

mod binary;
mod text;

use super::fields::Fields;
use super::json::JsonError;
use super::language;
use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Bytes of the length that precedes a frame.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of the word with the header's form and length.
const HEADER_WORD_BYTES: usize = 4;
/// A header at most: the properties of a message (32 KiB) with every byte escaped fit several times.
pub const HEADER_BYTES_LIMIT: usize = 1 << 20;
/// Fields of a header at most.
pub const FIELDS_LIMIT: usize = 512;
/// Bytes of a field's name at most: what the binary form can express.
pub const NAME_BYTES_LIMIT: usize = i16::MAX as usize;
/// The release that this server says it is (5.5.0): clients use a feature only if the broker's version has it.
pub const SERVER_VERSION: i32 = 513;
/// The frame is an answer.
pub const FLAG_RESPONSE: i32 = 1;
/// No answer to this request may be sent.
pub const FLAG_ONE_WAY: i32 = 2;

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderForm {
    Json,
    Binary,
}

/// Why bytes are not a frame. The connection is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes, where {limit} are allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("a frame of {bytes} bytes has no room for a header")]
    TooSmall { bytes: usize },
    #[error("a header of form {form}")]
    UnknownForm { form: u8 },
    #[error("a header of {bytes} bytes in a frame that has {available} left")]
    BadHeaderLength { bytes: usize, available: usize },
    #[error("a header of {bytes} bytes, where {limit} are allowed")]
    HeaderTooLarge { bytes: usize, limit: usize },
    #[error("text that is not UTF-8 at byte {at} of the header")]
    Utf8 { at: usize },
    #[error("a JSON header with {0}")]
    Json(#[from] JsonError),
    #[error("a length of {length} at byte {at} of the header")]
    BadLength { length: i32, at: usize },
    #[error("the header ends at byte {at}, inside a value")]
    HeaderEnds { at: usize },
    #[error("more than {limit} fields")]
    TooManyFields { limit: usize },
    #[error("a field's name of {bytes} bytes, where {limit} are allowed")]
    NameTooLong { bytes: usize, limit: usize },
}

/// A request or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The kind of request, or the outcome in an answer.
    pub code: i32,
    pub language: u8,
    /// The sender's release, as its ordinal.
    pub version: i32,
    /// Ties an answer to its request on one connection. Either side counts its own requests.
    pub opaque: i32,
    pub flag: i32,
    /// An explanation for people.
    pub remark: Option<String>,
    pub fields: Fields,
    pub form: HeaderForm,
    pub body: Bytes,
}

impl Command {
    /// A request without fields and body, as a server of this release makes it. A client of ours sets `language`.
    pub fn request(code: i32, opaque: i32, form: HeaderForm) -> Self {
        Self {
            code,
            language: language::JAVA,
            version: SERVER_VERSION,
            opaque,
            flag: 0,
            remark: None,
            fields: Fields::new(),
            form,
            body: Bytes::new(),
        }
    }

    /// The same request, but nobody waits for an answer.
    pub fn one_way(mut self) -> Self {
        self.flag |= FLAG_ONE_WAY;
        self
    }

    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// An answer to this request without fields and body, in the same form.
    pub fn answer(&self, code: i32) -> Self {
        Self { flag: FLAG_RESPONSE, ..Self::request(code, self.opaque, self.form) }
    }

    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    pub fn is_one_way(&self) -> bool {
        self.flag & FLAG_ONE_WAY != 0
    }

    /// Reads a frame without its length.
    pub fn decode(frame: Bytes) -> Result<Self, FrameError> {
        let Some((word, rest)) = frame.split_first_chunk::<HEADER_WORD_BYTES>() else {
            return Err(FrameError::TooSmall { bytes: frame.len() });
        };
        let [form, length @ ..] = *word;
        let form = match form {
            0 => HeaderForm::Json,
            1 => HeaderForm::Binary,
            _ => return Err(FrameError::UnknownForm { form }),
        };
        let bytes = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        let header = rest.get(..bytes).ok_or(FrameError::BadHeaderLength { bytes, available: rest.len() })?;
        if bytes > HEADER_BYTES_LIMIT {
            return Err(FrameError::HeaderTooLarge { bytes, limit: HEADER_BYTES_LIMIT });
        }
        let mut command = match form {
            HeaderForm::Json => text::decode(header)?,
            HeaderForm::Binary => binary::decode(header)?,
        };
        command.body = frame.slice(HEADER_WORD_BYTES + bytes..);
        Ok(command)
    }

    /// Appends the frame with its length. What a server sends is far below the 16 MiB that a header and the 2 GiB that a frame
    /// can be.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(self.body.len(), out);
        out.put_slice(&self.body);
    }

    /// Appends everything but the body, for one of `body_bytes` that its owner writes right behind.
    pub fn encode_head(&self, body_bytes: usize, out: &mut BytesMut) {
        let start = out.len();
        out.put_bytes(0, LENGTH_BYTES + HEADER_WORD_BYTES);
        let form = match self.form {
            HeaderForm::Json => {
                text::encode(self, out);
                0
            }
            HeaderForm::Binary => {
                binary::encode(self, out);
                1
            }
        };
        let header_bytes = out.len() - start - LENGTH_BYTES - HEADER_WORD_BYTES;
        assert!(header_bytes < 1 << 24, "a header of {header_bytes} bytes");
        let total = i32::try_from(HEADER_WORD_BYTES + header_bytes + body_bytes).expect("a frame below 2 GiB");
        let [_, length @ ..] = (header_bytes as u32).to_be_bytes();
        out[start..start + LENGTH_BYTES].copy_from_slice(&total.to_be_bytes());
        out[start + LENGTH_BYTES] = form;
        out[start + LENGTH_BYTES + 1..start + LENGTH_BYTES + HEADER_WORD_BYTES].copy_from_slice(&length);
    }
}

/// How many bytes follow a frame's length.
pub fn frame_length(word: [u8; LENGTH_BYTES], limit: usize) -> Result<usize, FrameError> {
    let bytes = u32::from_be_bytes(word) as usize;
    if bytes > limit {
        return Err(FrameError::TooLarge { bytes, limit });
    }
    if bytes < HEADER_WORD_BYTES {
        return Err(FrameError::TooSmall { bytes });
    }
    Ok(bytes)
}

/// Checks a name and the number of fields before one more is added.
fn check_field(fields: &Fields, name_bytes: usize) -> Result<(), FrameError> {
    if fields.len() >= FIELDS_LIMIT {
        return Err(FrameError::TooManyFields { limit: FIELDS_LIMIT });
    }
    if name_bytes > NAME_BYTES_LIMIT {
        return Err(FrameError::NameTooLong { bytes: name_bytes, limit: NAME_BYTES_LIMIT });
    }
    Ok(())
}

/// Fields that most headers have at most; more cost another allocation.
const USUAL_FIELDS: usize = 20;

/// Where a header is decoded into.
fn blank(form: HeaderForm, header_bytes: usize) -> Command {
    let fields = Fields::with_capacity(header_bytes, USUAL_FIELDS);
    Command { version: 0, fields, ..Command::request(0, 0, form) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(header: &str, body: &[u8]) -> Bytes {
        let mut frame = (header.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(body);
        frame.into()
    }

    fn decode_json(header: &str) -> Result<Command, FrameError> {
        Command::decode(json(header, b""))
    }

    #[test]
    fn a_json_header_is_read_leniently() {
        let header = concat!(
            r#" { "code" : 310, "extFields":{"a":"g\u0001","b":null,"d":4,"k":true,"topic":"é"},"flag":2,"later":[{"x":[1]}],"#,
            r#" "language":"GO","opaque":-7,"remark":"so","serializeTypeCurrentRPC":"JSON","version":401 } "#
        );
        let command = Command::decode(json(header, b"body")).unwrap();
        assert_eq!((command.code, command.flag, command.opaque, command.version), (310, 2, -7, 401));
        assert_eq!((command.language, command.remark.as_deref(), &command.body[..]), (language::GO, Some("so"), &b"body"[..]));
        assert_eq!(command.fields, Fields::from_iter([("a", "g\u{1}"), ("d", "4"), ("k", "true"), ("topic", "é")]));
        assert!(command.is_one_way() && !command.is_response());
    }

    #[test]
    fn what_a_json_header_leaves_out_is_zero() {
        let command = decode_json("{}").unwrap();
        assert_eq!((command.code, command.flag, command.opaque, command.version), (0, 0, 0, 0));
        assert_eq!((command.remark, command.fields.len()), (None, 0));
        assert_eq!(decode_json(r#"{"remark":null,"extFields":null,"language":null}"#).unwrap().remark, None);
        assert_eq!(decode_json(r#"{"language":9}"#).unwrap().language, language::GO);
        assert_eq!(decode_json(r#"{"language":900}"#).unwrap().language, language::OTHER);
    }

    #[test]
    fn bad_json_headers_are_errors() {
        let unexpected =
            ["{}x", "[]", r#"{"code":1.}"#, r#"{"extFields":{"a":{}}}"#, r#"{"extFields":{"a":[1]}}"#, r#"{"extFields":[]}"#];
        for header in unexpected {
            assert!(matches!(decode_json(header), Err(FrameError::Json(JsonError::Unexpected { .. }))), "{header}");
        }
        for header in [r#"{"code":1.5}"#, r#"{"code":true}"#, r#"{"opaque":2147483648}"#] {
            assert!(matches!(decode_json(header), Err(FrameError::Json(JsonError::Integer { .. }))), "{header}");
        }
        for header in ["", "{", r#"{"code"#, r#"{"extFields":{"a":"b"#] {
            assert!(matches!(decode_json(header), Err(FrameError::Json(JsonError::End { .. }))), "{header}");
        }
        let deep = format!("{{\"x\":{}", "[".repeat(100));
        assert!(matches!(decode_json(&deep), Err(FrameError::Json(JsonError::TooDeep { .. }))));
    }

    #[test]
    fn text_must_be_utf8() {
        let mut cut = json("{\"remark\":\"é\"}", b"").to_vec();
        cut.truncate(4 + "{\"remark\":\"".len() + 1);
        cut[3] = (cut.len() - 4) as u8;
        assert_eq!(Command::decode(cut.into()), Err(FrameError::Utf8 { at: 11 }));
    }

    #[test]
    fn fields_and_their_names_are_bounded() {
        let many = |count: usize| {
            let fields: Vec<_> = (0..count).map(|number| format!("\"{number}\":\"\"")).collect();
            decode_json(&format!("{{\"extFields\":{{{}}}}}", fields.join(",")))
        };
        assert_eq!(many(FIELDS_LIMIT).unwrap().fields.len(), FIELDS_LIMIT);
        assert_eq!(many(FIELDS_LIMIT + 1), Err(FrameError::TooManyFields { limit: FIELDS_LIMIT }));
        let name = "n".repeat(NAME_BYTES_LIMIT + 1);
        let error = FrameError::NameTooLong { bytes: NAME_BYTES_LIMIT + 1, limit: NAME_BYTES_LIMIT };
        assert_eq!(decode_json(&format!("{{\"extFields\":{{\"{name}\":\"\"}}}}")), Err(error));
    }

    #[test]
    fn the_header_stays_inside_the_frame_and_its_limit() {
        assert_eq!(Command::decode(Bytes::from_static(b"\0\0\0")), Err(FrameError::TooSmall { bytes: 3 }));
        assert_eq!(Command::decode(Bytes::from_static(b"\x02\0\0\0")), Err(FrameError::UnknownForm { form: 2 }));
        let beyond = FrameError::BadHeaderLength { bytes: 0xff_ffff, available: 2 };
        assert_eq!(Command::decode(Bytes::from_static(b"\0\xff\xff\xff{}")), Err(beyond));
        let bytes = HEADER_BYTES_LIMIT + 1;
        let large = json(&" ".repeat(bytes), b"");
        assert_eq!(Command::decode(large), Err(FrameError::HeaderTooLarge { bytes, limit: HEADER_BYTES_LIMIT }));
    }

    #[test]
    fn the_length_of_a_frame_is_bounded() {
        assert_eq!(frame_length(100u32.to_be_bytes(), 100), Ok(100));
        assert_eq!(frame_length(101u32.to_be_bytes(), 100), Err(FrameError::TooLarge { bytes: 101, limit: 100 }));
        assert_eq!(frame_length([0xff; 4], 100), Err(FrameError::TooLarge { bytes: 0xffff_ffff, limit: 100 }));
        assert_eq!(frame_length([0, 0, 0, 3], 100), Err(FrameError::TooSmall { bytes: 3 }));
    }

    #[test]
    fn an_answer_belongs_to_its_request() {
        for form in [HeaderForm::Json, HeaderForm::Binary] {
            let request = Command::request(105, 77, form).one_way();
            let answer = request.answer(17).with_remark("no such topic");
            assert_eq!((answer.opaque, answer.form, answer.code, answer.version), (77, form, 17, SERVER_VERSION));
            assert!(answer.is_response() && !answer.is_one_way() && request.is_one_way());
        }
    }
}
