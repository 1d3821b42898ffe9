//! When the simulated disk refuses: planned errors, and the moment the power fails.

use std::io;

/// What a caller asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Open,
    Create,
    Read,
    Write,
    Sync,
    SetLength,
    Rename,
    Remove,
    CreateDir,
    List,
    SyncDir,
    SyncAll,
    FreeBytes,
}

/// Operations there are.
const KINDS: usize = Operation::FreeBytes as usize + 1;

impl Operation {
    /// Whether it changes what a crash may leave behind.
    fn changes(self) -> bool {
        match self {
            Operation::Open | Operation::Read | Operation::List | Operation::FreeBytes => false,
            Operation::Create
            | Operation::Write
            | Operation::Sync
            | Operation::SetLength
            | Operation::Rename
            | Operation::Remove
            | Operation::CreateDir
            | Operation::SyncDir
            | Operation::SyncAll => true,
        }
    }
}

/// The error an operation ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// EIO.
    Io,
    /// ENOSPC.
    NoSpace,
}

impl Failure {
    pub(super) fn error(self) -> io::Error {
        // The numbers of Linux.
        io::Error::from_raw_os_error(match self {
            Failure::Io => 5,
            Failure::NoSpace => 28,
        })
    }
}

/// What is to become of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    Fail(Failure),
    /// The power fails during it: it may have begun, and its caller is not told.
    PowerFails,
}

#[derive(Clone, Debug)]
struct Planned {
    operation: Operation,
    /// Operations of that kind that still succeed.
    after: u64,
    failure: Failure,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    counts: [u64; KINDS],
    planned: Vec<Planned>,
    /// Changing operations until the power fails.
    power_left: Option<u64>,
    off: bool,
}

impl Faults {
    pub(super) fn plan(&mut self, operation: Operation, after: u64, failure: Failure) {
        self.planned.push(Planned { operation, after, failure });
    }

    pub(super) fn cut_power_after(&mut self, changes: u64) {
        self.power_left = Some(changes);
    }

    pub(super) fn count(&self, operation: Operation) -> u64 {
        self.counts[operation as usize]
    }

    pub(super) fn reboot(&mut self) {
        (self.power_left, self.off) = (None, false);
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    /// Counts an operation and says what is to become of it.
    pub(super) fn begin(&mut self, operation: Operation) -> io::Result<Verdict> {
        self.check_power()?;
        self.counts[operation as usize] += 1;
        if operation.changes()
            && let Some(left) = &mut self.power_left
        {
            if *left == 0 {
                self.off = true;
                return Ok(Verdict::PowerFails);
            }
            *left -= 1;
        }
        let mut verdict = Verdict::Proceed;
        self.planned.retain_mut(|planned| {
            if planned.operation != operation {
                return true;
            }
            if planned.after > 0 {
                planned.after -= 1;
                return true;
            }
            verdict = Verdict::Fail(planned.failure);
            false
        });
        Ok(verdict)
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        match self.off {
            true => Err(power_is_off()),
            false => Ok(()),
        }
    }

    /// Changing operations so far.
    pub(super) fn changes(&self) -> u64 {
        use Operation::*;
        [Create, Write, Sync, SetLength, Rename, Remove, CreateDir, SyncDir, SyncAll].iter().map(|kind| self.count(*kind)).sum()
    }
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("the simulated machine is off")
}
