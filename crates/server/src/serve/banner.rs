//! What `serve` prints once it accepts connections: where it listens, what it promises, and what to try.

use super::listen::Scheme;
use duolog_core::config::FlushMode;
use std::ffi::OsString;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The client commands' default for `--bootstrap`.
const DEFAULT_BOOTSTRAP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9092);

/// A listener that accepts connections.
pub(super) struct ShownListener {
    pub(super) scheme: Scheme,
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) advertised: Option<(String, u16)>,
}

/// This node among others.
pub(super) struct ShownMember {
    pub(super) node: i32,
    pub(super) cluster: String,
    /// Where other nodes reach it.
    pub(super) address: String,
}

pub(super) struct Banner {
    pub(super) listeners: Vec<ShownListener>,
    /// `None` of a node alone.
    pub(super) member: Option<ShownMember>,
    pub(super) http: SocketAddr,
    pub(super) data_dirs: Vec<PathBuf>,
    pub(super) flush: FlushMode,
    /// How this process was called.
    pub(super) program: Option<OsString>,
}

impl Banner {
    pub(super) fn text(&self) -> String {
        let mut text = format!("Duolog {}\n", env!("CARGO_PKG_VERSION"));
        for ShownListener { scheme, name, address, advertised } in &self.listeners {
            let _ = write!(text, "  {:<10}  {}://{address}", title(*scheme), scheme.text());
            if name != scheme.text() {
                let _ = write!(text, " ({name})");
            }
            if let Some((host, port)) = advertised {
                let _ = write!(text, ", advertised as {host}:{port}");
            }
            text.push('\n');
        }
        if let Some(ShownMember { node, cluster, address }) = &self.member {
            let _ = writeln!(text, "  Cluster     node {node} of {cluster}, peer://{address}");
            let _ = writeln!(text, "  Join        --node-id N --listen peer://HOST:PORT --join {address}, and the same secret");
        }
        let _ = writeln!(text, "  HTTP        http://{} (/metrics /healthz /readyz)", self.http);
        for directory in &self.data_dirs {
            let _ = writeln!(text, "  Data        {}", directory.display());
        }
        let _ = writeln!(text, "  Durability  {}", durability(self.flush));
        text.push_str("\nTry in another terminal:\n");
        for command in self.commands() {
            let _ = writeln!(text, "  {command}");
        }
        text
    }

    /// Commands that work as they are from the directory this process was started in.
    fn commands(&self) -> [String; 3] {
        let program = self.program();
        let bootstrap = self.bootstrap();
        [
            format!("{program} topic create hello --partitions 3{bootstrap}"),
            format!("echo 'hello, log' | {program} produce hello{bootstrap}"),
            format!("{program} consume hello --from-beginning --count 1{bootstrap}"),
        ]
    }

    fn program(&self) -> String {
        let name = self.program.as_ref().map_or("duolog".into(), |program| program.to_string_lossy());
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
        if name.chars().all(plain) { name.into_owned() } else { format!("'{}'", name.replace('\'', r"'\''")) }
    }

    /// The flag that the commands need to find the first Kafka listener; nothing if the default finds it.
    fn bootstrap(&self) -> String {
        let mut kafka = self.listeners.iter().filter(|listener| listener.scheme == Scheme::Kafka);
        let Some(first) = kafka.next() else { return String::new() };
        let bound = first.address;
        let address = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bound.port()),
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), bound.port()),
            _ => bound,
        };
        if address == DEFAULT_BOOTSTRAP { String::new() } else { format!(" --bootstrap {address}") }
    }
}

fn title(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Kafka => "Kafka",
        Scheme::NameServer => "NameServer",
        Scheme::RocketMq => "RocketMQ",
        Scheme::Grpc => "gRPC",
        Scheme::Peer => "Peers",
    }
}

fn durability(flush: FlushMode) -> &'static str {
    match flush {
        FlushMode::Sync => "flush=sync: acks=all is answered once the data is on disk",
        FlushMode::Async => "flush=async: acks=all is answered once the data is in the page cache",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner(address: &str) -> Banner {
        Banner {
            listeners: vec![ShownListener {
                scheme: Scheme::Kafka,
                name: "kafka".into(),
                address: address.parse().unwrap(),
                advertised: None,
            }],
            member: None,
            http: "127.0.0.1:9644".parse().unwrap(),
            data_dirs: vec!["./duolog-data".into()],
            flush: FlushMode::Sync,
            program: Some("target/release/duolog".into()),
        }
    }

    #[test]
    fn the_default_port_needs_no_flag_and_another_one_does() {
        let text = banner("127.0.0.1:9092").text();
        assert!(text.contains("\n  echo 'hello, log' | target/release/duolog produce hello\n"), "{text}");
        assert!(text.contains("kafka://127.0.0.1:9092") && text.contains("./duolog-data") && text.contains("flush=sync"));
        assert!(banner("127.0.0.1:1234").text().contains("produce hello --bootstrap 127.0.0.1:1234\n"));
        assert!(!banner("0.0.0.0:9092").text().contains("--bootstrap"));
    }

    #[test]
    fn a_member_says_how_to_join_it() {
        let member = ShownMember { node: 2, cluster: "Xy12".into(), address: "10.0.0.2:19093".into() };
        let text = Banner { member: Some(member), ..banner("127.0.0.1:9092") }.text();
        assert!(text.contains("node 2 of Xy12") && text.contains("--join 10.0.0.2:19093"), "{text}");
        assert!(!banner("127.0.0.1:9092").text().contains("Cluster"));
    }

    #[test]
    fn a_program_name_with_blanks_is_quoted() {
        let strange = Banner { program: Some("/a b/it's".into()), ..banner("127.0.0.1:9092") };
        assert!(strange.text().contains(r"'/a b/it'\''s' topic create"));
    }
}
