//! The truncations of one partition, as far as files know nothing of them that were sealed before.
//!
//! An index shows a partition as it was at one position of the log. A truncation behind that position takes from what the index
//! lists everything at or behind its end. Since a later truncation to a lower end says all that an earlier one says, ends ascend with
//! positions, and the first truncation behind an index is the one that counts for it. Part of a partition's state; kept until no
//! file is left that ends before it.

use std::sync::Arc;

/// A truncation: of what lies before `position`, batches that reach to `end` are gone. That is all of them if `end` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Of the frame that says so.
    pub position: u64,
    pub end: i64,
}

/// Cheap to clone; most partitions have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts(Option<Arc<Vec<Cut>>>);

impl Cuts {
    /// Ascending in position and in end.
    pub fn as_slice(&self) -> &[Cut] {
        self.0.as_ref().map_or(&[], |cuts| cuts.as_slice())
    }

    /// Adds the newest one.
    pub fn push(&mut self, cut: Cut) {
        let cuts = Arc::make_mut(self.0.get_or_insert_default());
        cuts.truncate(cuts.partition_point(|known| known.end < cut.end));
        cuts.push(cut);
    }

    /// What an index that shows the partition as of `position` lists counts below this offset.
    pub fn end_for(&self, position: u64) -> i64 {
        let cuts = self.as_slice();
        cuts.get(cuts.partition_point(|cut| cut.position < position)).map_or(i64::MAX, |cut| cut.end)
    }

    /// Forgets those before `position`: no file ends there any more.
    pub fn forget_before(&mut self, position: u64) {
        let all = self.as_slice();
        let kept = &all[all.partition_point(|cut| cut.position < position)..];
        if kept.len() < all.len() {
            self.0 = (!kept.is_empty()).then(|| Arc::new(kept.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_end_behind_a_position_counts() {
        let all = [(100, 50), (200, 70), (300, 60), (400, 80), (500, 60), (600, 90)];
        let mut cuts = Cuts::default();
        assert_eq!(cuts.end_for(0), i64::MAX);
        for (at, (position, end)) in all.into_iter().enumerate() {
            cuts.push(Cut { position, end });
            for from in (0..700).step_by(50) {
                let lowest = all[..=at].iter().filter(|(position, _)| *position >= from).map(|(_, end)| *end).min();
                assert_eq!(cuts.end_for(from), lowest.unwrap_or(i64::MAX), "{from} after {at}");
            }
        }
        assert_eq!(cuts.as_slice().len(), 3);
        cuts.forget_before(500);
        assert_eq!((cuts.end_for(0), cuts.end_for(501)), (60, 90));
        cuts.forget_before(601);
        assert_eq!(cuts, Cuts::default());
    }
}
