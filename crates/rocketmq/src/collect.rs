//! The batches of a plan in memory, each held to its frame.
//!
//! What the page cache holds is copied on the spot. Where a plan wants much of the blocks that it touches, those are read as a whole, around
//! the page cache if they are not in it, and the pulls of other queues find them too. The rest is read on the blocking pool.
//!
//! Called by [`crate::pull`].

use bytes::{Bytes, BytesMut};
use duolog_base::DiskFile;
use duolog_core::broker::materialize;
use duolog_log::{ReadError, ReadPart, ReadPlan, StoredFrame};
use duolog_net::{BLOCK_BYTES, Blocks, Place, is_cached, read_cached};
use std::io;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Blocks are read for a plan that wants so many bytes of each of them.
const BLOCK_LEAST_BYTES: usize = 32 << 10;
/// A batch that is longer is not taken from blocks.
const BLOCK_MOST_BYTES: usize = BLOCK_BYTES as usize / 2;
/// Reads on the blocking pool at a time, all clients together.
const POOL_READS: usize = 16;

static POOL_READ_PERMITS: Semaphore = Semaphore::const_new(POOL_READS);

/// The plan's batches one behind the other. The plan ends before one that is damaged; it is an error if it begins with that.
pub(crate) async fn collect(blocks: &Arc<Blocks>, plan: &mut ReadPlan) -> Result<Bytes, ReadError> {
    let mut out = BytesMut::with_capacity(plan.bytes);
    let failed = |error: io::Error| ReadError::Io(Arc::new(error));
    if !has_frames(plan) {
        by_pool(plan).await
    } else if is_dense(plan) {
        from_blocks(blocks, plan, &mut out).await.map_err(failed)?;
        Ok(out.freeze())
    } else if from_cache(plan, &mut out).map_err(failed)? {
        Ok(out.freeze())
    } else {
        by_pool(plan).await
    }
}

/// Reads all, or no more than the first batch in a file if not all can be read.
async fn by_pool(plan: &mut ReadPlan) -> Result<Bytes, ReadError> {
    let permit = POOL_READ_PERMITS.acquire().await;
    let _permit = permit.map_err(|error| ReadError::Io(Arc::new(io::Error::other(error))))?;
    let read = materialize(plan.clone()).await;
    let second = plan.parts.iter().enumerate().filter(|(_, part)| Framed::of(part).is_some()).nth(1);
    match (read, second.map(|(at, _)| at)) {
        (Err(_), Some(second)) => {
            plan.end_before(second);
            materialize(plan.clone()).await
        }
        (read, _) => read,
    }
}

/// A batch in a file, with the frame before it.
struct Framed<'a> {
    file: &'a Arc<dyn DiskFile>,
    /// Where the frame begins.
    position: u64,
    /// Of frame and batch.
    bytes: usize,
    settled: u64,
    frame: StoredFrame,
}

impl Framed<'_> {
    fn of(part: &ReadPart) -> Option<Framed<'_>> {
        let ReadPart::File { file, position, bytes, settled, frame: Some(frame) } = part else { return None };
        let position = position.checked_sub(StoredFrame::HEADER_BYTES as u64)?;
        Some(Framed { file, position, bytes: StoredFrame::HEADER_BYTES + bytes, settled: *settled, frame: *frame })
    }

    fn end(&self) -> u64 {
        self.position + self.bytes as u64
    }

    fn place(&self) -> Place {
        Place { file: self.file.clone(), position: self.position, settled: self.settled }
    }

    fn is_of(&self, file: &Arc<dyn DiskFile>) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(self.file), Arc::as_ptr(file))
    }

    /// Adds the batch of which frame and all were read.
    fn take(&self, read: &[u8], out: &mut BytesMut) -> io::Result<()> {
        self.frame.check(read, self.bytes - StoredFrame::HEADER_BYTES)?;
        out.extend_from_slice(&read[StoredFrame::HEADER_BYTES..]);
        Ok(())
    }
}

fn has_frames(plan: &ReadPlan) -> bool {
    plan.parts.iter().all(|part| matches!(part, ReadPart::Memory(_)) || Framed::of(part).is_some())
}

/// Whether so much of the blocks is wanted in which the plan's batches lie that they are worth to be read.
fn is_dense(plan: &ReadPlan) -> bool {
    let (mut bytes, mut blocks) = (0, 0);
    let mut last: Option<Framed<'_>> = None;
    for framed in plan.parts.iter().filter_map(Framed::of) {
        if framed.bytes > BLOCK_MOST_BYTES {
            return false;
        }
        let same = |last: &Framed<'_>| last.is_of(framed.file) && last.end() / BLOCK_BYTES == framed.end() / BLOCK_BYTES;
        blocks += usize::from(!last.as_ref().is_some_and(same));
        bytes += framed.bytes;
        last = Some(framed);
    }
    blocks > 0 && bytes >= blocks * BLOCK_LEAST_BYTES
}

/// What became of a batch that was read.
fn judge(plan: &mut ReadPlan, at: usize, taken: io::Result<()>) -> io::Result<bool> {
    match taken {
        Ok(()) => Ok(true),
        Err(error) if at > 0 => {
            tracing::error!(%error, "a read ends before a batch");
            plan.end_before(at);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Copies batches that the page cache holds; false if it does not hold them all.
fn from_cache(plan: &mut ReadPlan, out: &mut BytesMut) -> io::Result<bool> {
    let mut read = Vec::new();
    for at in 0..plan.parts.len() {
        let taken = match (&plan.parts[at], Framed::of(&plan.parts[at])) {
            (ReadPart::Memory(batch), _) => {
                out.extend_from_slice(batch);
                continue;
            }
            (_, None) => return Ok(false),
            (_, Some(framed)) => {
                read.resize(framed.bytes, 0);
                if read_cached(&**framed.file, &mut read, framed.position) != Some(framed.bytes) {
                    return Ok(false);
                }
                framed.take(&read, out)
            }
        };
        if !judge(plan, at, taken)? {
            break;
        }
    }
    Ok(true)
}

async fn from_blocks(blocks: &Arc<Blocks>, plan: &mut ReadPlan, out: &mut BytesMut) -> io::Result<()> {
    let Some((end, last)) = plan.parts.iter().filter_map(Framed::of).last().map(|last| (last.end(), last.place())) else {
        return Ok(());
    };
    // What is here of the block that was looked at last.
    let mut here: Option<(Place, Bytes)> = None;
    for at in 0..plan.parts.len() {
        let taken = match (&plan.parts[at], Framed::of(&plan.parts[at])) {
            (ReadPart::Memory(batch), _) => {
                out.extend_from_slice(batch);
                continue;
            }
            (_, None) => return Err(io::ErrorKind::InvalidInput.into()),
            (_, Some(framed)) => match here.as_ref().and_then(|here| slice(here, &framed)) {
                Some(read) => framed.take(read, out),
                None => {
                    let place = framed.place();
                    let wanted = if framed.is_of(&last.file) { (end - framed.position) as usize } else { usize::MAX };
                    let rest = place.settled_behind().min(wanted);
                    if rest < framed.bytes {
                        framed.take(&blocks.get_whole(&place, framed.bytes).await?, out)
                    } else {
                        let read = blocks.get(&place, rest).await?;
                        let taken = framed.take(&read[..framed.bytes], out);
                        here = Some((place, read));
                        taken
                    }
                }
            },
        };
        if !judge(plan, at, taken)? {
            break;
        }
    }
    let next = Place { position: (end / BLOCK_BYTES + 1) * BLOCK_BYTES, ..last };
    if next.settled_behind() > 0 && !is_cached(&*next.file, next.position..next.position + 1) {
        blocks.ahead(next);
    }
    Ok(())
}

/// Frame and batch, if they are in what is here.
fn slice<'a>((place, read): &'a (Place, Bytes), framed: &Framed<'_>) -> Option<&'a [u8]> {
    let from = framed.position.checked_sub(place.position).filter(|_| framed.is_of(&place.file))? as usize;
    read.get(from..from + framed.bytes)
}
