//! RocketMQ's SQL92 expressions over the properties of a message.
//!
//! Grammar, from weakest to strongest: `OR`, `AND`, then `=` `<>` `IS [NOT] NULL`, then `<` `<=` `>` `>=` `[NOT] BETWEEN`
//! `[NOT] IN` `[NOT] CONTAINS` `[NOT] STARTSWITH` `[NOT] ENDSWITH`, then `NOT` `+` `-`, then literals, properties and parentheses.
//! `NOT` binds to one value as it does in RocketMQ: `NOT a = 1` is `(NOT a) = 1`.
//!
//! * [`lexer`]: text to tokens. * [`parser`]: tokens to a [`Condition`], every refusal. * [`expression`]: the tree and its text.
//! * [`evaluate`]: the value of a tree for a message's properties.

pub mod evaluate;
pub mod expression;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

pub use evaluate::NotComparable;
pub use expression::Condition;
pub use parser::{MAX_DEPTH, MAX_IN_VALUES, parse};
