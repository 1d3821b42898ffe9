//! Tokens to a [`Condition`]: recursive descent over RocketMQ's grammar, and everything that is refused before evaluation.
//!
//! Promises a bounded tree: nesting, and operators chained without parentheses, count against one depth.

use super::super::FilterError;
use super::evaluate::lies_below;
use super::expression::{Condition, Membership, Number, Operand, Order, Place, Range, Search};
use super::lexer::{Lexer, Token};

/// Parentheses, signs and `NOT`s inside one another, and comparisons of the results of comparisons.
pub const MAX_DEPTH: usize = 128;

/// Values of one `IN`.
pub const MAX_IN_VALUES: usize = 2048;

/// Parses the whole text. (RocketMQ ignores what follows the first complete expression, which hides mistakes.)
pub fn parse(text: &str) -> Result<Condition, FilterError> {
    let mut parser = Parser::new(text)?;
    let operand = parser.any()?;
    parser.end()?;
    condition(operand, text.len())
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token not yet consumed, and where it begins.
    token: Token<'a>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Parser<'a>, FilterError> {
        let mut lexer = Lexer::new(text);
        let (at, token) = lexer.next()?;
        Ok(Parser { lexer, token, at, depth: 0 })
    }

    fn advance(&mut self) -> Result<(), FilterError> {
        (self.at, self.token) = self.lexer.next()?;
        Ok(())
    }

    fn expect(&mut self, token: Token<'_>, expected: &'static str) -> Result<(), FilterError> {
        if self.token == token { self.advance() } else { Err(self.unexpected(expected)) }
    }

    fn unexpected(&self, expected: &'static str) -> FilterError {
        let found = match self.token {
            Token::End => "the end".to_owned(),
            token => format!("{token:?}"),
        };
        FilterError::UnexpectedToken { at: self.at, found, expected }
    }

    /// A comment on the last line has no line end, so that its dashes are read as two signs.
    fn end(&self) -> Result<(), FilterError> {
        if self.token == Token::End || self.lexer.from(self.at).starts_with("--") {
            return Ok(());
        }
        Err(self.unexpected("an operator or the end"))
    }

    fn deeper(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(FilterError::TooDeep { at: self.at, limit: MAX_DEPTH }) } else { Ok(()) }
    }

    /// Operands joined by `OR`.
    fn any(&mut self) -> Result<Operand, FilterError> {
        let first = self.all()?;
        if self.token != Token::Or {
            return Ok(first);
        }
        let mut conditions = vec![condition(first, self.at)?];
        while self.token == Token::Or {
            self.advance()?;
            let next = self.all()?;
            conditions.push(condition(next, self.at)?);
        }
        Ok(Condition::Any(conditions).into())
    }

    /// Operands joined by `AND`.
    fn all(&mut self) -> Result<Operand, FilterError> {
        let first = self.equality()?;
        if self.token != Token::And {
            return Ok(first);
        }
        let mut conditions = vec![condition(first, self.at)?];
        while self.token == Token::And {
            self.advance()?;
            let next = self.equality()?;
            conditions.push(condition(next, self.at)?);
        }
        Ok(Condition::All(conditions).into())
    }

    fn equality(&mut self) -> Result<Operand, FilterError> {
        let mut left = self.comparison()?;
        let mut first = true;
        while let Token::Equal | Token::NotEqual | Token::Is = self.token {
            self.link(&mut first)?;
            let (operator, at) = (self.token, self.at);
            self.advance()?;
            left = match operator {
                Token::Is => self.is_null(left)?,
                _ => negate_if(operator == Token::NotEqual, equal(left, self.comparison()?, at)?),
            }
            .into();
        }
        Ok(left)
    }

    /// Every operator of a chain but the first makes the tree deeper.
    fn link(&mut self, first: &mut bool) -> Result<(), FilterError> {
        if std::mem::replace(first, false) { Ok(()) } else { self.deeper() }
    }

    fn is_null(&mut self, left: Operand) -> Result<Condition, FilterError> {
        let negated = self.token == Token::Not;
        if negated {
            self.advance()?;
        }
        self.expect(Token::Null, "NULL")?;
        Ok(negate_if(negated, Condition::IsNull(left)))
    }

    fn comparison(&mut self) -> Result<Operand, FilterError> {
        let mut left = self.unary()?;
        let mut first = true;
        while is_comparison(self.token) {
            self.link(&mut first)?;
            left = match order_of(self.token) {
                Some(order) => self.ordered(order, left)?,
                None => self.predicate(left)?,
            }
            .into();
        }
        Ok(left)
    }

    fn ordered(&mut self, order: Order, left: Operand) -> Result<Condition, FilterError> {
        let at = self.at;
        self.advance()?;
        let right = self.unary()?;
        check_ordered(&left, at)?;
        check_ordered(&right, at)?;
        Ok(Condition::Ordered(order, left, right))
    }

    /// What may stand after `NOT`.
    fn predicate(&mut self, left: Operand) -> Result<Condition, FilterError> {
        let at = self.at;
        let negated = self.token == Token::Not;
        if negated {
            self.advance()?;
        }
        let operator = self.token;
        if !is_predicate(operator) {
            return Err(self.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH"));
        }
        self.advance()?;
        match operator {
            Token::Between => self.between(left, negated, at),
            Token::In => self.membership(left, negated, at),
            Token::Contains => self.search(Place::Anywhere, left, negated),
            Token::StartsWith => self.search(Place::Beginning, left, negated),
            _ => self.search(Place::End, left, negated),
        }
    }

    fn between(&mut self, value: Operand, negated: bool, at: usize) -> Result<Condition, FilterError> {
        let low = self.unary()?;
        self.expect(Token::And, "AND")?;
        let high = self.unary()?;
        for operand in [&value, &low, &high] {
            check_ordered(operand, at)?;
        }
        if let (false, Operand::Number(low), Operand::Number(high)) = (negated, &low, &high)
            && lies_below(*high, *low)
        {
            return Err(FilterError::EmptyRange { at });
        }
        Ok(Condition::Between(Box::new(Range { value, low, high, negated })))
    }

    fn search(&mut self, place: Place, value: Operand, negated: bool) -> Result<Condition, FilterError> {
        let text = self.text()?;
        Ok(Condition::Search(Box::new(Search { place, value, text, negated })))
    }

    fn membership(&mut self, left: Operand, negated: bool, at: usize) -> Result<Condition, FilterError> {
        let Operand::Property(property) = left else { return Err(FilterError::NotAProperty { at }) };
        self.expect(Token::Open, "(")?;
        let mut values = vec![self.text()?];
        while self.token == Token::Comma {
            if values.len() == MAX_IN_VALUES {
                return Err(FilterError::TooManyOperands { at, limit: MAX_IN_VALUES });
            }
            self.advance()?;
            values.push(self.text()?);
        }
        self.expect(Token::Close, ", or )")?;
        values.sort_unstable();
        values.dedup();
        Ok(Condition::In(Box::new(Membership { property, values: values.into(), negated })))
    }

    fn text(&mut self) -> Result<Box<str>, FilterError> {
        let Token::Text(quoted) = self.token else { return Err(self.unexpected("a text in quotes")) };
        self.advance()?;
        Ok(quoted.replace("''", "'").into())
    }

    fn unary(&mut self) -> Result<Operand, FilterError> {
        let sign = self.token;
        if !matches!(sign, Token::Plus | Token::Minus | Token::Not) {
            return self.primary();
        }
        self.deeper()?;
        self.advance()?;
        let operand = self.unary()?;
        self.depth -= 1;
        match sign {
            Token::Plus => Ok(operand),
            Token::Minus => Ok(Operand::Negated(Box::new(operand))),
            _ => Ok(Condition::Not(Box::new(condition(operand, self.at)?)).into()),
        }
    }

    fn primary(&mut self) -> Result<Operand, FilterError> {
        let operand = match self.token {
            Token::Open => return self.parentheses(),
            Token::Text(_) => return Ok(Operand::Text(self.text()?)),
            Token::Identifier(name) => Operand::Property(name.into()),
            Token::Integer(digits) => Operand::Number(integer(digits, self.at)?),
            Token::Float(text) => Operand::Number(double(text, self.at)?),
            Token::True => Condition::Constant(Some(true)).into(),
            Token::False => Condition::Constant(Some(false)).into(),
            Token::Null => Condition::Constant(None).into(),
            _ => return Err(self.unexpected("a value")),
        };
        self.advance()?;
        Ok(operand)
    }

    fn parentheses(&mut self) -> Result<Operand, FilterError> {
        self.deeper()?;
        self.advance()?;
        let operand = self.any()?;
        self.depth -= 1;
        self.expect(Token::Close, "an operator or )")?;
        Ok(operand)
    }
}

impl From<Condition> for Operand {
    fn from(condition: Condition) -> Operand {
        Operand::Condition(Box::new(condition))
    }
}

fn order_of(token: Token<'_>) -> Option<Order> {
    match token {
        Token::Less => Some(Order::Less),
        Token::LessOrEqual => Some(Order::LessOrEqual),
        Token::Greater => Some(Order::Greater),
        Token::GreaterOrEqual => Some(Order::GreaterOrEqual),
        _ => None,
    }
}

fn is_predicate(token: Token<'_>) -> bool {
    matches!(token, Token::Between | Token::In | Token::Contains | Token::StartsWith | Token::EndsWith)
}

fn is_comparison(token: Token<'_>) -> bool {
    token == Token::Not || is_predicate(token) || order_of(token).is_some()
}

fn condition(operand: Operand, at: usize) -> Result<Condition, FilterError> {
    match operand {
        Operand::Condition(condition) => Ok(*condition),
        Operand::Property(name) => Ok(Condition::Property(name)),
        Operand::Number(_) | Operand::Text(_) | Operand::Negated(_) => Err(FilterError::NotACondition { at }),
    }
}

fn negate_if(negated: bool, condition: Condition) -> Condition {
    if negated { Condition::Not(Box::new(condition)) } else { condition }
}

/// `=` takes everything but `NULL`; and after `TRUE` or `FALSE` no literal of another kind (before it, it is just not equal).
fn equal(left: Operand, right: Operand, at: usize) -> Result<Condition, FilterError> {
    let is_null =
        |operand: &Operand| matches!(operand, Operand::Condition(condition) if **condition == Condition::Constant(None));
    let is_constant = matches!(&left, Operand::Condition(condition) if matches!(**condition, Condition::Constant(_)));
    let is_literal = matches!(right, Operand::Number(_) | Operand::Text(_));
    if is_null(&left) || is_null(&right) || (is_constant && is_literal) {
        return Err(FilterError::NotComparable { at });
    }
    Ok(Condition::Equal(left, right))
}

/// Numbers and what may turn out to be one.
fn check_ordered(operand: &Operand, at: usize) -> Result<(), FilterError> {
    match operand {
        Operand::Number(_) | Operand::Property(_) | Operand::Negated(_) => Ok(()),
        Operand::Text(_) | Operand::Condition(_) => Err(FilterError::NotOrdered { at }),
    }
}

fn integer(digits: &str, at: usize) -> Result<Number, FilterError> {
    let long: i64 = digits.trim_end_matches(['l', 'L']).parse().map_err(|_| FilterError::NumberOutOfRange { at })?;
    Ok(i32::try_from(long).map_or(Number::Long(long), Number::Integer))
}

fn double(text: &str, at: usize) -> Result<Number, FilterError> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Number::Double(value)),
        _ => Err(FilterError::NumberOutOfRange { at }),
    }
}
