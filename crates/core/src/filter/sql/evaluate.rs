//! The value of an expression for a message's properties: true, false, unknown, or not comparable. Allocates nothing.
//!
//! Follows RocketMQ, where properties are texts and a comparison with a number converts the text to the number's type: an
//! integer literal compares with texts that are an integer of its width, a literal with a point with those Java's `Double`
//! reads. A text that is no such number makes the whole expression fail, unless `AND` or `OR` was decided before it.

use super::super::Properties;
use super::expression::{Condition, Membership, Number, Operand, Order, Place, Range, Search};
use std::cmp::Ordering;

/// Values of kinds that have no comparison were compared: the message does not match, whatever the rest would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a property is not a number that it is compared with")]
pub struct NotComparable;

#[derive(Clone, Copy)]
enum Value<'a> {
    Null,
    Boolean(bool),
    Number(Number),
    Text(&'a str),
}

/// True, false, or unknown.
type Truth = Result<Option<bool>, NotComparable>;

impl Condition {
    pub fn evaluate(&self, properties: &dyn Properties) -> Truth {
        match self {
            Condition::Constant(value) => Ok(*value),
            Condition::Property(name) => Ok(properties.property(name).map(|_| false)),
            Condition::Not(condition) => Ok(condition.evaluate(properties)?.map(|value| !value)),
            Condition::All(conditions) => until(conditions, false, properties),
            Condition::Any(conditions) => until(conditions, true, properties),
            Condition::Equal(left, right) => equal(left.value(properties)?, right.value(properties)?),
            Condition::IsNull(operand) => Ok(Some(matches!(operand.value(properties)?, Value::Null))),
            Condition::Ordered(order, left, right) => ordered(*order, left, right, properties),
            Condition::Between(range) => range.evaluate(properties),
            Condition::Search(search) => search.evaluate(properties),
            Condition::In(membership) => Ok(membership.evaluate(properties)),
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, properties: &'a dyn Properties) -> Result<Value<'a>, NotComparable> {
        Ok(match self {
            Operand::Number(number) => Value::Number(*number),
            Operand::Text(text) => Value::Text(text),
            Operand::Property(name) => properties.property(name).map_or(Value::Null, Value::Text),
            Operand::Negated(operand) => match operand.value(properties)? {
                Value::Number(number) => Value::Number(negative(number)),
                Value::Null | Value::Boolean(_) | Value::Text(_) => Value::Null,
            },
            Operand::Condition(condition) => condition.evaluate(properties)?.map_or(Value::Null, Value::Boolean),
        })
    }
}

impl Range {
    /// Two comparisons joined, so that a bound which decides spares the other.
    fn evaluate(&self, properties: &dyn Properties) -> Truth {
        let (low, high) = match self.negated {
            false => (Order::GreaterOrEqual, Order::LessOrEqual),
            true => (Order::Less, Order::Greater),
        };
        let first = ordered(low, &self.value, &self.low, properties)?;
        if first == Some(self.negated) {
            return Ok(first);
        }
        let second = ordered(high, &self.value, &self.high, properties)?;
        Ok(if second == Some(self.negated) { second } else { first.and(second) })
    }
}

impl Search {
    /// False for what is no text, and for the empty text, negated or not.
    fn evaluate(&self, properties: &dyn Properties) -> Truth {
        let wanted = &*self.text;
        if wanted.is_empty() {
            return Ok(Some(false));
        }
        let Value::Text(text) = self.value.value(properties)? else { return Ok(Some(false)) };
        let found = match self.place {
            Place::Anywhere => text.contains(wanted),
            Place::Beginning => text.starts_with(wanted),
            Place::End => text.ends_with(wanted),
        };
        Ok(Some(found != self.negated))
    }
}

impl Membership {
    fn evaluate(&self, properties: &dyn Properties) -> Option<bool> {
        let text = properties.property(&self.property)?;
        let found = self.values.binary_search_by(|value| (**value).cmp(text)).is_ok();
        Some(found != self.negated)
    }
}

/// The first of the conditions that is `decisive` decides; else one that is unknown makes the whole so.
fn until(conditions: &[Condition], decisive: bool, properties: &dyn Properties) -> Truth {
    let mut result = Some(!decisive);
    for condition in conditions {
        match condition.evaluate(properties)? {
            Some(value) if value == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

/// A missing value equals a missing value; is unknown to equal another; and another does not equal it.
fn equal(left: Value<'_>, right: Value<'_>) -> Truth {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Some(true)),
        (Value::Null, _) => Ok(None),
        (_, Value::Null) => Ok(Some(false)),
        (Value::Text(left), Value::Text(right)) => Ok(Some(left == right)),
        _ => Ok(Some(compare(left, right)? == Ordering::Equal)),
    }
}

/// Two texts are ordered as doubles.
fn ordered(order: Order, left: &Operand, right: &Operand, properties: &dyn Properties) -> Truth {
    let left = match left.value(properties)? {
        Value::Null => return Ok(None),
        left => left,
    };
    let ordering = match (left, right.value(properties)?) {
        (_, Value::Null) => return Ok(None),
        (Value::Text(left), Value::Text(right)) => compare_doubles(double(left)?, double(right)?),
        (left, right) => compare(left, right)?,
    };
    Ok(Some(match order {
        Order::Less => ordering.is_lt(),
        Order::LessOrEqual => ordering.is_le(),
        Order::Greater => ordering.is_gt(),
        Order::GreaterOrEqual => ordering.is_ge(),
    }))
}

/// Of two values that are there. A text becomes what it is compared with, except that a truth value cannot come first;
/// a truth value and a number are just different.
fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, NotComparable> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => Ok(compare_numbers(left, right)),
        (Value::Number(left), Value::Text(right)) => Ok(compare_numbers(left, number_like(left, right)?)),
        (Value::Text(left), Value::Number(right)) => Ok(compare_numbers(number_like(right, left)?, right)),
        (Value::Text(left), Value::Boolean(right)) => Ok(left.eq_ignore_ascii_case("true").cmp(&right)),
        (Value::Boolean(left), Value::Boolean(right)) => Ok(left.cmp(&right)),
        (Value::Boolean(_), Value::Number(_)) | (Value::Number(_), Value::Boolean(_)) => Ok(Ordering::Less),
        (Value::Boolean(_), Value::Text(_)) | (Value::Null, _) | (_, Value::Null) | (Value::Text(_), Value::Text(_)) => {
            Err(NotComparable)
        }
    }
}

pub(super) fn lies_below(left: Number, right: Number) -> bool {
    compare_numbers(left, right) == Ordering::Less
}

/// In the wider of the two types.
fn compare_numbers(left: Number, right: Number) -> Ordering {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => compare_doubles(as_double(left), as_double(right)),
    }
}

fn whole(number: Number) -> Option<i64> {
    match number {
        Number::Integer(value) => Some(i64::from(value)),
        Number::Long(value) => Some(value),
        Number::Double(_) => None,
    }
}

fn as_double(number: Number) -> f64 {
    match number {
        Number::Integer(value) => f64::from(value),
        Number::Long(value) => value as f64,
        Number::Double(value) => value,
    }
}

/// Java's order: minus zero below zero, NaN equal to itself and above all.
fn compare_doubles(left: f64, right: f64) -> Ordering {
    match (left.is_nan(), right.is_nan()) {
        (false, false) => left.total_cmp(&right),
        (left, right) => left.cmp(&right),
    }
}

fn negative(number: Number) -> Number {
    match number {
        Number::Integer(value) => Number::Integer(value.wrapping_neg()),
        Number::Long(value) => Number::Long(value.wrapping_neg()),
        Number::Double(value) => Number::Double(-value),
    }
}

/// The text as a number of the same type.
fn number_like(number: Number, text: &str) -> Result<Number, NotComparable> {
    match number {
        Number::Integer(_) => text.parse().map(Number::Integer).map_err(|_| NotComparable),
        Number::Long(_) => text.parse().map(Number::Long).map_err(|_| NotComparable),
        Number::Double(_) => double(text).map(Number::Double),
    }
}

/// As Java's `Double.valueOf`, except for hexadecimal texts: blanks around, a type letter behind, `NaN` and `Infinity`.
fn double(text: &str) -> Result<f64, NotComparable> {
    let text = text.trim_matches(|character| character <= ' ');
    match text.trim_start_matches(['+', '-']) {
        "NaN" | "Infinity" => text.parse().map_err(|_| NotComparable),
        unsigned if unsigned.starts_with(|first: char| first == '.' || first.is_ascii_digit()) => {
            text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text).parse().map_err(|_| NotComparable)
        }
        _ => Err(NotComparable),
    }
}
