//! Tokens of an SQL92 expression. Borrows the text; never looks further than one token. Called by the parser.

use super::super::FilterError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Comma,
    Open,
    Close,
    Identifier(&'a str),
    /// Digits, with an `l` or `L` after them or without.
    Integer(&'a str),
    Float(&'a str),
    /// What stands between the quotes, quotes inside still doubled.
    Text(&'a str),
    End,
}

const KEYWORDS: [(&str, Token<'static>); 12] = [
    ("NOT", Token::Not),
    ("AND", Token::And),
    ("OR", Token::Or),
    ("BETWEEN", Token::Between),
    ("IN", Token::In),
    ("TRUE", Token::True),
    ("FALSE", Token::False),
    ("NULL", Token::Null),
    ("IS", Token::Is),
    ("CONTAINS", Token::Contains),
    ("STARTSWITH", Token::StartsWith),
    ("ENDSWITH", Token::EndsWith),
];

/// Longer ones before those they begin with.
const SYMBOLS: [(&str, Token<'static>); 11] = [
    ("<>", Token::NotEqual),
    ("<=", Token::LessOrEqual),
    (">=", Token::GreaterOrEqual),
    ("<", Token::Less),
    (">", Token::Greater),
    ("=", Token::Equal),
    ("+", Token::Plus),
    ("-", Token::Minus),
    (",", Token::Comma),
    ("(", Token::Open),
    (")", Token::Close),
];

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// The next token with where it begins. After the end there are only ends.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'a>), FilterError> {
        self.skip_blanks()?;
        let at = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok((at, Token::End)) };
        let token = match first {
            '\'' => self.text()?,
            '0'..='9' | '.' => self.number()?,
            'a'..='z' | 'A'..='Z' | '_' | '$' => self.word(),
            _ => self.symbol(first)?,
        };
        Ok((at, token))
    }

    /// The text from a place on.
    pub(super) fn from(&self, at: usize) -> &'a str {
        &self.text[at..]
    }

    fn rest(&self) -> &'a str {
        self.from(self.at)
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = &self.rest()[..bytes];
        self.at += bytes;
        taken
    }

    /// Blanks and comments.
    fn skip_blanks(&mut self) -> Result<(), FilterError> {
        loop {
            let rest = self.rest();
            let skipped = if let Some(comment) = rest.strip_prefix("/*") {
                let end = comment.find("*/").ok_or(FilterError::UnterminatedComment { at: self.at })?;
                end + 4
            } else if rest.starts_with("--") {
                // Without a line end it is no comment: `--5` at the end of an expression is five.
                rest.find(['\n', '\r']).unwrap_or(0)
            } else {
                rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']).len()
            };
            if skipped == 0 {
                return Ok(());
            }
            self.at += skipped;
        }
    }

    fn text(&mut self) -> Result<Token<'a>, FilterError> {
        let bytes = self.rest().as_bytes();
        let mut end = 1;
        loop {
            match (bytes.get(end), bytes.get(end + 1)) {
                (None, _) => return Err(FilterError::UnterminatedText { at: self.at }),
                (Some(b'\''), Some(b'\'')) => end += 2,
                (Some(b'\''), _) => break,
                _ => end += 1,
            }
        }
        Ok(Token::Text(&self.take(end + 1)[1..end]))
    }

    /// As in Java without hexadecimal and octal numbers: a zero stands alone, so that `01` is two numbers.
    fn number(&mut self) -> Result<Token<'a>, FilterError> {
        let rest = self.rest();
        let whole = digits(rest);
        if rest[whole..].starts_with('.') {
            let fraction = digits(&rest[whole + 1..]);
            if whole + fraction == 0 {
                return Err(FilterError::UnexpectedCharacter { at: self.at, found: '.' });
            }
            let end = whole + 1 + fraction;
            return Ok(Token::Float(self.take(end + exponent(&rest[end..]))));
        }
        match exponent(&rest[whole..]) {
            0 if rest.starts_with('0') => Ok(Token::Integer(self.take(1))),
            0 => Ok(Token::Integer(self.take(whole + usize::from(rest[whole..].starts_with(['l', 'L']))))),
            exponent => Ok(Token::Float(self.take(whole + exponent))),
        }
    }

    fn word(&mut self) -> Token<'a> {
        let rest = self.rest();
        let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '$');
        let word = self.take(rest.find(|character| !is_part(character)).unwrap_or(rest.len()));
        let keyword = KEYWORDS.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(word));
        keyword.map_or(Token::Identifier(word), |(_, token)| *token)
    }

    fn symbol(&mut self, found: char) -> Result<Token<'a>, FilterError> {
        let symbol = SYMBOLS.iter().find(|(symbol, _)| self.rest().starts_with(symbol));
        let (symbol, token) = symbol.ok_or(FilterError::UnexpectedCharacter { at: self.at, found })?;
        self.at += symbol.len();
        Ok(*token)
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Bytes of the exponent that a text begins with; 0 for none.
fn exponent(text: &str) -> usize {
    let Some(after) = text.strip_prefix(['e', 'E']) else { return 0 };
    let sign = usize::from(after.starts_with(['+', '-']));
    match digits(&after[sign..]) {
        0 => 0,
        digits => 1 + sign + digits,
    }
}
