//! One simulated file: what the medium holds, and what the page cache holds over it.
//!
//! Reads see the cache over the medium. [`Inode::sync`] moves the cache to the medium; [`Inode::crash`] loses the cache, except
//! that any part of it may have been written back before: each sector for itself, as drives do, and the length for itself.
//! A sync that failed behaves as on Linux: the cached pages are taken for clean afterwards, so that a second sync succeeds
//! without writing them.

use crate::Random;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Unit of caching.
pub const PAGE_BYTES: usize = 4096;
/// Unit that a drive writes wholly or not at all.
pub const SECTOR_BYTES: usize = 512;

type Page = Arc<[u8; PAGE_BYTES]>;

/// Shared by all pages of zeros: zero-filled files are large.
static ZEROS: LazyLock<Page> = LazyLock::new(|| Arc::new([0; PAGE_BYTES]));

#[derive(Clone)]
struct CachedPage {
    data: Page,
    /// A sync of it failed: no later sync writes it.
    forgotten: bool,
}

#[derive(Clone, Default)]
pub(super) struct Inode {
    length: u64,
    durable_length: u64,
    cached: BTreeMap<u64, CachedPage>,
    durable: BTreeMap<u64, Page>,
    /// Shortest length since the last sync: what the medium holds from there on is no longer seen.
    cut: Option<u64>,
    /// Pages that take space: those of `cached` and the visible ones of `durable`.
    allocated: usize,
}

impl Inode {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn allocated_pages(&self) -> usize {
        self.allocated
    }

    /// Whether a crash could change the file.
    pub(super) fn is_durable(&self) -> bool {
        self.cached.is_empty() && self.cut.is_none() && self.length == self.durable_length
    }

    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let bytes = self.length.saturating_sub(position).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < bytes {
            let (page, within, part) = locate(position + done as u64, bytes - done);
            match self.page(page) {
                Some(data) => buffer[done..done + part].copy_from_slice(&data[within..within + part]),
                None => buffer[done..done + part].fill(0),
            }
            done += part;
        }
        bytes
    }

    /// Writes into the cache as much as `spare_pages` new pages allow, and says how much that was.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64, mut spare_pages: usize) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let (page, within, part) = locate(position + done as u64, bytes.len() - done);
            let before = self.page(page).cloned();
            if before.is_none() {
                if spare_pages == 0 {
                    break;
                }
                spare_pages -= 1;
                self.allocated += 1;
            }
            let source = &bytes[done..done + part];
            let data = if part == PAGE_BYTES && source == &ZEROS[..] {
                ZEROS.clone()
            } else {
                let mut data = before.unwrap_or_else(|| ZEROS.clone());
                Arc::make_mut(&mut data)[within..within + part].copy_from_slice(source);
                data
            };
            self.cached.insert(page, CachedPage { data, forgotten: false });
            done += part;
        }
        if done > 0 {
            self.length = self.length.max(position + done as u64);
        }
        done
    }

    pub(super) fn set_len(&mut self, length: u64) {
        if length < self.length {
            let (page, within, _) = locate(length, 1);
            if within > 0
                && let Some(data) = self.page(page)
            {
                let mut data = data.clone();
                Arc::make_mut(&mut data)[within..].fill(0);
                self.cached.insert(page, CachedPage { data, forgotten: false });
            }
            self.cached.split_off(&length.div_ceil(PAGE_BYTES as u64));
            self.cut = Some(self.cut.map_or(length, |cut| cut.min(length)));
            self.count_allocated();
        }
        self.length = length;
    }

    pub(super) fn sync(&mut self) {
        self.commit_cut();
        for (page, cached) in std::mem::take(&mut self.cached) {
            match cached.forgotten {
                true => _ = self.cached.insert(page, cached),
                false => _ = self.durable.insert(page, cached.data),
            }
        }
        self.durable_length = self.length;
    }

    /// A sync that reports an error: some sectors are written, and all pages are taken for clean.
    pub(super) fn sync_failed(&mut self, random: &mut Random) {
        let chance = survival(random);
        let pages: Vec<u64> = self.cached.keys().copied().collect();
        for page in pages {
            if self.page_start_is_cut(page) {
                continue;
            }
            let data = self.cached[&page].data.clone();
            self.write_back(page, &data, chance, random);
        }
        self.cached.values_mut().for_each(|cached| cached.forgotten = true);
    }

    /// Clean pages leave the cache: with them goes what a sync has failed to write.
    pub(super) fn evict(&mut self) {
        self.cached.retain(|_, cached| !cached.forgotten);
        self.count_allocated();
    }

    /// Power loss.
    pub(super) fn crash(&mut self, random: &mut Random) {
        if let Some(cut) = self.cut {
            if random.chance(1, 2) {
                self.commit_cut();
            } else {
                // Without the cut, what was written behind it has no place on the medium.
                self.cut = None;
                self.length = self.durable_length;
                self.cached.split_off(&(cut / PAGE_BYTES as u64));
            }
        }
        let chance = survival(random);
        for (page, cached) in std::mem::take(&mut self.cached) {
            if !cached.forgotten {
                self.write_back(page, &cached.data, chance, random);
            }
        }
        let (shorter, longer) = (self.durable_length.min(self.length), self.durable_length.max(self.length));
        let between = shorter + random.below(longer - shorter + 1);
        let length = random.pick(&[self.durable_length, self.length, between]);
        (self.length, self.durable_length) = (length, length);
        self.drop_durable_from(length);
        self.count_allocated();
    }

    /// Changes one bit in the cache and on the medium. False if the file is shorter.
    pub(super) fn flip(&mut self, byte: u64, bit: u8) -> bool {
        let (page, within, _) = locate(byte, 1);
        if let Some(cached) = self.cached.get_mut(&page) {
            Arc::make_mut(&mut cached.data)[within] ^= 1 << bit;
        }
        if byte < self.durable_length && !self.page_start_is_cut(page) {
            let data = self.durable.entry(page).or_insert_with(|| ZEROS.clone());
            Arc::make_mut(data)[within] ^= 1 << bit;
        }
        self.count_allocated();
        byte < self.length
    }

    fn page(&self, page: u64) -> Option<&Page> {
        match self.cached.get(&page) {
            Some(cached) => Some(&cached.data),
            None if self.page_start_is_cut(page) => None,
            None => self.durable.get(&page),
        }
    }

    fn page_start_is_cut(&self, page: u64) -> bool {
        self.cut.is_some_and(|cut| page * PAGE_BYTES as u64 >= cut)
    }

    fn commit_cut(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.durable_length = self.durable_length.min(cut);
            self.drop_durable_from(cut);
        }
    }

    /// Forgets what the medium holds from `length` on, so that a file that grows again reads as zeros there.
    fn drop_durable_from(&mut self, length: u64) {
        self.durable.split_off(&length.div_ceil(PAGE_BYTES as u64));
        let (page, within, _) = locate(length, 1);
        if within > 0
            && let Some(data) = self.durable.get_mut(&page)
        {
            Arc::make_mut(data)[within..].fill(0);
        }
    }

    /// Puts some sectors of a page onto the medium.
    fn write_back(&mut self, page: u64, data: &Page, chance: u64, random: &mut Random) {
        // Most pages are written wholly or not at all; the others tear.
        let tears = random.chance(1, 4);
        let whole = random.chance(chance, SURVIVAL_SCALE);
        for sector in 0..PAGE_BYTES / SECTOR_BYTES {
            let survives = if tears { random.chance(chance, SURVIVAL_SCALE) } else { whole };
            if survives {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                let target = self.durable.entry(page).or_insert_with(|| ZEROS.clone());
                Arc::make_mut(target)[range.clone()].copy_from_slice(&data[range]);
            }
        }
    }

    fn count_allocated(&mut self) {
        let visible = self.durable.keys().filter(|page| !self.page_start_is_cut(**page) && !self.cached.contains_key(page));
        self.allocated = visible.count() + self.cached.len();
    }
}

/// Denominator of the chance that a sector survives.
const SURVIVAL_SCALE: u64 = 8;

/// How much of a file survives a crash. Nothing and everything are as likely as the mixtures: both are good at finding bugs.
fn survival(random: &mut Random) -> u64 {
    random.pick(&[0, 1, 4, 7, SURVIVAL_SCALE])
}

/// Page of a position, place within it, and how many of `bytes` lie in that page.
fn locate(position: u64, bytes: usize) -> (u64, usize, usize) {
    let within = (position % PAGE_BYTES as u64) as usize;
    (position / PAGE_BYTES as u64, within, bytes.min(PAGE_BYTES - within))
}
