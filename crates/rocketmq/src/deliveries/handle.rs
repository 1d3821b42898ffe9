//! What a consumer names a delivery by.
//!
//! ```text
//! [r]QUEUE-OFFSET-NUMBER     r: the message lies in the group's retry topic; the number is that of the delivery, in base 16
//! ```
//! The topic comes with each request; numbers are never given twice, by an earlier process neither.

use super::NUMBERS_OF_MILLISECOND_BITS;
use duolog_base::{Offset, PartitionIndex};

/// What names a delivery to its consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) queue: PartitionIndex,
    pub(crate) offset: Offset,
    pub(crate) number: u64,
    /// The message lies in the group's retry topic.
    pub(crate) is_returned: bool,
}

/// Bits of a number that are not the time.
const LOWER_BITS: u64 = (1 << NUMBERS_OF_MILLISECOND_BITS) - 1;
/// What the handles of messages in retry topics begin with.
const RETURNED: char = 'r';

impl Handle {
    pub(crate) fn text(self) -> String {
        let text = format!("{}-{}-{:x}", self.queue.0, self.offset.0, self.number);
        if self.is_returned { format!("{RETURNED}{text}") } else { text }
    }

    /// The number as POP's clients keep it: the time of the delivery, and what tells it from others of that time.
    pub(crate) fn popped(self) -> (i64, i32) {
        let (time, rest) = (self.number >> NUMBERS_OF_MILLISECOND_BITS, self.number & LOWER_BITS);
        (time as i64, rest as i32)
    }

    /// The number that POP's clients keep so; `None` if this server did not make it.
    pub(crate) fn number_of(pop_time: i64, revive_queue: i32) -> Option<u64> {
        let rest = u64::try_from(revive_queue).ok().filter(|rest| *rest <= LOWER_BITS)?;
        let time = u64::try_from(pop_time).ok().filter(|time| *time <= u64::MAX >> NUMBERS_OF_MILLISECOND_BITS)?;
        Some(time << NUMBERS_OF_MILLISECOND_BITS | rest)
    }

    /// `None` if the text is not one of this server's.
    pub(crate) fn parse(text: &str) -> Option<Handle> {
        let is_returned = text.starts_with(RETURNED);
        let mut parts = text.strip_prefix(RETURNED).unwrap_or(text).splitn(3, '-');
        let queue = PartitionIndex(parts.next()?.parse().ok()?);
        let offset = Offset(parts.next()?.parse().ok()?);
        Some(Handle { queue, offset, number: u64::from_str_radix(parts.next()?, 16).ok()?, is_returned })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_popped_message_is_read_back() {
        let handle = |number| Handle { queue: PartitionIndex(0), offset: Offset(0), number, is_returned: false };
        assert_eq!(handle(1_700_000_000_000 << 16 | 7).popped(), (1_700_000_000_000, 7));
        for number in [0, 1_700_000_000_000 << 16 | 0xffff, u64::MAX] {
            let (time, rest) = handle(number).popped();
            assert_eq!(Handle::number_of(time, rest), Some(number));
        }
        for (time, rest) in [(-1, 0), (1 << 48, 0), (1, -1), (1, 0x1_0000)] {
            assert_eq!(Handle::number_of(time, rest), None);
        }
    }

    #[test]
    fn handles_are_read_back_and_others_are_refused() {
        let handle = Handle { queue: PartitionIndex(3), offset: Offset(1 << 40), number: u64::MAX, is_returned: false };
        for handle in [handle, Handle { is_returned: true, ..handle }] {
            assert_eq!(Handle::parse(&handle.text()), Some(handle));
        }
        for bad in ["", "r", "rr1-2-3", "1", "1-2", "a-b-c", "1-2-x", "1-2-3-4"] {
            assert!(Handle::parse(bad).is_none(), "{bad}");
        }
    }
}
