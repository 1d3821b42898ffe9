//! Records the requests of the interop clients: a proxy between them and a server of ours keeps one frame of each kind and
//! version in `fuzz/corpus/kafka_request`. What is there already is kept.

use crate::command::{Failure, root, run as run_program};
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Largest frame that is kept, in bytes.
const MOST_KEPT_BYTES: usize = 2 << 10;
/// Largest frame that is passed on.
const MOST_PASSED_BYTES: usize = 128 << 20;
/// Key, version and correlation id.
const LEAST_FRAME_BYTES: usize = 8;
const START_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Where frames go.
struct Corpus {
    directory: PathBuf,
    /// Kinds and versions that are there.
    kept: Mutex<HashSet<String>>,
}

pub(super) fn run(binary: Option<PathBuf>, suites: &[String]) -> Result<(), Failure> {
    let binary = binary.map_or_else(build, Ok)?;
    let corpus = Arc::new(Corpus::open(root().join("fuzz/corpus/kafka_request"))?);
    let proxy = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let address = proxy.local_addr()?;
    let data = std::env::temp_dir().join(format!("duolog-collect-{}", std::process::id()));
    let (mut server, upstream) = start(&binary, &data, address)?;
    let recorder = corpus.clone();
    std::thread::spawn(move || accept(&proxy, upstream, &recorder));
    let outcome = clients(address, suites);
    server.kill()?;
    server.wait()?;
    std::fs::remove_dir_all(&data)?;
    println!("{} kinds and versions in {}", corpus.names().len(), corpus.directory.display());
    outcome
}

fn build() -> Result<PathBuf, Failure> {
    run_program("cargo", &["build", "--locked", "--package", "duolog"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |given| root().join(given));
    Ok(target.join("debug/duolog"))
}

/// A server that tells clients to come to the proxy.
fn start(binary: &Path, data: &Path, proxy: SocketAddr) -> Result<(Child, SocketAddr), Failure> {
    let upstream = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut command = Command::new(binary);
    command.arg("serve").arg("--data-dir").arg(data).args(["--http", "127.0.0.1:0"]);
    command.args(["--listen", &format!("kafka://{upstream}")]);
    command.args(["--set", &format!("advertised.listeners=kafka://{proxy}")]);
    command.args(["--set", "group.initial.rebalance.delay.ms=0"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = command.spawn()?;
    let begun = Instant::now();
    while TcpStream::connect(upstream).is_err() {
        if server.try_wait()?.is_some() || begun.elapsed() > START_LIMIT {
            let _ = server.kill();
            return Err(Failure::Failed { line: format!("{command:?}") });
        }
        std::thread::sleep(POLL);
    }
    Ok((server, upstream))
}

/// The interop suites, against the proxy. They may fail: their requests are recorded all the same.
fn clients(address: SocketAddr, suites: &[String]) -> Result<(), Failure> {
    let mut interop = Command::new(std::env::current_exe()?);
    interop.args(["interop", "--bootstrap", &address.to_string()]);
    for suite in suites {
        interop.args(["--suite", suite]);
    }
    match interop.status()?.success() {
        true => Ok(()),
        false => Err(Failure::Failed { line: format!("{interop:?}") }),
    }
}

impl Corpus {
    fn open(directory: PathBuf) -> io::Result<Corpus> {
        std::fs::create_dir_all(&directory)?;
        let corpus = Corpus { directory, kept: Mutex::default() };
        let names = std::fs::read_dir(&corpus.directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        *corpus.names() = names.collect::<io::Result<_>>()?;
        Ok(corpus)
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Keeps a frame if it is the first of its kind and version.
    fn keep(&self, frame: &[u8]) -> io::Result<()> {
        let &[k0, k1, v0, v1, ..] = frame else { return Ok(()) };
        let name = format!("{:02}-v{:02}", i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
        let fits = (LEAST_FRAME_BYTES..=MOST_KEPT_BYTES).contains(&frame.len());
        if fits && self.names().insert(name.clone()) {
            std::fs::write(self.directory.join(name), frame)?;
        }
        Ok(())
    }
}

/// Passes on every connection. Ends with the process.
fn accept(proxy: &TcpListener, upstream: SocketAddr, corpus: &Arc<Corpus>) {
    for client in proxy.incoming().flatten() {
        let corpus = corpus.clone();
        std::thread::spawn(move || {
            if let Err(error) = pass(client, upstream, &corpus) {
                // A client that goes away in the middle of a frame, as suites do that test just this.
                eprintln!("recording a connection ended: {error}");
            }
        });
    }
}

fn pass(client: TcpStream, upstream: SocketAddr, corpus: &Corpus) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut answers, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let passed = pass_requests(client, &server, corpus);
    let _ = server.shutdown(Shutdown::Both);
    passed
}

fn pass_requests(mut client: TcpStream, mut server: &TcpStream, corpus: &Corpus) -> io::Result<()> {
    let mut size = [0; 4];
    loop {
        match client.read_exact(&mut size) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let bytes = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
        if bytes > MOST_PASSED_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut frame = vec![0; bytes];
        client.read_exact(&mut frame)?;
        server.write_all(&[&size[..], &frame].concat())?;
        corpus.keep(&frame)?;
    }
}
