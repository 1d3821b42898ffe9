//! Ranges of positions whose keys are not known: ascending, apart from each other.

use std::ops::Range;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(Vec<Range<u64>>);

impl Gaps {
    /// What of `whole` none of `covered` covers.
    pub fn between(whole: Range<u64>, covered: impl Iterator<Item = Range<u64>>) -> Gaps {
        let mut gaps = Gaps::default();
        gaps.add(whole);
        covered.for_each(|range| gaps.cover(range));
        gaps
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// Whether nothing of `range` is known.
    pub fn holds(&self, range: &Range<u64>) -> bool {
        self.0.iter().any(|gap| gap.start <= range.start && range.end <= gap.end)
    }

    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.0.push(range);
        self.0.sort_unstable_by_key(|gap| gap.start);
        self.0.dedup_by(|next, gap| {
            let joined = next.start <= gap.end;
            if joined {
                gap.end = gap.end.max(next.end);
            }
            joined
        });
    }

    pub fn cover(&mut self, range: Range<u64>) {
        let rest = self.0.iter().flat_map(|gap| {
            let before = gap.start..gap.end.min(range.start);
            let behind = gap.start.max(range.end)..gap.end;
            [before, behind]
        });
        self.0 = rest.filter(|gap| !gap.is_empty()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_joins_and_what_is_covered_goes() {
        let mut gaps = Gaps::between(0..100, [10..20, 15..30, 90..200].into_iter());
        assert_eq!(gaps.0, [0..10, 30..90]);
        gaps.cover(40..50);
        assert_eq!(gaps.0, [0..10, 30..40, 50..90]);
        gaps.add(10..30);
        assert_eq!(gaps.0, [0..40, 50..90]);
        assert!(gaps.holds(&(50..90)) && !gaps.holds(&(39..51)));
        gaps.add(60..60);
        gaps.cover(0..90);
        assert!(gaps.is_empty());
    }
}
