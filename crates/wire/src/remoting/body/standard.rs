//! Turns what RocketMQ calls JSON into JSON: maps with objects as keys become arrays of pairs, bare numbers as keys get quotes,
//! and members that are `null` are left out, because their defaults are meant.

use super::{BODY_VALUES_LIMIT, BodyError};
use crate::remoting::json::{JsonError, Kind, Scanner, deeper};

pub(super) fn standard(text: &str) -> Result<String, BodyError> {
    let mut rewriter = Rewriter { scanner: Scanner::new(text), out: String::with_capacity(text.len()), values: 0 };
    rewriter.value(0)?;
    rewriter.scanner.finish()?;
    Ok(rewriter.out)
}

struct Rewriter<'a> {
    scanner: Scanner<'a>,
    out: String,
    /// How many values there were.
    values: usize,
}

impl Rewriter<'_> {
    /// Copies one value that stands `depth` levels deep, and says whether it was `null`.
    fn value(&mut self, depth: usize) -> Result<Kind, BodyError> {
        self.values += 1;
        if self.values > BODY_VALUES_LIMIT {
            return Err(BodyError::TooManyValues { limit: BODY_VALUES_LIMIT });
        }
        let kind = self.scanner.kind()?;
        match kind {
            Kind::Object => self.object(deeper(depth)?)?,
            Kind::Array => self.array(deeper(depth)?)?,
            Kind::String => self.out.push_str(self.scanner.raw_string()?),
            Kind::Null | Kind::Plain => self.out.push_str(self.scanner.plain()?),
        }
        Ok(kind)
    }

    fn array(&mut self, depth: usize) -> Result<(), BodyError> {
        self.scanner.expect(b'[')?;
        self.out.push('[');
        self.members(b']', |rewriter| rewriter.value(depth))?;
        self.out.push(']');
        Ok(())
    }

    /// What the first key begins as decides which kind of map it is.
    fn object(&mut self, depth: usize) -> Result<(), BodyError> {
        self.scanner.expect(b'{')?;
        if self.scanner.peek()? == b'{' {
            self.out.push('[');
            self.members(b'}', |rewriter| rewriter.pair(depth))?;
            self.out.push(']');
        } else {
            self.out.push('{');
            self.members(b'}', |rewriter| rewriter.member(depth))?;
            self.out.push('}');
        }
        Ok(())
    }

    /// Copies members up to `close`, separated by commas, without those that are `null`.
    fn members(&mut self, close: u8, mut one: impl FnMut(&mut Self) -> Result<Kind, BodyError>) -> Result<(), BodyError> {
        let (mut first, mut empty) = (true, true);
        while self.scanner.next(first, close)? {
            first = false;
            let start = self.out.len();
            if !empty {
                self.out.push(',');
            }
            if one(self)? == Kind::Null {
                self.out.truncate(start);
            } else {
                empty = false;
            }
        }
        Ok(())
    }

    /// A member of a map with plain keys.
    fn member(&mut self, depth: usize) -> Result<Kind, BodyError> {
        match self.scanner.kind()? {
            Kind::String => self.out.push_str(self.scanner.raw_string()?),
            Kind::Plain => {
                self.out.push('"');
                self.out.push_str(self.scanner.plain()?);
                self.out.push('"');
            }
            _ => return Err(JsonError::Unexpected { at: self.scanner.at() }.into()),
        }
        self.scanner.expect(b':')?;
        self.out.push(':');
        self.value(depth)
    }

    /// A member of a map with objects as keys.
    fn pair(&mut self, depth: usize) -> Result<Kind, BodyError> {
        if self.scanner.kind()? != Kind::Object {
            return Err(JsonError::Unexpected { at: self.scanner.at() }.into());
        }
        let depth = deeper(depth)?;
        self.out.push('[');
        self.value(depth)?;
        self.scanner.expect(b':')?;
        self.out.push(',');
        let kind = self.value(depth)?;
        self.out.push(']');
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_becomes_json() {
        for (text, expected) in [
            (r#"{"a":{0:"x",-1 : "y"}}"#, r#"{"a":{"0":"x","-1":"y"}}"#),
            (r#"{ {"q":1}:2 , {"q":3}:{"v":[]} }"#, r#"[[{"q":1},2],[{"q":3},{"v":[]}]]"#),
            (r#"{{"q":1}:null,{"q":2}:1,{"q":3}:null}"#, r#"[[{"q":2},1]]"#),
            (r#"{"a":null,"b":[null,1,null],"c":null}"#, r#"{"b":[1]}"#),
            (r#" [ "\"\u0001" , true ] "#, r#"["\"\u0001",true]"#),
        ] {
            assert_eq!(standard(text).unwrap(), expected);
        }
    }

    #[test]
    fn keys_are_of_one_kind() {
        for text in
            [r#"{{"q":1}:2,"a":3}"#, r#"{"a":3,{"q":1}:2}"#, r#"{[1]:2}"#, r#"{null:1}"#, r#"{{}}"#, r#"{{}:}"#, r#"{a:1}"#]
        {
            assert!(matches!(standard(text), Err(BodyError::Json(JsonError::Unexpected { .. }))), "{text}");
        }
    }

    #[test]
    fn values_are_counted_and_depth_is_bounded() {
        let list = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(standard(&list(BODY_VALUES_LIMIT - 1)).is_ok());
        assert!(matches!(standard(&list(BODY_VALUES_LIMIT)), Err(BodyError::TooManyValues { .. })));
        for open in ["[", "{", "{\"a\":"] {
            assert!(matches!(standard(&open.repeat(50_000)), Err(BodyError::Json(JsonError::TooDeep { .. }))), "{open}");
        }
    }
}
