//! Where the server under test is reached: on ports that it keeps over restarts.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU16, Ordering};

/// Of clusters; it only has to be the same on all nodes.
const SECRET: &str = "known to all nodes";

/// An address for each protocol; empty when the server does not speak it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) kafka: String,
    pub(crate) name_server: String,
    pub(crate) grpc: String,
}

/// Ports below those that the system gives to connections: while the server is down, no client can take its port.
const PORTS: RangeInclusive<u16> = 20_100..=31_900;
/// Ports are tried in steps of this size, which leaves room for neighbours.
const STEP: u16 = 10;

/// A port that is free now, with its neighbours at these distances, and that nobody in this process was given before.
pub(crate) fn free_port(neighbours: RangeInclusive<i16>) -> std::io::Result<u16> {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let slots = (PORTS.end() - PORTS.start()) / STEP;
    let first = u16::try_from(std::process::id() % u32::from(slots)).expect("the remainder is small");
    for _ in 0..slots {
        let slot = (first + TRIED.fetch_add(1, Ordering::Relaxed)) % slots;
        let port = PORTS.start() + slot * STEP;
        let free = |distance: i16| TcpListener::bind(("127.0.0.1", port.wrapping_add_signed(distance))).is_ok();
        if neighbours.clone().all(free) {
            return Ok(port);
        }
    }
    Err(std::io::Error::from(std::io::ErrorKind::AddrInUse))
}

/// Arguments by which our server is a node of a cluster that the first one founds. `dialled` are the addresses at which the nodes reach each
/// other; this one listens at `listening`.
pub(crate) fn membership(at: usize, listening: &str, dialled: &[String]) -> Vec<String> {
    let advertised = if listening == dialled[at] { String::new() } else { format!("?advertised={}", dialled[at]) };
    let mut arguments = vec!["--node-id".to_owned(), (at + 1).to_string()];
    arguments.extend(["--listen".to_owned(), format!("peer://{listening}{advertised}")]);
    arguments.extend(["--set".to_owned(), format!("cluster.secret={SECRET}")]);
    if at > 0 {
        arguments.extend(["--join".to_owned(), dialled[0].clone()]);
    }
    arguments
}

/// An address of this machine with a free port.
pub(crate) fn free_address() -> std::io::Result<String> {
    Ok(format!("127.0.0.1:{}", free_port(0..=0)?))
}
