//! Where the server under test is reached: on ports that it keeps over restarts.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU16, Ordering};

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

/// The address of the first `SCHEME://HOST:PORT` in a banner. The port that was asked for, 0, is none.
pub(super) fn announced(log: &str, scheme: &str) -> Option<String> {
    let scheme = format!("{scheme}://");
    log.match_indices(&scheme).find_map(|(at, scheme)| {
        let rest = &log[at + scheme.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]-".contains(c)))?;
        let (host, port) = rest[..end].rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        (port != 0 && !host.is_empty()).then(|| format!("{host}:{port}"))
    })
}

#[cfg(test)]
mod tests {
    use super::announced;

    fn kafka(log: &str) -> Option<String> {
        announced(log, "kafka")
    }

    #[test]
    fn the_banner_says_where_the_server_listens() {
        assert_eq!(kafka("listening on kafka://127.0.0.1:39111\n").as_deref(), Some("127.0.0.1:39111"));
        assert_eq!(kafka("asked kafka://127.0.0.1:0, got kafka://127.0.0.1:5 (tcp)").as_deref(), Some("127.0.0.1:5"));
        assert_eq!(kafka("\u{1b}[1mkafka://[::1]:7\u{1b}[0m").as_deref(), Some("[::1]:7"));
        assert_eq!(announced("kafka://[::1]:7 namesrv://[::1]:8\n", "namesrv").as_deref(), Some("[::1]:8"));
    }

    #[test]
    fn half_a_line_is_no_address() {
        assert_eq!(kafka("kafka://127.0.0.1:39"), None);
        assert_eq!(kafka("starting"), None);
    }
}
