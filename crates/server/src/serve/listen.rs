//! Listener addresses as they are written: `kafka://HOST:PORT`, with an optional name in front and an optional
//! advertised address behind: `outside=kafka://0.0.0.0:9092?advertised=broker.example:9092`. RocketMQ's name server and broker
//! listen at `namesrv://` and `rocketmq://`, its gRPC protocol at `grpc://`, and the other nodes of a cluster come to `peer://`.
//!
//! Without a name a listener is called after its scheme, and the second of that name gets a number. Addresses may also be
//! advertised with the key `advertised.listeners`, whose entries are matched by name.

use duolog_net::Listener;
use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("listener {given:?} is not of the form [NAME=]SCHEME://HOST:PORT[?advertised=HOST:PORT]")]
    Form { given: String },
    #[error("listener {given:?}: {scheme}:// is not served; only kafka://, namesrv://, rocketmq://, grpc:// and peer:// are")]
    Scheme { given: String, scheme: String },
    #[error("listener {given:?}: unknown option {option:?}; the only one is advertised=HOST:PORT")]
    Option { given: String, option: String },
    #[error("listener {given:?}: {host} cannot be resolved: {error}")]
    Resolve { given: String, host: String, error: std::io::Error },
    #[error("listener {given:?}: {host} has no address")]
    NoAddress { given: String, host: String },
    #[error("two listeners are named {name:?}")]
    Repeated { name: String },
    #[error("advertised.listeners names {name:?}, which is no listener")]
    Unmatched { name: String },
    #[error("no listener is configured")]
    None,
}

/// What is spoken at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Kafka,
    NameServer,
    RocketMq,
    /// RocketMQ's, too.
    Grpc,
    /// Between nodes.
    Peer,
}

impl Scheme {
    const ALL: [Scheme; 5] = [Scheme::Kafka, Scheme::NameServer, Scheme::RocketMq, Scheme::Grpc, Scheme::Peer];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Scheme::Kafka => "kafka",
            Scheme::NameServer => "namesrv",
            Scheme::RocketMq => "rocketmq",
            Scheme::Grpc => "grpc",
            Scheme::Peer => "peer",
        }
    }
}

/// A listener, and what is spoken there.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    pub(crate) scheme: Scheme,
    pub(crate) listener: Listener,
}

/// What was written, taken apart.
struct Parts {
    name: Option<String>,
    scheme: Scheme,
    host: String,
    port: u16,
    advertised: Option<(String, u16)>,
}

/// Resolves the values of `listeners` and `advertised.listeners`.
pub(crate) fn resolve(listeners: &[String], advertised: &[String]) -> Result<Vec<Spoken>, ListenError> {
    let mut resolved: Vec<Spoken> = Vec::new();
    for given in listeners {
        let parts = parse(given)?;
        let address = socket_address(given, &parts)?;
        let taken = |name: &str| resolved.iter().any(|spoken| spoken.listener.name == name);
        let scheme = parts.scheme.text();
        let name = match parts.name {
            Some(name) if taken(&name) => return Err(ListenError::Repeated { name }),
            Some(name) => name,
            None if taken(scheme) => {
                let number = 1 + resolved.iter().filter(|spoken| spoken.scheme == parts.scheme).count();
                format!("{scheme}-{number}")
            }
            None => scheme.to_owned(),
        };
        resolved.push(Spoken { scheme: parts.scheme, listener: Listener { name, address, advertised: parts.advertised } });
    }
    for given in advertised {
        let parts = parse(given)?;
        let name = parts.name.unwrap_or_else(|| parts.scheme.text().to_owned());
        let listener = resolved.iter_mut().map(|spoken| &mut spoken.listener).find(|listener| listener.name == name);
        listener.ok_or(ListenError::Unmatched { name })?.advertised = Some((parts.host, parts.port));
    }
    if resolved.is_empty() { Err(ListenError::None) } else { Ok(resolved) }
}

fn parse(given: &str) -> Result<Parts, ListenError> {
    let form = || ListenError::Form { given: given.to_owned() };
    let (before, rest) = given.split_once("://").ok_or_else(form)?;
    let (name, scheme) = match before.split_once('=') {
        Some((name, scheme)) => (Some(name.to_owned()), scheme),
        None => (None, before),
    };
    if name.as_ref().is_some_and(String::is_empty) {
        return Err(form());
    }
    let unknown = || ListenError::Scheme { given: given.to_owned(), scheme: scheme.to_owned() };
    let scheme = Scheme::ALL.into_iter().find(|known| known.text() == scheme).ok_or_else(unknown)?;
    let (address, options) = rest.split_once('?').map_or((rest, None), |(address, options)| (address, Some(options)));
    let (host, port) = host_and_port(address).ok_or_else(form)?;
    let advertised = match options {
        None => None,
        Some(options) => match options.strip_prefix("advertised=") {
            Some(address) => Some(host_and_port(address).ok_or_else(form)?),
            None => return Err(ListenError::Option { given: given.to_owned(), option: options.to_owned() }),
        },
    };
    Ok(Parts { name, scheme, host, port, advertised })
}

/// `HOST:PORT`, where an IPv6 address stands in brackets.
pub(crate) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = bare.is_some() || !host.contains(':');
    let host = bare.unwrap_or(host);
    if host.is_empty() || !valid { None } else { Some((host.to_owned(), port.parse().ok()?)) }
}

fn socket_address(given: &str, parts: &Parts) -> Result<SocketAddr, ListenError> {
    use std::net::ToSocketAddrs;
    let (given, host) = (given.to_owned(), parts.host.clone());
    match (parts.host.as_str(), parts.port).to_socket_addrs() {
        Ok(mut addresses) => addresses.next().ok_or(ListenError::NoAddress { given, host }),
        Err(error) => Err(ListenError::Resolve { given, host, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(listeners: &[String], advertised: &[String]) -> Result<Vec<Listener>, ListenError> {
        Ok(resolve(listeners, advertised)?.into_iter().map(|spoken| spoken.listener).collect())
    }

    fn one(text: &str) -> Result<Vec<Listener>, ListenError> {
        all(&[text.to_owned()], &[])
    }

    #[test]
    fn names_and_advertised_addresses_are_optional() {
        let plain = one("kafka://127.0.0.1:0").unwrap();
        assert_eq!((plain[0].name.as_str(), plain[0].address), ("kafka", "127.0.0.1:0".parse().unwrap()));
        assert_eq!(plain[0].advertised, None);
        let full = one("outside=kafka://[::1]:9092?advertised=broker.example:19092").unwrap();
        assert_eq!(full[0].name, "outside");
        assert_eq!(full[0].address, "[::1]:9092".parse().unwrap());
        assert_eq!(full[0].advertised, Some(("broker.example".into(), 19092)));
    }

    #[test]
    fn advertised_listeners_are_matched_by_name() {
        let listeners = ["kafka://127.0.0.1:1".to_owned(), "kafka://127.0.0.1:2".to_owned()];
        let resolved = all(&listeners, &["kafka-2=kafka://b:9".to_owned()]).unwrap();
        assert_eq!((resolved[0].advertised.clone(), resolved[1].advertised.clone()), (None, Some(("b".into(), 9))));
        assert!(matches!(resolve(&listeners, &["x=kafka://b:9".to_owned()]), Err(ListenError::Unmatched { .. })));
    }

    #[test]
    fn each_scheme_counts_its_own_listeners() {
        let given = ["kafka://127.0.0.1:1", "namesrv://127.0.0.1:2", "rocketmq://127.0.0.1:3", "rocketmq://127.0.0.1:4"];
        let resolved = resolve(&given.map(str::to_owned), &["rocketmq=rocketmq://b:9".to_owned()]).unwrap();
        let names: Vec<&str> = resolved.iter().map(|spoken| spoken.listener.name.as_str()).collect();
        assert_eq!(names, ["kafka", "namesrv", "rocketmq", "rocketmq-2"]);
        assert_eq!(resolved[2].listener.advertised, Some(("b".into(), 9)));
    }

    #[test]
    fn what_is_not_a_listener_is_refused_by_what_is_wrong() {
        assert!(matches!(one("127.0.0.1:9092"), Err(ListenError::Form { .. })));
        assert!(matches!(one("kafka://127.0.0.1"), Err(ListenError::Form { .. })));
        assert!(matches!(one("kafka://::1:9092"), Err(ListenError::Form { .. })));
        assert!(matches!(one("mqtt://127.0.0.1:1883"), Err(ListenError::Scheme { .. })));
        assert!(matches!(one("kafka://127.0.0.1:1?tls=on"), Err(ListenError::Option { .. })));
        let twice = ["a=kafka://127.0.0.1:1".to_owned(), "a=kafka://127.0.0.1:2".to_owned()];
        assert!(matches!(resolve(&twice, &[]), Err(ListenError::Repeated { .. })));
    }
}
