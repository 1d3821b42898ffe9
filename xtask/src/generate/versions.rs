//! Ranges of message versions, and the Rust conditions that test for them.

/// An inclusive, possibly empty range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub low: i16,
    pub high: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { low: 0, high: -1 };

    /// Reads `"none"`, `"3"`, `"0-5"` or `"2+"`.
    pub fn parse(text: &str) -> Option<Versions> {
        let text = text.trim();
        if text == "none" {
            return Some(Versions::NONE);
        }
        if let Some(low) = text.strip_suffix('+') {
            return Some(Versions { low: low.parse().ok()?, high: i16::MAX });
        }
        match text.split_once('-') {
            Some((low, high)) => Some(Versions { low: low.parse().ok()?, high: high.parse().ok()? }),
            None => text.parse().ok().map(|version| Versions { low: version, high: version }),
        }
    }

    pub fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub fn contains(self, version: i16) -> bool {
        self.low <= version && version <= self.high
    }

    pub fn intersect(self, other: Versions) -> Versions {
        let both = Versions { low: self.low.max(other.low), high: self.high.min(other.high) };
        if both.is_empty() { Versions::NONE } else { both }
    }

    /// What of `self` is not in `other`; `None` if that would be two ranges.
    pub fn subtract(self, other: Versions) -> Option<Versions> {
        let other = self.intersect(other);
        if other.is_empty() {
            return Some(self);
        }
        match (other.low == self.low, other.high == self.high) {
            (true, true) => Some(Versions::NONE),
            (true, false) => Some(Versions { low: other.high + 1, high: self.high }),
            (false, true) => Some(Versions { low: self.low, high: other.low - 1 }),
            (false, false) => None,
        }
    }
}

/// When something applies, as far as the generator can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    Never,
    If(String),
}

/// Whether a version known to be in `current` is in `wanted`.
pub fn when_in(wanted: Versions, current: Versions) -> When {
    let inside = wanted.intersect(current);
    if inside.is_empty() {
        return When::Never;
    }
    match (inside.low == current.low, inside.high == current.high) {
        (true, true) => When::Always,
        (false, true) => When::If(format!("version >= {}", inside.low)),
        (true, false) => When::If(format!("version <= {}", inside.high)),
        (false, false) if inside.low == inside.high => When::If(format!("version == {}", inside.low)),
        (false, false) => When::If(format!("({}..={}).contains(&version)", inside.low, inside.high)),
    }
}

/// Whether a version known to be in `current` is outside of `wanted`.
pub fn when_outside(wanted: Versions, current: Versions) -> When {
    let inside = wanted.intersect(current);
    if inside.is_empty() {
        return When::Always;
    }
    match (inside.low == current.low, inside.high == current.high) {
        (true, true) => When::Never,
        (false, true) => When::If(format!("version < {}", inside.low)),
        (true, false) => When::If(format!("version > {}", inside.high)),
        (false, false) if inside.low == inside.high => When::If(format!("version != {}", inside.low)),
        (false, false) => When::If(format!("!({}..={}).contains(&version)", inside.low, inside.high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_subtracted() {
        let all = Versions::parse("0-9").unwrap();
        assert_eq!(Versions::parse("none"), Some(Versions::NONE));
        assert_eq!(all.subtract(Versions::parse("4+").unwrap()), Some(Versions { low: 0, high: 3 }));
        assert_eq!(all.subtract(Versions::parse("0-3").unwrap()), Some(Versions { low: 4, high: 9 }));
        assert_eq!(all.subtract(Versions::parse("3").unwrap()), None);
    }

    #[test]
    fn conditions_are_minimal() {
        let current = Versions { low: 3, high: 9 };
        assert_eq!(when_in(Versions::parse("0+").unwrap(), current), When::Always);
        assert_eq!(when_in(Versions::parse("4+").unwrap(), current), When::If("version >= 4".to_string()));
        assert_eq!(when_in(Versions::parse("0-2").unwrap(), current), When::Never);
        assert_eq!(when_outside(Versions::parse("5-6").unwrap(), current), When::If("!(5..=6).contains(&version)".to_string()));
    }
}
