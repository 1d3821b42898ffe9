//! The tree of an SQL92 expression. Its text form parses to the same tree again.
//!
//! Made by the parser only, which bounds its depth; walked by `evaluate`. Conditions are true, false or unknown; operands
//! are what they compare. `<>` and `IS NOT NULL` are negations here, a chain of `AND` or `OR` is one node.

use std::fmt::{self, Display, Formatter};

#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `TRUE`, `FALSE`, or `NULL` which is unknown.
    Constant(Option<bool>),
    /// A property where a condition is expected: unknown if it is missing, else false, since properties are texts.
    Property(Box<str>),
    Not(Box<Condition>),
    /// `AND`; at least two.
    All(Vec<Condition>),
    /// `OR`; at least two.
    Any(Vec<Condition>),
    Equal(Operand, Operand),
    IsNull(Operand),
    Ordered(Order, Operand, Operand),
    Between(Box<Range>),
    Search(Box<Search>),
    In(Box<Membership>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Number(Number),
    Text(Box<str>),
    Property(Box<str>),
    Negated(Box<Operand>),
    Condition(Box<Condition>),
}

/// The width of a literal decides which texts can be compared with it: only those that are a number of that width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Integer(i32),
    Long(i64),
    Double(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    pub value: Operand,
    pub low: Operand,
    pub high: Operand,
    pub negated: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub place: Place,
    pub value: Operand,
    pub text: Box<str>,
    pub negated: bool,
}

/// Where in a value a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Anywhere,
    Beginning,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    pub property: Box<str>,
    /// Ascending, each once.
    pub values: Box<[Box<str>]>,
    pub negated: bool,
}

impl Display for Condition {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Constant(value) => out.write_str(constant(*value)),
            Condition::Property(name) => out.write_str(name),
            Condition::Not(condition) => write!(out, "NOT ({condition})"),
            Condition::All(conditions) => chain(out, conditions, " AND "),
            Condition::Any(conditions) => chain(out, conditions, " OR "),
            Condition::Equal(left, right) => write!(out, "{left} = {right}"),
            Condition::IsNull(operand) => write!(out, "{operand} IS NULL"),
            Condition::Ordered(order, left, right) => write!(out, "{left} {} {right}", order.symbol()),
            Condition::Between(range) => {
                let Range { value, low, high, negated } = &**range;
                write!(out, "{value}{} BETWEEN {low} AND {high}", not(*negated))
            }
            Condition::Search(search) => {
                let Search { place, value, text, negated } = &**search;
                write!(out, "{value}{} {} ", not(*negated), place.keyword())?;
                quote(out, text)
            }
            Condition::In(membership) => membership.fmt(out),
        }
    }
}

impl Display for Operand {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Number(Number::Integer(value)) => value.fmt(out),
            Operand::Number(Number::Long(value)) => value.fmt(out),
            // Always with a point or an exponent.
            Operand::Number(Number::Double(value)) => write!(out, "{value:?}"),
            Operand::Text(text) => quote(out, text),
            Operand::Property(name) => out.write_str(name),
            // Two dashes could begin a comment.
            Operand::Negated(operand) => write!(out, "-({operand})"),
            Operand::Condition(condition) => write!(out, "({condition})"),
        }
    }
}

impl Display for Membership {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}{} IN (", self.property, not(self.negated))?;
        for (number, value) in self.values.iter().enumerate() {
            out.write_str(if number == 0 { "" } else { ", " })?;
            quote(out, value)?;
        }
        out.write_str(")")
    }
}

impl Order {
    fn symbol(self) -> &'static str {
        match self {
            Order::Less => "<",
            Order::LessOrEqual => "<=",
            Order::Greater => ">",
            Order::GreaterOrEqual => ">=",
        }
    }
}

impl Place {
    fn keyword(self) -> &'static str {
        match self {
            Place::Anywhere => "CONTAINS",
            Place::Beginning => "STARTSWITH",
            Place::End => "ENDSWITH",
        }
    }
}

fn constant(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "TRUE",
        Some(false) => "FALSE",
        None => "NULL",
    }
}

fn not(negated: bool) -> &'static str {
    if negated { " NOT" } else { "" }
}

fn chain(out: &mut Formatter<'_>, conditions: &[Condition], between: &str) -> fmt::Result {
    for (number, condition) in conditions.iter().enumerate() {
        out.write_str(if number == 0 { "" } else { between })?;
        write!(out, "({condition})")?;
    }
    Ok(())
}

fn quote(out: &mut Formatter<'_>, text: &str) -> fmt::Result {
    write!(out, "'{}'", text.replace('\'', "''"))
}
