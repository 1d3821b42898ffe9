//! Who may write to the log: one thread that drains a queue, or each client under a lock, spinning or blocking.
//!
//! RocketMQ offers a spin lock and a blocking one around its commit log, Kafka has a blocking one around each partition; both
//! write under it. Here the same frames go into one file in three ways, without flush (an append is done when the page cache has
//! it) and with (when the disk has it; syncs are shared by all who wait, in all three). Kafka's way, to sync under the lock, is
//! the fourth. Clients have one append in flight each.
//!
//! `cargo bench -p duolog-log --bench owner`. Writes below the system's temporary directory (`TMPDIR`).

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::hint;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const FRAME_BYTES: usize = 1024;
/// The file is filled with zeros this far, and appends begin anew when it is full: extending a file would be all we measure.
const FILE_BYTES: u64 = 128 << 20;
/// Turns a spinning client takes before it lets others run.
const SPINS: u32 = 100;

/// Something clients append frames to.
trait CommitLog: Sync {
    /// Returns once the frame is in the page cache, or on the disk if the log is a flushed one.
    fn append(&self, frame: &[u8; FRAME_BYTES]);
    /// What a writer thread does until the log is stopped.
    fn write_for_clients(&self) {}
    fn syncer(&self) -> &Syncer;
    fn stop(&self) {
        self.syncer().stop();
    }
}

/// A position that grows, and those who wait for it.
#[derive(Default)]
struct Progress {
    position: Mutex<u64>,
    moved: Condvar,
}

impl Progress {
    fn reach(&self, position: u64) {
        let mut reached = self.position.lock();
        *reached = position.max(*reached);
        self.moved.notify_all();
    }

    fn wait(&self, wanted: u64) {
        let mut position = self.position.lock();
        while *position < wanted {
            self.moved.wait(&mut position);
        }
    }
}

/// One thread that syncs for all who wait, while others write on.
struct Syncer {
    file: File,
    written: AtomicU64,
    wanted: Progress,
    durable: Progress,
    stopping: AtomicBool,
}

impl Syncer {
    fn new(file: &File) -> Syncer {
        Syncer {
            file: file.try_clone().expect("a descriptor"),
            written: AtomicU64::new(0),
            wanted: Progress::default(),
            durable: Progress::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Everything before `end` was written.
    fn wait(&self, end: u64) {
        self.wanted.reach(end);
        self.durable.wait(end);
    }

    fn work(&self) {
        let mut durable = 0;
        loop {
            self.wanted.wait(durable + 1);
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            durable = self.written.load(Ordering::Acquire);
            self.file.sync_data().expect("the disk syncs");
            self.durable.reach(durable);
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wanted.reach(u64::MAX);
    }
}

fn place(position: u64) -> u64 {
    position % FILE_BYTES
}

/// One thread writes; clients queue.
struct SingleWriter {
    file: File,
    flushed: bool,
    queue: Mutex<Queue>,
    queued: Condvar,
    written: Progress,
    syncer: Syncer,
}

#[derive(Default)]
struct Queue {
    frames: Vec<[u8; FRAME_BYTES]>,
    end: u64,
    stopping: bool,
}

impl CommitLog for SingleWriter {
    fn append(&self, frame: &[u8; FRAME_BYTES]) {
        let mut queue = self.queue.lock();
        queue.frames.push(*frame);
        queue.end += FRAME_BYTES as u64;
        let end = queue.end;
        drop(queue);
        self.queued.notify_one();
        if self.flushed { self.syncer.durable.wait(end) } else { self.written.wait(end) }
    }

    fn write_for_clients(&self) {
        let mut drained = Vec::new();
        let mut written = 0;
        loop {
            let mut queue = self.queue.lock();
            while queue.frames.is_empty() {
                if queue.stopping {
                    return;
                }
                self.queued.wait(&mut queue);
            }
            std::mem::swap(&mut queue.frames, &mut drained);
            drop(queue);
            written = self.write(&drained, written);
            drained.clear();
            self.syncer.written.store(written, Ordering::Release);
            if self.flushed { self.syncer.wanted.reach(written) } else { self.written.reach(written) }
        }
    }

    fn syncer(&self) -> &Syncer {
        &self.syncer
    }

    fn stop(&self) {
        self.queue.lock().stopping = true;
        self.queued.notify_one();
        self.syncer.stop();
    }
}

impl SingleWriter {
    /// Writes frames that lie next to each other, except where the file begins anew.
    fn write(&self, frames: &[[u8; FRAME_BYTES]], at: u64) -> u64 {
        let room = ((FILE_BYTES - place(at)) as usize / FRAME_BYTES).min(frames.len());
        let (first, rest) = frames.split_at(room);
        self.file.write_all_at(first.as_flattened(), place(at)).expect("the disk writes");
        self.file.write_all_at(rest.as_flattened(), 0).expect("the disk writes");
        at + (frames.len() * FRAME_BYTES) as u64
    }
}

/// What the clients hold while they write.
enum Door {
    Blocking(Mutex<()>),
    Spinning(AtomicBool),
}

impl Door {
    fn pass<T>(&self, inside: impl FnOnce() -> T) -> T {
        match self {
            Door::Blocking(lock) => {
                let _inside = lock.lock();
                inside()
            }
            Door::Spinning(taken) => {
                let mut turns = 0;
                while taken.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
                    turns += 1;
                    if turns % SPINS == 0 { thread::yield_now() } else { hint::spin_loop() }
                }
                let result = inside();
                taken.store(false, Ordering::Release);
                result
            }
        }
    }
}

/// When a locked log is flushed.
#[derive(Clone, Copy, PartialEq)]
enum Flush {
    Never,
    Together,
    UnderTheLock,
}

/// Clients write under a lock.
struct Locked {
    file: File,
    door: Door,
    flush: Flush,
    syncer: Syncer,
}

impl CommitLog for Locked {
    fn append(&self, frame: &[u8; FRAME_BYTES]) {
        let end = self.door.pass(|| {
            // Changed under the door only.
            let at = self.syncer.written.load(Ordering::Relaxed);
            self.file.write_all_at(frame, place(at)).expect("the disk writes");
            if self.flush == Flush::UnderTheLock {
                self.file.sync_data().expect("the disk syncs");
            }
            let end = at + FRAME_BYTES as u64;
            self.syncer.written.store(end, Ordering::Release);
            end
        });
        if self.flush == Flush::Together {
            self.syncer.wait(end);
        }
    }

    fn syncer(&self) -> &Syncer {
        &self.syncer
    }
}

fn zeroed_file() -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let zeros = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&zeros).expect("the disk writes");
    }
    file.sync_all().expect("the disk syncs");
    file
}

fn single_writer(flushed: bool) -> Box<dyn CommitLog> {
    let file = zeroed_file();
    let syncer = Syncer::new(&file);
    Box::new(SingleWriter {
        file,
        flushed,
        queue: Mutex::default(),
        queued: Condvar::new(),
        written: Progress::default(),
        syncer,
    })
}

fn locked(door: Door, flush: Flush) -> Box<dyn CommitLog> {
    let file = zeroed_file();
    let syncer = Syncer::new(&file);
    Box::new(Locked { file, door, flush, syncer })
}

fn blocking() -> Door {
    Door::Blocking(Mutex::new(()))
}

fn spinning() -> Door {
    Door::Spinning(AtomicBool::new(false))
}

/// Time that `appends` take, split among the clients.
fn run(log: &dyn CommitLog, clients: u64, appends: u64) -> Duration {
    let frame = [7; FRAME_BYTES];
    thread::scope(|scope| {
        let began = Instant::now();
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let share = appends / clients + u64::from(client < appends % clients);
                scope.spawn(move || (0..share).for_each(|_| log.append(&frame)))
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("a client ends"));
        began.elapsed()
    })
}

fn compare(criterion: &mut Criterion) {
    for flushed in [false, true] {
        let mut group = criterion.benchmark_group(if flushed { "flushed appends" } else { "unflushed appends" });
        group.sample_size(10).throughput(Throughput::Elements(1));
        let together = if flushed { Flush::Together } else { Flush::Never };
        let mut logs = vec![
            ("single writer", single_writer(flushed)),
            ("spin lock", locked(spinning(), together)),
            ("blocking lock", locked(blocking(), together)),
        ];
        if flushed {
            logs.push(("blocking lock, sync inside", locked(blocking(), Flush::UnderTheLock)));
        }
        for (name, log) in &logs {
            let log = log.as_ref();
            thread::scope(|scope| {
                scope.spawn(|| log.write_for_clients());
                scope.spawn(|| log.syncer().work());
                for clients in [1, 8, 64] {
                    group.bench_function(BenchmarkId::new(*name, format!("{clients} clients")), |bencher| {
                        bencher.iter_custom(|appends| run(log, clients, appends));
                    });
                }
                log.stop();
            });
        }
        group.finish();
    }
}

criterion_group!(benches, compare);
criterion_main!(benches);
