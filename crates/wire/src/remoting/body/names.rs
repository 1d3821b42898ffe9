//! Values that are one of a few names. Some clients send the number of the name instead, or write it in another case; one that
//! is not known counts as the default.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// How a consumer gets its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeType {
    ConsumeActively,
    #[default]
    ConsumePassively,
    ConsumePop,
}

/// Whether the members of a group share messages or each gets all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageModel {
    Broadcasting,
    #[default]
    Clustering,
}

/// Where a group without offsets begins. Three of the names are old ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeFromWhere {
    #[default]
    ConsumeFromLastOffset,
    ConsumeFromLastOffsetAndFromMinWhenBootFirst,
    ConsumeFromMinOffset,
    ConsumeFromMaxOffset,
    ConsumeFromFirstOffset,
    ConsumeFromTimestamp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TopicFilterType {
    #[default]
    SingleTag,
    MultiTag,
}

/// How the members of a group are told which messages are theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageRequestMode {
    #[default]
    Pull,
    Pop,
}

/// How the pauses between the deliveries of a message grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetryPolicyType {
    Exponential,
    #[default]
    Customized,
}

/// What became of a message that a consumer was told to consume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumeOutcome {
    #[default]
    CrSuccess,
    CrLater,
    CrRollback,
    CrCommit,
    CrThrowException,
    CrReturnNull,
}

/// The names of a kind of value, by their numbers.
struct Names<E: 'static>(&'static [(&'static str, E)]);

impl<E: Copy + Default> Visitor<'_> for Names<E> {
    type Value = E;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name or its number")
    }

    fn visit_str<F: Error>(self, text: &str) -> Result<E, F> {
        Ok(self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value).unwrap_or_default())
    }

    fn visit_u64<F: Error>(self, number: u64) -> Result<E, F> {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(self.0.get(at).map(|(_, value)| *value).unwrap_or_default())
    }

    fn visit_i64<F: Error>(self, _: i64) -> Result<E, F> {
        Ok(E::default())
    }
}

impl<'de> Deserialize<'de> for ConsumeType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[(&str, ConsumeType)] = &[
            ("CONSUME_ACTIVELY", ConsumeType::ConsumeActively),
            ("CONSUME_PASSIVELY", ConsumeType::ConsumePassively),
            ("CONSUME_POP", ConsumeType::ConsumePop),
        ];
        deserializer.deserialize_any(Names(NAMES))
    }
}

impl<'de> Deserialize<'de> for MessageModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[(&str, MessageModel)] =
            &[("BROADCASTING", MessageModel::Broadcasting), ("CLUSTERING", MessageModel::Clustering)];
        deserializer.deserialize_any(Names(NAMES))
    }
}

impl<'de> Deserialize<'de> for ConsumeFromWhere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[(&str, ConsumeFromWhere)] = &[
            ("CONSUME_FROM_LAST_OFFSET", ConsumeFromWhere::ConsumeFromLastOffset),
            (
                "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
                ConsumeFromWhere::ConsumeFromLastOffsetAndFromMinWhenBootFirst,
            ),
            ("CONSUME_FROM_MIN_OFFSET", ConsumeFromWhere::ConsumeFromMinOffset),
            ("CONSUME_FROM_MAX_OFFSET", ConsumeFromWhere::ConsumeFromMaxOffset),
            ("CONSUME_FROM_FIRST_OFFSET", ConsumeFromWhere::ConsumeFromFirstOffset),
            ("CONSUME_FROM_TIMESTAMP", ConsumeFromWhere::ConsumeFromTimestamp),
        ];
        deserializer.deserialize_any(Names(NAMES))
    }
}

impl<'de> Deserialize<'de> for TopicFilterType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[(&str, TopicFilterType)] =
            &[("SINGLE_TAG", TopicFilterType::SingleTag), ("MULTI_TAG", TopicFilterType::MultiTag)];
        deserializer.deserialize_any(Names(NAMES))
    }
}

impl<'de> Deserialize<'de> for MessageRequestMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[(&str, MessageRequestMode)] = &[("PULL", MessageRequestMode::Pull), ("POP", MessageRequestMode::Pop)];
        deserializer.deserialize_any(Names(NAMES))
    }
}

impl<'de> Deserialize<'de> for RetryPolicyType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[(&str, RetryPolicyType)] =
            &[("EXPONENTIAL", RetryPolicyType::Exponential), ("CUSTOMIZED", RetryPolicyType::Customized)];
        deserializer.deserialize_any(Names(NAMES))
    }
}

impl<'de> Deserialize<'de> for ConsumeOutcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: &[(&str, ConsumeOutcome)] = &[
            ("CR_SUCCESS", ConsumeOutcome::CrSuccess),
            ("CR_LATER", ConsumeOutcome::CrLater),
            ("CR_ROLLBACK", ConsumeOutcome::CrRollback),
            ("CR_COMMIT", ConsumeOutcome::CrCommit),
            ("CR_THROW_EXCEPTION", ConsumeOutcome::CrThrowException),
            ("CR_RETURN_NULL", ConsumeOutcome::CrReturnNull),
        ];
        deserializer.deserialize_any(Names(NAMES))
    }
}
