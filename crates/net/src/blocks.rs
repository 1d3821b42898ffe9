//! Blocks of files, read around the page cache if they are not in it and kept in a little memory of our own for a moment.
//!
//! A consumer far behind reads through gigabytes that nobody will want again soon. Through the page cache they would push out what
//! others read often, and the kernel would spend more on finding pages for them than on reading. So whoever sends asks for the
//! block that holds what comes next, and says what will follow, so that the disk reads on meanwhile. Batches of many partitions lie
//! between each other in a file: all who read near each other share the block.
//!
//! What is read again soon after all is worth a place in the page cache: such blocks are read through it, and whoever comes next
//! finds them there.
//!
//! Memory is bounded by the number of blocks that are kept and [`READS`]. A sender holds a block only during a call to the
//! socket, never while it waits for a slow client; if the block is gone by then, it is read again. Once all readers have said that they
//! [leave](Blocks::leave), all is freed.

use crate::cached::{is_cached, read_cached};
use bytes::Bytes;
use duolog_base::{DIRECT_ALIGNMENT, DiskFile};
use hashbrown::HashSet;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Weak};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

/// Bytes of one read. Positions of blocks in a file are multiples of it.
pub const BLOCK_BYTES: u64 = 1 << 20;
/// Blocks kept for those who come next.
const KEPT_BLOCKS: usize = 32;
/// Reads at a time, all connections together; each holds a block more.
const READS: usize = 16;
/// Blocks that are remembered to have been read: one that is read again while it is among them goes through the page cache. More
/// bytes than a consumer reads that is behind a little, fewer than a scan of old data.
const REMEMBERED_BLOCKS: usize = 8192;
/// Buffers kept to be read into again.
const SPARE_BUFFERS: usize = 16;

static SHARED: LazyLock<Arc<Blocks>> = LazyLock::new(Arc::default);

/// Blocks of files.
pub struct Blocks {
    kept: Mutex<Kept>,
    reads: Arc<Semaphore>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Guards the list of blocks; never held during a read.
struct Kept {
    blocks: Vec<Block>,
    /// How many there may be.
    most: usize,
    remembered: Remembered,
    /// Counts the uses, to know the block that was not used for the longest time.
    uses: u64,
    readers: usize,
}

struct Block {
    /// Does not hold the file: it may be deleted or used again meanwhile. No other file gets its address as long as this lives.
    file: Weak<dyn DiskFile>,
    number: u64,
    /// Bytes of the block that had settled when it was asked for; later ones are not in it.
    settled: usize,
    used: u64,
    content: Arc<Content>,
}

struct Content {
    /// Set once it is read. All who want it wait for the one that reads.
    bytes: OnceCell<Bytes>,
    /// Whether it was read before, not long ago.
    again: bool,
}

/// Blocks that were read, by the address of their file, in the order in which they were read first. A new file at the address of an
/// old one is taken for it, which harms nobody.
#[derive(Default)]
struct Remembered {
    blocks: HashSet<(usize, u64)>,
    order: VecDeque<(usize, u64)>,
}

impl Remembered {
    /// Remembers a block; whether it was among those remembered.
    fn again(&mut self, place: &Place) -> bool {
        let key = (Arc::as_ptr(&place.file).addr(), place.block());
        if !self.blocks.insert(key) {
            return true;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED_BLOCKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
        false
    }
}

/// A place in a file, and how much of that file will not change any more.
#[derive(Clone)]
pub struct Place {
    pub file: Arc<dyn DiskFile>,
    pub position: u64,
    /// Where in the file what may still change begins.
    pub settled: u64,
}

impl Place {
    /// Number of its block in the file.
    pub fn block(&self) -> u64 {
        self.position / BLOCK_BYTES
    }

    /// Bytes of the place's block that have settled.
    fn settled_in_block(&self) -> usize {
        self.settled.saturating_sub(self.block() * BLOCK_BYTES).min(BLOCK_BYTES) as usize
    }

    /// Bytes from here to the end of the block that have settled.
    pub fn settled_behind(&self) -> usize {
        self.settled_in_block().saturating_sub(self.in_block())
    }

    fn behind(&self, bytes: &Bytes) -> Place {
        Place { position: self.position + bytes.len() as u64, ..self.clone() }
    }

    fn in_block(&self) -> usize {
        (self.position % BLOCK_BYTES) as usize
    }
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks::keeping(KEPT_BLOCKS)
    }
}

impl Blocks {
    /// None yet, and never more than so many that are kept.
    pub fn keeping(most: usize) -> Blocks {
        let kept = Kept { blocks: Vec::new(), most, remembered: Remembered::default(), uses: 0, readers: 0 };
        Blocks { kept: Mutex::new(kept), reads: Arc::new(Semaphore::new(READS)), spare: Arc::default() }
    }

    /// Those that all who send whole ranges of files share.
    pub fn shared() -> Arc<Blocks> {
        SHARED.clone()
    }

    /// At most `most` bytes at the place, as far as its block reaches, if they are here already.
    pub fn ready(&self, place: &Place, most: usize) -> Option<Bytes> {
        let content = self.kept.lock().find(place, most)?;
        slice(content.bytes.get()?, place, most).ok()
    }

    /// So many bytes at the place, no more than a block has but perhaps of two, if they are here already.
    pub fn ready_whole(&self, place: &Place, bytes: usize) -> Option<Bytes> {
        let first = self.ready(place, bytes)?;
        if first.len() == bytes {
            return Some(first);
        }
        let second = self.ready(&place.behind(&first), bytes - first.len())?;
        Some([first, second].concat().into())
    }

    /// So many bytes at the place, no more than a block has but perhaps of two. Waits for the disk.
    pub async fn get_whole(&self, place: &Place, bytes: usize) -> io::Result<Bytes> {
        let first = self.get(place, bytes).await?;
        if first.len() == bytes {
            return Ok(first);
        }
        let second = self.get(&place.behind(&first), bytes - first.len()).await?;
        Ok([first, second].concat().into())
    }

    /// At most `most` bytes at the place, as far as its block reaches. Waits for the disk.
    pub async fn get(&self, place: &Place, most: usize) -> io::Result<Bytes> {
        let content = self.kept.lock().find_or_add(place, most);
        let block = content.bytes.get_or_try_init(async || {
            if let Some(cached) = self.read_cached(place) {
                return Ok(cached);
            }
            let permit = self.reads.clone().acquire_owned().await.map_err(io::Error::other)?;
            self.read(place, content.again, permit).await
        });
        slice(block.await?, place, most)
    }

    /// Begins to read the block at the place if it is not here and there is not too much to do.
    pub fn ahead(self: &Arc<Self>, place: Place) {
        if place.in_block() >= place.settled_in_block() {
            return;
        }
        let Ok(permit) = self.reads.clone().try_acquire_owned() else { return };
        let content = {
            let mut kept = self.kept.lock();
            if kept.find(&place, 1).is_some() {
                return;
            }
            kept.find_or_add(&place, 1)
        };
        let blocks = self.clone();
        // An error shows again when somebody needs the block. As many of these tasks as there are permits.
        tokio::spawn(async move {
            let _ = content.bytes.get_or_try_init(|| blocks.read(&place, content.again, permit)).await;
        });
    }

    /// The block at the place from the page cache, if that has all of it.
    fn read_cached(&self, place: &Place) -> Option<Bytes> {
        let from = place.block() * BLOCK_BYTES;
        let range = from..from + place.settled_in_block() as u64;
        if range.is_empty() || !is_cached(&*place.file, range.clone()) {
            return None;
        }
        let mut buffer = Buffer::new(self.spare.clone());
        buffer.read_cached(&*place.file, range).then(|| Bytes::from_owner(buffer))
    }

    async fn read(&self, place: &Place, cached: bool, permit: OwnedSemaphorePermit) -> io::Result<Bytes> {
        let mut buffer = Buffer::new(self.spare.clone());
        let (place, settled) = (place.clone(), place.settled_in_block());
        let reading = tokio::task::spawn_blocking(move || {
            let read = buffer.read(&*place.file, place.block() * BLOCK_BYTES, settled, cached);
            // Also counted if nobody waits for it any more, and until somebody takes it.
            (read.map(|()| Bytes::from_owner(buffer)), permit)
        });
        reading.await.map_err(io::Error::other)?.0
    }

    /// One more reads blocks, until it says [`Blocks::leave`].
    pub fn enter(&self) {
        self.kept.lock().readers += 1;
    }

    /// See [`Blocks::enter`].
    pub fn leave(&self) {
        let mut kept = self.kept.lock();
        kept.readers -= 1;
        if kept.readers == 0 {
            kept.blocks = Vec::new();
            drop(kept);
            self.spare.lock().clear();
        }
    }
}

impl Kept {
    /// The block, if it has these bytes or will have them.
    fn find(&mut self, place: &Place, most: usize) -> Option<Arc<Content>> {
        let uses = self.uses + 1;
        let block = self.blocks.iter_mut().find(|block| block.is_of(place))?;
        if block.settled < (place.in_block() + most).min(place.settled_in_block()) {
            return None;
        }
        (self.uses, block.used) = (uses, uses);
        Some(block.content.clone())
    }

    fn find_or_add(&mut self, place: &Place, most: usize) -> Arc<Content> {
        if let Some(content) = self.find(place, most) {
            return content;
        }
        // One that had too little is of no use any more.
        self.blocks.retain(|block| !block.is_of(place));
        if self.blocks.len() == self.most
            && let Some(oldest) = (0..self.most).min_by_key(|at| self.blocks[*at].used)
        {
            self.blocks.swap_remove(oldest);
        }
        self.uses += 1;
        let again = self.remembered.again(place);
        let content = Arc::new(Content { bytes: OnceCell::new(), again });
        self.blocks.push(Block {
            file: Arc::downgrade(&place.file),
            number: place.block(),
            settled: place.settled_in_block(),
            used: self.uses,
            content: content.clone(),
        });
        content
    }
}

impl Block {
    fn is_of(&self, place: &Place) -> bool {
        self.number == place.block() && std::ptr::addr_eq(self.file.as_ptr(), Arc::as_ptr(&place.file))
    }
}

fn slice(block: &Bytes, place: &Place, most: usize) -> io::Result<Bytes> {
    let from = place.in_block();
    let end = (from + most).min(BLOCK_BYTES as usize);
    match end <= block.len() && from < end {
        true => Ok(block.slice(from..end)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Aligned memory of a block; goes back to the spare ones.
struct Buffer {
    memory: Vec<u8>,
    skip: usize,
    length: usize,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffer {
    fn new(spare: Arc<Mutex<Vec<Vec<u8>>>>) -> Buffer {
        let memory = spare.lock().pop().unwrap_or_else(|| vec![0; (BLOCK_BYTES + DIRECT_ALIGNMENT) as usize]);
        let skip = memory.as_ptr().align_offset(DIRECT_ALIGNMENT as usize);
        assert!(skip <= DIRECT_ALIGNMENT as usize, "the memory holds an aligned block");
        Buffer { memory, skip, length: 0, spare }
    }

    /// Reads what the page cache holds of a file; whether that is all of the range.
    fn read_cached(&mut self, file: &dyn DiskFile, range: Range<u64>) -> bool {
        self.length = (range.end - range.start) as usize;
        let memory = &mut self.memory[self.skip..self.skip + self.length];
        read_cached(file, memory, range.start) == Some(self.length)
    }

    /// Reads so many bytes, or as many as the file has, into the page cache or around it.
    fn read(&mut self, file: &dyn DiskFile, position: u64, bytes: usize, cached: bool) -> io::Result<()> {
        let aligned = bytes.next_multiple_of(DIRECT_ALIGNMENT as usize);
        let memory = &mut self.memory[self.skip..self.skip + aligned];
        let read = if cached { file.read_at(memory, position)? } else { file.read_direct_at(memory, position)? };
        self.length = read.min(bytes);
        Ok(())
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.skip..self.skip + self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_BUFFERS {
            spare.push(std::mem::take(&mut self.memory));
        }
    }
}

impl Blocks {
    /// Blocks that are kept.
    pub fn kept(&self) -> usize {
        self.kept.lock().blocks.len()
    }

    /// Blocks in memory, kept or not, without the spare buffers.
    pub fn in_memory(&self) -> usize {
        Arc::strong_count(&self.spare) - 1
    }
}
