//! A small scanner of JSON text, for headers and for the bodies that are not quite JSON.
//!
//! Strict about structure, lenient about control characters inside strings, which old clients leave as they are.

use thiserror::Error;

/// Objects and arrays inside each other at most.
pub const JSON_DEPTH_LIMIT: usize = 32;

/// Text that is not JSON, or not what was expected there. `at` counts bytes from the beginning of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JsonError {
    #[error("unexpected text at byte {at}")]
    Unexpected { at: usize },
    #[error("the text ends early, at byte {at}")]
    End { at: usize },
    #[error("a bad escape at byte {at}")]
    Escape { at: usize },
    #[error("not an integer of the expected width at byte {at}")]
    Integer { at: usize },
    #[error("more than {limit} levels deep")]
    TooDeep { limit: usize },
}

/// What a value begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Null,
    /// A number, `true` or `false`.
    Plain,
}

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The text from a position up to here. Both are ends of tokens.
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The next byte that is not blank, which stays.
    pub(super) fn peek(&mut self) -> Result<u8, JsonError> {
        let rest = &self.text.as_bytes()[self.at..];
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += blanks;
        rest.get(blanks).copied().ok_or(JsonError::End { at: self.at })
    }

    /// Takes one byte of punctuation.
    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), JsonError> {
        if self.peek()? != wanted {
            return Err(JsonError::Unexpected { at: self.at });
        }
        self.at += 1;
        Ok(())
    }

    /// Stands the scanner before the next member of an object or element of an array; `false` after the last, when `close`
    /// has been taken.
    pub(super) fn next(&mut self, first: bool, close: u8) -> Result<bool, JsonError> {
        match self.peek()? {
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            b',' if !first => {
                self.at += 1;
                if self.peek()? == close { Err(JsonError::Unexpected { at: self.at }) } else { Ok(true) }
            }
            _ if first => Ok(true),
            _ => Err(JsonError::Unexpected { at: self.at }),
        }
    }

    /// Nothing but blanks may follow.
    pub(super) fn finish(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(JsonError::Unexpected { at: self.at }),
        }
    }

    pub(super) fn kind(&mut self) -> Result<Kind, JsonError> {
        match self.peek()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'n' => Ok(Kind::Null),
            b't' | b'f' | b'-' | b'0'..=b'9' => Ok(Kind::Plain),
            _ => Err(JsonError::Unexpected { at: self.at }),
        }
    }

    /// Takes a number, `true`, `false` or `null` and gives its text.
    pub(super) fn plain(&mut self) -> Result<&'a str, JsonError> {
        self.peek()?;
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')).count();
        let token = self.since(start);
        if matches!(token, "true" | "false" | "null") || is_number(token) {
            Ok(token)
        } else {
            Err(JsonError::Unexpected { at: start })
        }
    }

    pub(super) fn integer(&mut self) -> Result<i32, JsonError> {
        let token = self.plain()?;
        token.parse().map_err(|_| JsonError::Integer { at: self.at - token.len() })
    }

    /// Takes a string and appends its meaning to `out`.
    pub(super) fn string(&mut self, out: &mut String) -> Result<(), JsonError> {
        self.expect(b'"')?;
        loop {
            let start = self.at;
            let stop = self.run()?;
            out.push_str(self.since(start));
            self.at += 1;
            if stop == b'"' {
                return Ok(());
            }
            out.push(self.escape()?);
        }
    }

    /// Takes a string and gives its text as it stands, quotes and escapes included.
    pub(super) fn raw_string(&mut self) -> Result<&'a str, JsonError> {
        self.peek()?;
        let start = self.at;
        self.expect(b'"')?;
        loop {
            let stop = self.run()?;
            self.at += 1;
            if stop == b'"' {
                return Ok(self.since(start));
            }
            self.escape()?;
        }
    }

    /// Takes a whole value of any kind. `depth` is how many objects and arrays stand around it.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), JsonError> {
        match self.kind()? {
            Kind::String => self.raw_string().map(drop),
            Kind::Null | Kind::Plain => self.plain().map(drop),
            Kind::Object => self.skip_object(deeper(depth)?),
            Kind::Array => self.skip_array(deeper(depth)?),
        }
    }

    fn skip_object(&mut self, depth: usize) -> Result<(), JsonError> {
        self.expect(b'{')?;
        let mut first = true;
        while self.next(first, b'}')? {
            self.raw_string()?;
            self.expect(b':')?;
            self.skip(depth)?;
            first = false;
        }
        Ok(())
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), JsonError> {
        self.expect(b'[')?;
        let mut first = true;
        while self.next(first, b']')? {
            self.skip(depth)?;
            first = false;
        }
        Ok(())
    }

    /// Moves to the next quote or backslash and gives it.
    fn run(&mut self) -> Result<u8, JsonError> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(JsonError::End { at: self.text.len() })?;
        self.at += length;
        Ok(rest[length])
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        let letter = *self.text.as_bytes().get(at).ok_or(JsonError::End { at })?;
        if letter == b'u' {
            self.at += 1;
            return self.unicode();
        }
        let meaning = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return Err(JsonError::Escape { at }),
        };
        self.at += 1;
        Ok(meaning)
    }

    /// Four hexadecimal digits, or two such escapes for a character beyond 16 bits. Half of a pair is an error.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.four_digits()?;
            let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or(JsonError::Escape { at })?;
            0x10000 + ((first - 0xd800) << 10) + low
        } else {
            first
        };
        char::from_u32(code).ok_or(JsonError::Escape { at })
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let at = self.at;
        let digits = self.text.as_bytes().get(at..at + 4).ok_or(JsonError::End { at })?;
        self.at += 4;
        digits.iter().try_fold(0, |code, digit| match char::from(*digit).to_digit(16) {
            Some(value) => Ok(code << 4 | value),
            None => Err(JsonError::Escape { at }),
        })
    }
}

/// One level more, if there may be one.
pub(super) fn deeper(depth: usize) -> Result<usize, JsonError> {
    if depth < JSON_DEPTH_LIMIT { Ok(depth + 1) } else { Err(JsonError::TooDeep { limit: JSON_DEPTH_LIMIT }) }
}

/// Whether text that begins as a number is one, by JSON's grammar.
fn is_number(token: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = token.strip_prefix('-').unwrap_or(token);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(left, right)| (left, Some(right)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(left, right)| (left, Some(right)));
    let exponent_digits = exponent.map(|text| text.strip_prefix(['-', '+']).unwrap_or(text));
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent_digits.is_none_or(digits)
}

/// Writes a string with its quotes, control characters as escapes.
pub(super) fn put_string(text: &str, out: &mut impl bytes::BufMut) {
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.put_slice(&rest[..at]);
        put_escape(rest[at], out);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

fn put_escape(byte: u8, out: &mut impl bytes::BufMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.put_slice(&[b'\\', byte]),
        _ => {
            out.put_slice(b"\\u00");
            out.put_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Result<String, JsonError> {
        let mut out = String::new();
        Scanner::new(text).string(&mut out).map(|()| out)
    }

    #[test]
    fn escapes_have_their_meaning() {
        assert_eq!(string(r#""a\"\\\/\b\f\n\r\t\u0001\u00e9\ud83d\ude00z""#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\t\u{1}é😀z");
        assert_eq!(string("\"raw \u{1} and é\"").unwrap(), "raw \u{1} and é");
    }

    #[test]
    fn bad_escapes_and_halves_of_pairs_are_errors() {
        for text in [r#""\x""#, r#""\u12g4""#, r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\u0041""#, r#""\ud83dx""#] {
            assert!(matches!(string(text), Err(JsonError::Escape { .. })), "{text}");
        }
        for text in [r#"""#, r#""\"#, r#""\u12"#, r#""abc\""#] {
            assert!(matches!(string(text), Err(JsonError::End { .. })), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let text: String = (0..300u32).filter_map(char::from_u32).chain(['😀']).collect();
        let mut out = Vec::new();
        put_string(&text, &mut out);
        assert!(out.iter().all(|byte| *byte >= 0x20));
        assert_eq!(string(std::str::from_utf8(&out).unwrap()).unwrap(), text);
    }

    #[test]
    fn skipping_goes_no_deeper_than_the_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(Scanner::new(&nested(JSON_DEPTH_LIMIT)).skip(0), Ok(()));
        let error = JsonError::TooDeep { limit: JSON_DEPTH_LIMIT };
        assert_eq!(Scanner::new(&nested(JSON_DEPTH_LIMIT + 1)).skip(0), Err(error));
        assert_eq!(Scanner::new(&nested(100_000)).skip(0), Err(error));
    }

    #[test]
    fn structure_is_strict() {
        for text in ["{,}", "{\"a\":1,}", "[1 2]", "[1,]", "{\"a\" 1}", "{a:1}", "tru", "01", "-", "1.", "1e", "+1", "nul", "{]"]
        {
            assert!(Scanner::new(text).skip(0).is_err(), "{text}");
        }
        for text in ["{}", "[]", " { \"a\" : [ 1 , -2.5e+3 , true , null , \"x\" ] } ", "0", "-0.5"] {
            let mut scanner = Scanner::new(text);
            assert_eq!(scanner.skip(0).and_then(|()| scanner.finish()), Ok(()), "{text}");
        }
    }
}
