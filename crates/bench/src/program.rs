//! A load that is a program of its own, as a client's performance tool: what the broker uses while it runs. The program's start is
//! part of the time.

use crate::arguments::{Broker, Program};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use std::process::{Command, Stdio};

pub(crate) fn run(broker: &Broker, load: &Program) -> Result<Report, Failure> {
    let program = load.command.first().cloned().unwrap_or_default();
    let failed = |error: std::io::Error| Failure::Program { program: program.clone(), problem: error.to_string() };
    let meter = Meter::start(&broker.pids)?;
    let mut command = Command::new(&program);
    command.args(load.command.get(1..).unwrap_or_default()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(Failure::Program { program, problem: format!("{}: {text}", output.status) });
    }
    let messages = match &load.column {
        Some(column) => {
            let problem = || Failure::Program { program: program.clone(), problem: format!("no {column} in: {text}") };
            counted(&text, column).ok_or_else(problem)?
        }
        None => 0,
    };
    meter.stop("program", Traffic { messages, failed: 0, size: load.size }, None)
}

/// The number in this column of the table that the program has printed, in the row behind its heads.
fn counted(text: &str, column: &str) -> Option<u64> {
    let mut lines = text.lines();
    let at = lines.find_map(|line| cells(line).position(|cell| cell == column))?;
    cells(lines.next()?).nth(at)?.parse().ok()
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_below_the_head() {
        let text = "warning\nstart.time, nMsg, ms\n2026-01-01 10:00:00, 300, 12\n";
        assert_eq!((counted(text, "nMsg"), counted(text, "other"), counted("nMsg", "nMsg")), (Some(300), None, None));
    }
}
