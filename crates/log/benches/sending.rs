//! Three ways to send 200 MB of a file to a socket: by copy, from a mapping, by `sendfile`; from the page cache and from the disk.
//!
//! Kafka sends with `sendfile`, RocketMQ from a mapping (or by copy, if so configured). The peer is a thread that reads and throws
//! away. Wall time here; the CPU of one send (both threads) is printed once for each way, since that is what a broker pays.
//!
//! `cargo bench -p duolog-log --bench sending`. The file lies below the system's temporary directory (`TMPDIR`).

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use memmap2::Mmap;
use rustix::fs::{Advice, fadvise, sendfile};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::thread;

const FILE_BYTES: usize = 200 << 20;
/// Bytes of one read, write or `sendfile` call.
const CHUNK_BYTES: usize = 1 << 20;
/// Sends over which the CPU is averaged.
const CPU_SENDS: u32 = 5;

#[derive(Clone, Copy)]
enum Way {
    Copy,
    Mapping,
    Sendfile,
}

impl Way {
    const ALL: [(Way, &'static str); 3] = [(Way::Copy, "copy"), (Way::Mapping, "mapping"), (Way::Sendfile, "sendfile")];

    fn send(self, file: &File, socket: &mut TcpStream) {
        match self {
            Way::Copy => {
                let mut buffer = vec![0; CHUNK_BYTES];
                for at in (0..FILE_BYTES).step_by(CHUNK_BYTES) {
                    file.read_exact_at(&mut buffer, at as u64).expect("the file is read");
                    socket.write_all(&buffer).expect("the peer reads");
                }
            }
            Way::Mapping => {
                // SAFETY: the file is a temporary one of this process, which nobody cuts or writes while it is mapped.
                let mapping = unsafe { Mmap::map(file) }.expect("the file is mapped");
                for chunk in mapping.chunks(CHUNK_BYTES) {
                    socket.write_all(chunk).expect("the peer reads");
                }
            }
            Way::Sendfile => {
                let mut at = 0;
                while at < FILE_BYTES as u64 {
                    sendfile(&*socket, file, Some(&mut at), CHUNK_BYTES).expect("the peer reads");
                }
            }
        }
    }
}

/// A connection to a thread that reads all it gets and answers each whole file with a byte.
fn peer() -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut got = 0;
        while let Ok(read) = socket.read(&mut buffer) {
            if read == 0 {
                return;
            }
            got += read;
            if got == FILE_BYTES {
                got = 0;
                socket.write_all(&[1]).expect("the sender waits");
            }
        }
    });
    TcpStream::connect(address).expect("the peer listens")
}

fn send_and_wait(way: Way, file: &File, socket: &mut TcpStream) {
    way.send(file, socket);
    socket.read_exact(&mut [0]).expect("the peer answers");
}

/// Written and synced, so that its pages can be dropped.
fn file() -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let chunk: Vec<u8> = (0..CHUNK_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    for _ in 0..FILE_BYTES / CHUNK_BYTES {
        file.write_all(&chunk).expect("the disk writes");
    }
    file.sync_all().expect("the disk syncs");
    file
}

/// CPU this process has used, in milliseconds.
fn cpu_ms() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e3 + used.tv_nsec as f64 / 1e6
}

fn drop_pages(file: &File) {
    fadvise(file, 0, None, Advice::DontNeed).expect("pages are dropped");
}

fn print_cpu(what: &str, way: Way, hot: bool, file: &File, socket: &mut TcpStream) {
    let mut spent = 0.0;
    for _ in 0..CPU_SENDS {
        if !hot {
            drop_pages(file);
        }
        let before = cpu_ms();
        send_and_wait(way, file, socket);
        spent += cpu_ms() - before;
    }
    println!("{what}: {:.0} ms of CPU a send, sender and peer together", spent / f64::from(CPU_SENDS));
}

fn sending(criterion: &mut Criterion) {
    let file = file();
    let mut socket = peer();
    for (hot, title) in [(true, "send 200 MB, hot"), (false, "send 200 MB, cold")] {
        let mut group = criterion.benchmark_group(title);
        group.sample_size(10).throughput(Throughput::Bytes(FILE_BYTES as u64));
        for (way, name) in Way::ALL {
            send_and_wait(way, &file, &mut socket);
            print_cpu(&format!("{title}/{name}"), way, hot, &file, &mut socket);
            let prepare = || {
                if !hot {
                    drop_pages(&file);
                }
            };
            group.bench_function(name, |bencher| {
                bencher.iter_batched(prepare, |()| send_and_wait(way, &file, &mut socket), BatchSize::PerIteration);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, sending);
criterion_main!(benches);
