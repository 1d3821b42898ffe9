//! Counts scenarios in what a test runner prints. Each runner has its own way of saying "passed".

/// How a suite's runner reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dialect {
    /// `ok NAME`, `FAILED NAME`: our own runner for Java.
    Plain,
    /// `pytest -rpfEsxX`.
    Pytest,
    /// `go test -v`.
    Go,
    /// `node --test --test-reporter=tap`.
    Tap,
}

/// How Node marks a test that `--test-name-pattern` leaves out.
const TAP_NOT_CHOSEN: &str = "# SKIP test name does not match pattern";

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    /// The names of the scenarios that did not pass. A skipped one is among them: nothing may be skipped.
    pub(super) failed: Vec<String>,
}

pub(super) fn count(dialect: Dialect, output: &str) -> Tally {
    let mut tally = Tally::default();
    for (name, passed) in output.lines().filter_map(|line| outcome(dialect, line)) {
        if passed {
            tally.passed += 1;
        } else {
            tally.failed.push(name.to_owned());
        }
    }
    tally
}

fn outcome(dialect: Dialect, line: &str) -> Option<(&str, bool)> {
    match dialect {
        Dialect::Plain => prefixed(line, "ok ", "FAILED "),
        Dialect::Pytest => pytest(line),
        Dialect::Go => prefixed(line, "--- PASS: ", "--- FAIL: ").or_else(|| Some((line.strip_prefix("--- SKIP: ")?, false))),
        Dialect::Tap => tap(line),
    }
}

fn prefixed<'a>(line: &'a str, passed: &str, failed: &str) -> Option<(&'a str, bool)> {
    let good = line.strip_prefix(passed).map(|name| (name, true));
    good.or_else(|| line.strip_prefix(failed).map(|name| (name, false)))
}

/// `PASSED path::name`, `FAILED path::name - why`, `SKIPPED [1] path:line: why`: the summary at the end, which no
/// output of a client's own threads can tear apart.
fn pytest(line: &str) -> Option<(&str, bool)> {
    let (outcome, rest) = line.split_once(' ')?;
    let name = rest.split(" - ").next()?;
    match outcome {
        "PASSED" if name.contains("::") => Some((name, true)),
        "FAILED" | "ERROR" | "XFAIL" | "XPASS" if name.contains("::") && !name.starts_with(' ') => Some((name, false)),
        "SKIPPED" if rest.starts_with('[') => Some((rest, false)),
        _ => None,
    }
}

/// `ok 1 - name # SKIP reason`. What was not asked for is listed, too, and does not count.
fn tap(line: &str) -> Option<(&str, bool)> {
    let (rest, passed) = prefixed(line, "ok ", "not ok ")?;
    let (_, name) = rest.split_once(" - ").filter(|(_, name)| !name.ends_with(TAP_NOT_CHOSEN))?;
    Some((name, passed && !name.contains("# SKIP") && !name.contains("# TODO")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dialect: Dialect, output: &str, passed: usize, failed: &[&str]) {
        let failed = failed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(count(dialect, output), Tally { passed, failed });
    }

    #[test]
    fn each_runners_words_are_understood() {
        check(Dialect::Plain, "ok a b (3 ms)\nnoise ok\nFAILED c\n", 1, &["c"]);
        let pytest = "t.py::two FAILED [ 50%]\nERROR    kafka: x::y\nPASSED t.py::one[x y]\nFAILED t.py::two - assert\nERROR t.py::three\n";
        check(Dialect::Pytest, pytest, 1, &["t.py::two", "t.py::three"]);
        check(Dialect::Go, "=== RUN A\n--- PASS: A (0.1s)\n    --- PASS: A/b\n--- FAIL: C (2s)\nFAIL\n", 1, &["C (2s)"]);
        check(Dialect::Tap, "TAP version 13\n    ok 1 - inner\nok 1 - one\nnot ok 2 - two\n# pass 1\n", 1, &["two"]);
    }

    #[test]
    fn a_skipped_scenario_is_a_failed_one() {
        check(Dialect::Pytest, "t.py::one SKIPPED (why) [ 50%]\nSKIPPED [1] t.py:3: why\n", 0, &["[1] t.py:3: why"]);
        check(Dialect::Go, "--- SKIP: A (0.0s)\n", 0, &["A (0.0s)"]);
        check(Dialect::Tap, "ok 1 - one # SKIP\n", 0, &["one # SKIP"]);
    }
}
