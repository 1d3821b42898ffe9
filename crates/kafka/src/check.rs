//! Holding what a fetch is to send to what was stored, while an error can still be told to the client.
//!
//! In the commit log this is the batch with which the fetch begins. Batches in segment files have no frames; their headers are gone over
//! ([`RunCheck`]), and the fetch ends before the first that is not the right one.
//!
//! The other batches are held to theirs when they are sent, since they are in memory then. A fetch whose next batch is damaged ends with
//! the connection, and the one after that ends before the batch: see [`crate::damage`]. So a damaged batch is always the first one
//! of a fetch in the end.

use crate::damage;
use crate::output::BULK_LEAST_BYTES;
use crate::ranges::{FileRange, copy_around_cache, copy_by_pool, copy_cached};
use bytes::Bytes;
use duolog_log::dedicated::RunCheck;
use duolog_log::{ReadPart, ReadPlan, StoredFrame};
use duolog_net::{BLOCK_BYTES, Blocks, Place, is_cached, read_cached};
use std::io;

/// Blocks that are read for the headers in them; a fetch of more from the disk ends there, since a block is to be sent while it is here.
const CHECKED_BLOCKS: usize = 8;

pub(crate) async fn check(plan: &mut ReadPlan) -> io::Result<()> {
    if let Some(headers) = plan.run_check() {
        return check_run(plan, headers).await;
    }
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
    if let Some(start) = Blocks::shared().ready_whole(&place, bytes) {
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

/// Goes over the headers of a range of a segment file.
async fn check_run(plan: &mut ReadPlan, mut headers: RunCheck) -> io::Result<()> {
    let Some(range) = plan.parts.first().and_then(FileRange::of) else { return Ok(()) };
    let file = &range.place.file;
    let mut buffer = Vec::new();
    let mut blocks = 0;
    let mut block = None;
    while let Some(wanted) = headers.wants() {
        let place = Place { position: wanted.start, ..range.place.clone() };
        buffer.resize((wanted.end - wanted.start) as usize, 0);
        if read_cached(&**file, &mut buffer, wanted.start) == Some(buffer.len()) {
            headers.take(&buffer);
        } else if plan.bytes < BULK_LEAST_BYTES {
            headers.take(&copy_by_pool(file, wanted).await?);
        } else {
            let next = wanted.start / BLOCK_BYTES;
            if block.replace(next) != Some(next) {
                blocks += 1;
            }
            if blocks > CHECKED_BLOCKS {
                break;
            }
            headers.take(&Blocks::shared().get_whole(&place, buffer.len()).await?);
        }
    }
    if let Some(problem) = plan.keep_checked(&headers)? {
        tracing::error!(file = %damage::path_of(&**file).display(), %problem, "a fetch ends before a batch");
    }
    Ok(())
}
