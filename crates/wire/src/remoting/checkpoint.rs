//! What POP's clients and servers tell each other of popped messages, as text.
//!
//! ```text
//! checkpoint      CK-OFFSET POP-TIME INVISIBLE-TIME REVIVE-QUEUE MARK BROKER QUEUE [OFFSET]
//! start offsets   MARK QUEUE CK-OFFSET;...
//! offsets         MARK QUEUE OFFSET,OFFSET...;...
//! order counts    MARK qoQUEUE%OFFSET COUNT;...
//! ```
//! Clients make a checkpoint for each message from the answer's times and these lists, and send it back to acknowledge the message.
//! A mark of 0 says that the message lies in the topic itself, 1 and 2 in a retry topic.

use std::fmt::Write;

/// What a client names a popped message by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub pop_time: i64,
    pub revive_queue: i32,
    pub mark: i32,
    pub queue: i32,
    /// Absent in what the oldest releases send.
    pub offset: Option<i64>,
}

/// Parts of a checkpoint without, and with, the message's own offset.
const PARTS: usize = 7;
const PARTS_WITH_OFFSET: usize = 8;
/// The message lies in the topic itself.
pub const OWN_TOPIC: i32 = 0;

impl Checkpoint {
    /// Reads the text; `None` if it is something else. What only the client wants to know is looked at no further.
    pub fn parse(text: &str) -> Option<Checkpoint> {
        let parts: Vec<&str> = text.splitn(PARTS_WITH_OFFSET + 1, ' ').collect();
        if parts.len() != PARTS && parts.len() != PARTS_WITH_OFFSET {
            return None;
        }
        let offset = match parts.get(PARTS) {
            Some(offset) => Some(offset.parse().ok()?),
            None => None,
        };
        Some(Checkpoint {
            pop_time: parts[1].parse().ok()?,
            revive_queue: parts[3].parse().ok()?,
            mark: parts[4].parse().ok()?,
            queue: parts[6].parse().ok()?,
            offset,
        })
    }
}

/// The lists of an answer: which messages it has, by queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoppedLists {
    pub start_offsets: String,
    pub offsets: String,
    pub order_counts: String,
}

/// A message of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoppedMessage {
    pub queue: i32,
    pub offset: i64,
    /// Deliveries before this one.
    pub times: u32,
}

impl PoppedLists {
    /// The lists of these messages, which lie in the topic itself: ascending within a queue, and those of a queue together.
    pub fn of(messages: &[PoppedMessage]) -> PoppedLists {
        let mut lists = PoppedLists::default();
        // Writing into a String cannot fail.
        for of_queue in messages.chunk_by(|one, next| one.queue == next.queue) {
            let (queue, first) = (of_queue[0].queue, of_queue[0].offset);
            separate(&mut lists.start_offsets);
            let _ = write!(lists.start_offsets, "{OWN_TOPIC} {queue} {first}");
            separate(&mut lists.offsets);
            let _ = write!(lists.offsets, "{OWN_TOPIC} {queue} {first}");
            for message in &of_queue[1..] {
                let _ = write!(lists.offsets, ",{}", message.offset);
            }
            for message in of_queue.iter().filter(|message| message.times > 0) {
                separate(&mut lists.order_counts);
                let _ = write!(lists.order_counts, "{OWN_TOPIC} qo{queue}%{} {}", message.offset, message.times);
            }
        }
        lists
    }
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(';');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_what_java_makes_of_an_answer() {
        let parsed = Checkpoint::parse("5 1700000000000 60000 7 0 duolog 3 9");
        let expected = Checkpoint { pop_time: 1_700_000_000_000, revive_queue: 7, mark: 0, queue: 3, offset: Some(9) };
        assert_eq!(parsed, Some(expected));
        assert_eq!(Checkpoint::parse("5 1700000000000 60000 7 0 duolog 3"), Some(Checkpoint { offset: None, ..expected }));
        for bad in ["", "5 1 60000 7 0 duolog", "5 x 60000 7 0 duolog 3 9", "5 1 60000 7 0 duolog 3 9 1", "5 1 60000 7 0 b 3 "] {
            assert_eq!(Checkpoint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_lists_its_messages_by_queue() {
        let message = |queue, offset, times| PoppedMessage { queue, offset, times };
        let lists = PoppedLists::of(&[message(2, 5, 0), message(2, 7, 1), message(0, 9, 0)]);
        assert_eq!(lists.start_offsets, "0 2 5;0 0 9");
        assert_eq!(lists.offsets, "0 2 5,7;0 0 9");
        assert_eq!(lists.order_counts, "0 qo2%7 1");
        assert_eq!(PoppedLists::of(&[]), PoppedLists::default());
    }
}
