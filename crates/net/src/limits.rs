//! What clients may take up: every bound of a connection, by name.

use duolog_core::config::BrokerConfig;
use std::time::Duration;

/// Bounds on connections and what is in flight on them. Past a bound nothing is read until there is room again.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Largest request, in bytes: `socket.request.max.bytes`.
    pub frame_bytes: usize,
    /// Requests of one connection that wait for their answers.
    pub requests_in_flight: usize,
    /// Bytes of the requests of one connection that wait for their answers; one larger request is let through alone.
    pub bytes_in_flight: usize,
    /// Bytes of requests that each connection may have unanswered before they count in `total_bytes_in_flight`.
    pub allowance_bytes: usize,
    /// Bytes of requests of all connections that are arriving or wait for their answers. One frame more is let through
    /// when they are used up.
    pub total_bytes_in_flight: usize,
    /// Of a frame under way, at least so many bytes or the rest must arrive in each `upload_period`.
    pub upload_least_bytes: usize,
    pub upload_period: Duration,
    /// Open connections: `max.connections`.
    pub connections: usize,
    /// Open connections from one address: `max.connections.per.ip`. Further ones are closed at once.
    pub connections_per_ip: usize,
    /// A connection on which nothing was received for so long is closed: `connections.max.idle.ms`.
    pub idle: Duration,
    /// How long pending answers may take when the server stops.
    pub stop_grace: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            frame_bytes: 100 << 20,
            requests_in_flight: 512,
            bytes_in_flight: 128 << 20,
            allowance_bytes: 64 << 10,
            total_bytes_in_flight: 1 << 30,
            // Clients give a request up after 30 s themselves, and its default limit is 1 MiB.
            upload_least_bytes: 1 << 20,
            upload_period: Duration::from_secs(30),
            connections: 100_000,
            connections_per_ip: usize::MAX,
            idle: Duration::from_secs(600),
            stop_grace: Duration::from_secs(5),
        }
    }
}

impl ConnectionLimits {
    /// The bounds that the configuration names; the others are as [`ConnectionLimits::default`] has them.
    pub fn from_config(config: &BrokerConfig) -> ConnectionLimits {
        let limits = ConnectionLimits::default();
        ConnectionLimits {
            frame_bytes: config.request_max_bytes,
            total_bytes_in_flight: limits.total_bytes_in_flight.max(config.request_max_bytes),
            connections: config.max_connections,
            connections_per_ip: config.max_connections_per_ip,
            idle: Duration::from_millis(config.connections_max_idle_ms),
            ..limits
        }
    }
}
