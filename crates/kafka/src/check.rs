//! Holding the batch with which a fetch begins to its frame, while an error can still be told to the client.
//!
//! The other batches are held to theirs when they are sent, since they are in memory then. A fetch whose next batch is damaged ends with
//! the connection, and the one after that ends before the batch: see [`crate::damage`]. So a damaged batch is always the first one
//! of a fetch in the end.

use crate::cold::ColdBlocks;
use crate::damage;
use crate::output::BULK_LEAST_BYTES;
use crate::ranges::{FileRange, copy_around_cache, copy_by_pool, copy_cached, is_cached};
use bytes::Bytes;
use duolog_log::{ReadPart, ReadPlan, StoredFrame};
use std::io;

pub(crate) async fn check(plan: &mut ReadPlan) -> io::Result<()> {
    damage::leave_out(plan);
    let Some(range) = plan.parts.first().and_then(FileRange::of) else { return Ok(()) };
    let Some(frame) = range.unchecked else { return Ok(()) };
    let start = read_start(&range, plan.bytes).await?;
    frame.check(&start, range.bytes)?;
    damage::repaired(frame);
    if start.len() == StoredFrame::HEADER_BYTES + range.bytes {
        plan.parts[0] = ReadPart::Memory(start.slice(StoredFrame::HEADER_BYTES..));
    }
    Ok(())
}

/// The beginning of the range's frame, of a plan with so many bytes.
async fn read_start(range: &FileRange, planned: usize) -> io::Result<Bytes> {
    let file = &range.place.file;
    let (place, bytes) = range.start();
    if let Some(start) = ColdBlocks::shared().ready_whole(&place, bytes) {
        return Ok(start);
    }
    let span = place.position..place.position + bytes as u64;
    if is_cached(&**file, span.clone()) {
        copy_cached(file, span).await
    } else if planned < BULK_LEAST_BYTES {
        // Sent through the page cache.
        copy_by_pool(file, span).await
    } else {
        copy_around_cache(file, span).await
    }
}
