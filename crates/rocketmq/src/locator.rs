//! The number that stands for RocketMQ's commit log offset: which partition a message lies in, and where.
//!
//! ```text
//! bit 63      zero: the number is never negative
//! bits 62-39  partition number; all ones for partitions whose number does not fit
//! bits 38-0   offset modulo 2^39
//! ```
//! Partition numbers are the cluster's, so that any node resolves a locator. Of the offset the lower part is enough: what a partition
//! holds at one time is far less than 2^39 messages, so that only one offset in it ends so. A partition whose number has more
//! than 24 bits has locators, too, but nobody can resolve them.
//!
//! The byte map stands in docs/storage-format.md, since message ids live longer than the process that gave them out.

use duolog_base::{Offset, PartitionNumber};
use duolog_wire::remoting::message_id::OffsetMessageId;
use std::fmt;
use std::net::SocketAddr;

/// Bits of the offset.
const OFFSET_BITS: u32 = 39;
/// Offsets that differ by a multiple of this have the same locator.
const OFFSET_SPAN: i64 = 1 << OFFSET_BITS;
/// The partition number that stands for all that do not fit.
const NO_NUMBER: u32 = (1 << 24) - 1;

/// Where a message lies, in 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Locator(i64);

impl Locator {
    /// The locator of the message at `offset`, which is not negative.
    pub fn pack(number: PartitionNumber, offset: Offset) -> Locator {
        Locator(i64::from(number.0.min(NO_NUMBER)) << OFFSET_BITS | offset.0 & (OFFSET_SPAN - 1))
    }

    /// Takes a number that a client sent back; `None` if it cannot be one of ours.
    pub fn from_wire(number: i64) -> Option<Locator> {
        (number >= 0).then_some(Locator(number))
    }

    /// What clients are given as commit log offset.
    pub fn to_wire(self) -> i64 {
        self.0
    }

    /// The id of the message, which also names the host that producers are told of.
    pub fn message_id(self, store_host: SocketAddr) -> OffsetMessageId {
        OffsetMessageId { store_host, commit_log_offset: self.to_wire() }
    }

    /// The partition; `None` if its number did not fit.
    pub fn partition(self) -> Option<PartitionNumber> {
        let number = (self.0 >> OFFSET_BITS) as u32;
        (number != NO_NUMBER).then_some(PartitionNumber(number))
    }

    /// The offset, if the partition that now holds `start..end` has it.
    pub fn resolve(self, start: Offset, end: Offset) -> Option<Offset> {
        let low = self.0 & (OFFSET_SPAN - 1);
        let ahead = low.wrapping_sub(start.0) & (OFFSET_SPAN - 1);
        start.0.checked_add(ahead).map(Offset).filter(|offset| *offset < end)
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bits_are_those_of_the_format() {
        let locator = Locator::pack(PartitionNumber(1), Offset(OFFSET_SPAN + 5));
        assert_eq!(locator.to_wire(), 1 << 39 | 5);
        let last = Locator::pack(PartitionNumber(NO_NUMBER - 1), Offset(OFFSET_SPAN - 1));
        assert_eq!(last.to_wire(), 0x7fff_ff7f_ffff_ffff);
    }

    #[test]
    fn a_number_that_does_not_fit_is_not_resolvable() {
        for number in [NO_NUMBER, NO_NUMBER + 1, u32::MAX] {
            let locator = Locator::pack(PartitionNumber(number), Offset(7));
            assert!(locator.to_wire() > 0);
            assert_eq!(locator.partition(), None);
        }
    }

    #[test]
    fn a_negative_number_is_none_of_ours() {
        assert_eq!(Locator::from_wire(-1), None);
        assert_eq!(Locator::from_wire(i64::MIN), None);
    }

    #[test]
    fn what_the_partition_no_longer_or_not_yet_has_is_not_found() {
        let locator = Locator::pack(PartitionNumber(1), Offset(100));
        assert_eq!(locator.resolve(Offset(101), Offset(200)), None);
        assert_eq!(locator.resolve(Offset(0), Offset(100)), None);
        assert_eq!(locator.resolve(Offset(100), Offset(101)), Some(Offset(100)));
        assert_eq!(locator.resolve(Offset(i64::MAX - 1), Offset(i64::MAX)), None);
    }

    proptest! {
        #[test]
        fn every_message_of_a_partition_is_found_by_its_locator(
            number in 0..NO_NUMBER, start in 0..i64::MAX / 2, ahead in 0..OFFSET_SPAN, behind in 1..OFFSET_SPAN,
        ) {
            let (start, offset) = (Offset(start), Offset(start + ahead));
            let end = Offset((offset.0 + behind).min(start.0 + OFFSET_SPAN));
            let sent = Locator::pack(PartitionNumber(number), offset).to_wire();
            let locator = Locator::from_wire(sent).unwrap();
            prop_assert_eq!(locator.partition(), Some(PartitionNumber(number)));
            prop_assert_eq!(locator.resolve(start, end.max(offset.plus(1))), Some(offset));
        }

        #[test]
        fn any_number_resolves_within_the_range_or_not_at_all(sent: i64, start in 0..i64::MAX, length in 0..1i64 << 45) {
            let (start, end) = (Offset(start), Offset(start.saturating_add(length)));
            if let Some(offset) = Locator::from_wire(sent).and_then(|locator| locator.resolve(start, end)) {
                prop_assert!(start <= offset && offset < end);
                prop_assert_eq!(offset.0 % OFFSET_SPAN, sent % OFFSET_SPAN);
            }
        }
    }
}
