//! What a case is to reach: a bound on a number of ours, absolute or against the peer in the same run.

use super::figures::{Figures, Metric, median};

/// How a number is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// At most so many times the peer's.
    OfPeerAtMost(f64),
    /// At least so many times the peer's.
    OfPeerAtLeast(f64),
    /// At least so many times our own in another case.
    OfCaseAtLeast(&'static str, f64),
    /// At most so many times our own in another case.
    OfCaseAtMost(&'static str, f64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Goal {
    pub(super) metric: Metric,
    pub(super) bound: Bound,
}

/// Rounds of the two servers, and what other cases of ours are looked up by.
pub(super) struct Evidence<'a> {
    pub(super) ours: &'a [Figures],
    pub(super) peer: &'a [Figures],
    pub(super) other: &'a dyn Fn(&str) -> Option<Vec<Figures>>,
}

impl Goal {
    /// Whether it is reached; nothing when a number it needs was not measured.
    pub(super) fn reached(&self, evidence: &Evidence<'_>) -> Option<bool> {
        let ours = median(self.metric, evidence.ours)?.middle;
        let peer = || median(self.metric, evidence.peer).map(|median| median.middle);
        let other = |case| median(self.metric, &(evidence.other)(case)?).map(|median| median.middle);
        Some(match self.bound {
            Bound::AtMost(limit) => ours <= limit,
            Bound::AtLeast(limit) => ours >= limit,
            Bound::OfPeerAtMost(share) => ours <= share * peer()?,
            Bound::OfPeerAtLeast(share) => ours >= share * peer()?,
            Bound::OfCaseAtLeast(case, share) => ours >= share * other(case)?,
            Bound::OfCaseAtMost(case, share) => ours <= share * other(case)?,
        })
    }

    pub(super) fn text(&self) -> String {
        let metric = self.metric.title();
        match self.bound {
            Bound::AtMost(limit) => format!("{metric} at most {limit}"),
            Bound::AtLeast(limit) => format!("{metric} at least {limit}"),
            Bound::OfPeerAtMost(share) => format!("{metric} at most {share:.3} of the peer's"),
            Bound::OfPeerAtLeast(share) => format!("{metric} at least {share} times the peer's"),
            Bound::OfCaseAtLeast(case, share) => format!("{metric} at least {share} of `{case}`"),
            Bound::OfCaseAtMost(case, share) => format!("{metric} at most {share:.3} of `{case}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(messages_per_second: f64) -> Vec<Figures> {
        vec![Figures { messages_per_second, ..Figures::default() }]
    }

    fn judged(bound: Bound) -> Option<bool> {
        let other = |case: &str| (case == "other").then(|| rate(50.0));
        let evidence = Evidence { ours: &rate(100.0), peer: &rate(200.0), other: &other };
        Goal { metric: Metric::Rate, bound }.reached(&evidence)
    }

    #[test]
    fn bounds_are_absolute_or_against_the_peer_or_another_case() {
        assert_eq!(judged(Bound::AtMost(100.0)), Some(true));
        assert_eq!(judged(Bound::AtLeast(100.1)), Some(false));
        assert_eq!(judged(Bound::OfPeerAtMost(0.5)), Some(true));
        assert_eq!(judged(Bound::OfPeerAtLeast(1.0)), Some(false));
        assert_eq!(judged(Bound::OfCaseAtLeast("other", 2.0)), Some(true));
        assert_eq!(judged(Bound::OfCaseAtMost("other", 1.9)), Some(false));
        assert_eq!(judged(Bound::OfCaseAtMost("missing", 1.0)), None);
    }
}
