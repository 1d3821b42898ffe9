//! Transactional messages: half messages that nobody sees, and what makes them visible or ends them.
//!
//! A producer sends a message with TRAN_MSG; it is stored as a half record (`duolog_core::delay`) and answered with a commit log offset and an
//! offset in the table of transactions, which are those of the half record; any node finds it by them. END_TRANSACTION, or EndTransaction over
//! gRPC, commits it or rolls it back. What is said again, or after the end, is no error and changes nothing; only the group that sent a message
//! may end it. The group of gRPC's producers is the topic, as in the original's proxy.
//!
//! Like the original, a message that is committed has TRAN_MSG, PGROUP, REAL_TOPIC and REAL_QID, `__transactionId__`, and the flag that
//! says committed. Its times are those at which it was sent.
//!
//! Of a half message that is not ended in time any producer of its group is asked ([`asking`]).

mod asking;

use crate::append::{Gathering, Target};
use crate::locator::Locator;
use crate::message::{MessageLimits, Outgoing};
use crate::node::Node;
use crate::remoting::Refusal;
use duolog_base::{Offset, PartitionIndex, TimestampMs};
use duolog_core::broker::Acks;
use duolog_core::delay::{self, Delayed, Ended, Ending, Half, Owner, Prepared, Resolution};
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::message::sys_flag;
use duolog_wire::remoting::properties::{Properties, name};
use std::sync::Arc;

/// How long a message's own producer keeps the others from being asked, in seconds.
pub(crate) const CHECK_IMMUNITY: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// Longest name of a producer group, in bytes.
const MAX_GROUP_BYTES: usize = 255;

/// Whether the text of properties might say that the message is a half one; cheap.
pub(crate) fn may_be_half(properties: &str) -> bool {
    properties.contains(name::TRANSACTION_PREPARED)
}

/// Whether the properties say so.
pub(crate) fn is_half(properties: Properties<'_>) -> bool {
    properties.get(name::TRANSACTION_PREPARED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// By what clients name a half message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfId {
    pub(crate) commit_log_offset: i64,
    pub(crate) table_offset: i64,
}

impl HalfId {
    pub(crate) fn of(prepared: &Prepared) -> HalfId {
        let commit_log_offset = Locator::pack(prepared.number, prepared.offset).to_wire();
        HalfId { commit_log_offset, table_offset: prepared.offset.0 }
    }

    /// As gRPC's clients are given it: an id of the transaction.
    pub(crate) fn text(self) -> String {
        format!("{:016X}{:016X}", self.commit_log_offset, self.table_offset)
    }

    /// `None` if it is not one of ours.
    pub(crate) fn parse(text: &str) -> Option<HalfId> {
        let (commit_log, table) = text.split_at_checked(16).filter(|(_, table)| table.len() == 16)?;
        let number = |hex: &str| i64::from_str_radix(hex, 16).ok().filter(|_| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Some(HalfId { commit_log_offset: number(commit_log)?, table_offset: number(table)? })
    }
}

impl Node {
    /// Stores a half message of a producer of this group, and waits until it is safe.
    pub(crate) async fn store_half(
        &self,
        topic: &Arc<TopicImage>,
        queue: PartitionIndex,
        group: &str,
        message: &Outgoing<'_>,
        limits: MessageLimits,
    ) -> Result<Prepared, Refusal> {
        if !topic.config.perm.may_write() {
            return Err(Refusal::new(response::NO_PERMISSION, format!("topic[{}] cannot be written", topic.name)));
        }
        let group = message.properties.get(name::PRODUCER_GROUP).unwrap_or(group);
        if group.is_empty() || group.len() > MAX_GROUP_BYTES {
            return Err(Refusal::new(response::MESSAGE_ILLEGAL, "a transaction needs a producer group of at most 255 bytes"));
        }
        let unique_key = message.properties.get(name::UNIQUE_KEY);
        let real_queue = queue.0.to_string();
        let mut changes = message.changes.to_vec();
        changes.extend([
            (name::PRODUCER_GROUP, Some(group)),
            (name::REAL_TOPIC, Some(topic.name.as_str())),
            (name::REAL_QUEUE_ID, Some(real_queue.as_str())),
            (name::TRANSACTION_ID, unique_key),
        ]);
        let sys_flag = message.sys_flag & !sys_flag::TRANSACTION_MASK | sys_flag::TRANSACTION_COMMIT;
        let committed = Outgoing { changes: &changes, sys_flag, ..*message };
        let mut gathering = Gathering::default();
        gathering.push(&Target { topic: topic.clone(), queue, acks: Acks::All }, &committed, limits)?;
        let (batch, tags) = gathering.into_batch();
        let partition = topic.partition(queue).ok_or_else(Refusal::not_here)?;
        let target = delay::Target { number: partition.number, topic: topic.name.clone(), partition: queue };
        let at = TimestampMs(self.delays.now().0.saturating_add(self.immunity_ms(message.properties)));
        let half = Half {
            delayed: Delayed { at, target, tags, batch: batch.freeze() },
            owner: Owner { group: group.to_owned(), transaction: unique_key.unwrap_or_default().to_owned() },
        };
        Ok(self.delays.prepare(topic, &half).await?)
    }

    /// How long nobody is asked about a message. A property that is no time, or negative, counts for nothing.
    fn immunity_ms(&self, properties: Properties<'_>) -> i64 {
        let own = properties.get(CHECK_IMMUNITY).and_then(|text| text.trim().parse::<i64>().ok());
        let own = own.filter(|seconds| *seconds >= 0).map(|seconds| seconds.saturating_mul(1000));
        own.unwrap_or_else(|| self.broker.config().transaction_timeout_ms)
    }

    /// Does with a half message what a producer of the group says.
    pub(crate) async fn end_half(
        &self,
        half: HalfId,
        group: &str,
        transaction: Option<&str>,
        resolution: Resolution,
    ) -> Result<Ended, Refusal> {
        let number = Locator::from_wire(half.commit_log_offset).and_then(Locator::partition);
        let fits = |number| Locator::pack(number, Offset(half.table_offset)).to_wire() == half.commit_log_offset;
        let Some(number) = number.filter(|number| half.table_offset >= 0 && fits(*number)) else { return Ok(Ended::Unknown) };
        let (group, transaction) = (group.to_owned(), transaction.map(str::to_owned));
        let ending = Ending { offset: Offset(half.table_offset), group, transaction, resolution };
        Ok(self.delays.end(number, ending).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_base::PartitionNumber;

    #[test]
    fn an_id_comes_back_as_it_was_and_others_are_none() {
        let id = HalfId::of(&Prepared { number: PartitionNumber(7), offset: Offset(12) });
        assert_eq!(HalfId::parse(&id.text()), Some(id));
        for text in ["", "what", &id.text()[1..], &format!("{}0", id.text()), &"+".repeat(32), &"\u{e9}".repeat(16)] {
            assert_eq!(HalfId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_true_property_makes_a_half() {
        for (text, expected) in
            [("TRAN_MSG\u{1}true\u{2}", true), ("TRAN_MSG\u{1}True\u{2}", true), ("TRAN_MSG\u{1}no\u{2}", false)]
        {
            assert!(may_be_half(text));
            assert_eq!(is_half(Properties::new(text)), expected, "{text}");
        }
    }
}
