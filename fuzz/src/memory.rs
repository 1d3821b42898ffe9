//! Counts what the current thread has allocated, so that a target can say how much more a decoder took at its peak.
//!
//! The allocator of every program that links this crate. What C libraries allocate themselves (zstd) is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Allocations that any input may cause, however small it is, in bytes.
pub const FREE_BYTES: usize = 1 << 20;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(change: isize) {
    let live = LIVE.get() + change;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: every call is passed on to the system's allocator with the arguments as they came; counting touches thread-local
// cells only, which neither allocate nor have destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller keeps the rules of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller keeps the rules of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: the caller keeps the rules of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the rules of `GlobalAlloc::realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Bytes that decoding `input` may take: the rule for everything without a named limit of its own.
pub fn allowed(input: &[u8]) -> usize {
    2 * input.len() + FREE_BYTES
}

/// Does `work` and panics if this thread held more than `limit` bytes beyond what it held before, at any time.
pub fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let start = LIVE.get();
    PEAK.set(start);
    let result = work();
    let peak = usize::try_from(PEAK.get() - start).unwrap_or(0);
    assert!(peak <= limit, "{peak} bytes were allocated where {limit} are allowed");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_again_counts() {
        let taken = within(5_000, || {
            drop(std::hint::black_box(vec![1u8; 4_000]));
            std::hint::black_box(vec![1u8; 500])
        });
        assert_eq!(taken.len(), 500);
    }

    #[test]
    #[should_panic(expected = "are allowed")]
    fn more_than_the_limit_is_told() {
        within(1_000, || drop(std::hint::black_box(vec![1u8; 4_000])));
    }
}
