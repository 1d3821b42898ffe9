//! Holding what a fetch is about to send to its checksums, while an error can still be told to the client. See `ReadPlan::check`.
//!
//! Looks at what is in the page cache, and at the first batch in any case. The rest of a cold range is not read for this: a bulk read
//! around the page cache would pay for each batch with a read of its own.

use duolog_base::DiskFile;
use duolog_log::ReadPlan;
use rustix::io::ReadWriteFlags;
use std::io::{self, IoSliceMut};
use tokio::sync::Semaphore;

/// Checks at a time that wait for the disk, all connections together.
const WAITING_CHECKS: usize = 16;

static PERMITS: Semaphore = Semaphore::const_new(WAITING_CHECKS);

pub(crate) async fn check(plan: &mut ReadPlan) -> io::Result<()> {
    match plan.check(read_cached) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        result => return result,
    }
    let _permit = PERMITS.acquire().await.map_err(io::Error::other)?;
    let mut checked = std::mem::take(plan);
    let checking = tokio::task::spawn_blocking(move || {
        let mut first = true;
        let result = checked.check(|file, buffer, position| match std::mem::take(&mut first) {
            true => file.read_exact_at(buffer, position),
            false => read_cached(file, buffer, position),
        });
        result.map(|()| checked)
    });
    *plan = checking.await.map_err(io::Error::other)??;
    Ok(())
}

/// Reads what the page cache holds without waiting; an error of kind `WouldBlock` if that is not all.
fn read_cached(file: &dyn DiskFile, buffer: &mut [u8], position: u64) -> io::Result<()> {
    let wanted = buffer.len();
    let read = file
        .descriptor()
        .and_then(|file| rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], position, ReadWriteFlags::NOWAIT).ok());
    if read == Some(wanted) { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}
