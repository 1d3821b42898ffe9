//! Makes a failing input shorter and plainer while it goes on failing.

/// Attempts at most.
const ATTEMPTS: usize = 5_000;

/// `fails` must hold of `input`; it holds of what is returned.
pub fn minimize(input: Vec<u8>, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input;
    let mut left = ATTEMPTS;
    let mut attempt = |candidate: &[u8]| {
        left = left.saturating_sub(1);
        left > 0 && fails(candidate)
    };
    let mut run = best.len().next_power_of_two();
    while run > 0 {
        let mut at = 0;
        while at < best.len() {
            let end = (at + run).min(best.len());
            let shorter = [&best[..at], &best[end..]].concat();
            match attempt(&shorter) {
                true => best = shorter,
                false => at = end,
            }
        }
        run /= 2;
    }
    for at in 0..best.len() {
        let mut plainer = best.clone();
        plainer[at] = 0;
        if plainer != best && attempt(&plainer) {
            best = plainer;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::minimize;

    #[test]
    fn what_does_not_matter_goes() {
        let fails = |bytes: &[u8]| bytes.contains(&7) && bytes.len() > 2;
        let mut least = minimize((0..100).collect(), fails);
        least.sort_unstable();
        assert_eq!(least, [0, 0, 7]);
    }
}
