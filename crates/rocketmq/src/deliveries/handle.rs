//! What a consumer names a delivery by.
//!
//! ```text
//! [r]QUEUE-OFFSET-NUMBER     r: the message lies in the group's retry topic; the number is that of the delivery, in base 16
//! ```
//! The topic comes with each request; numbers are never given twice, by an earlier process neither.

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

/// What the handles of messages in retry topics begin with.
const RETURNED: char = 'r';

impl Handle {
    pub(crate) fn text(self) -> String {
        let text = format!("{}-{}-{:x}", self.queue.0, self.offset.0, self.number);
        if self.is_returned { format!("{RETURNED}{text}") } else { text }
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
