//! Which receives of an ordered group got what: a receive whose answer was lost is asked for once more, and gets the same messages again.

use std::collections::VecDeque;

/// Receives of one queue that are remembered, the latest.
const REMEMBERED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Attempts(VecDeque<(String, u64)>);

impl Attempts {
    /// Forgets the receive of this id; its number.
    pub(super) fn take(&mut self, id: &str) -> Option<u64> {
        let found = self.0.iter().rposition(|(known, _)| known == id)?;
        self.0.remove(found).map(|(_, number)| number)
    }

    pub(super) fn remember(&mut self, id: &str, number: u64) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((id.to_owned(), number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_receives_are_remembered_until_they_are_taken() {
        let mut attempts = Attempts::default();
        (0..=REMEMBERED as u64).for_each(|number| attempts.remember(&format!("id {number}"), number));
        assert_eq!((attempts.take("id 0"), attempts.take("id 1"), attempts.take("id 1")), (None, Some(1), None));
        assert_eq!(attempts.0.len(), REMEMBERED - 1);
    }
}
