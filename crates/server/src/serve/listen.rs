//! Listener addresses as they are written: `kafka://HOST:PORT`, with an optional name in front and an optional
//! advertised address behind: `outside=kafka://0.0.0.0:9092?advertised=broker.example:9092`.
//!
//! Without a name a listener is called after its scheme, and the second of that name gets a number. Addresses may also be
//! advertised with the key `advertised.listeners`, whose entries are matched by name.

use duolog_kafka::Listener;
use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("listener {given:?} is not of the form [NAME=]kafka://HOST:PORT[?advertised=HOST:PORT]")]
    Form { given: String },
    #[error("listener {given:?}: {scheme}:// is not served; only kafka:// is")]
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

const SCHEME: &str = "kafka";

/// What was written, taken apart.
struct Parts {
    name: Option<String>,
    host: String,
    port: u16,
    advertised: Option<(String, u16)>,
}

/// Resolves the values of `listeners` and `advertised.listeners`.
pub(crate) fn resolve(listeners: &[String], advertised: &[String]) -> Result<Vec<Listener>, ListenError> {
    let mut resolved: Vec<Listener> = Vec::new();
    for given in listeners {
        let parts = parse(given)?;
        let address = socket_address(given, &parts)?;
        let taken = |name: &str, resolved: &[Listener]| resolved.iter().any(|listener| listener.name == name);
        let name = match parts.name {
            Some(name) if taken(&name, &resolved) => return Err(ListenError::Repeated { name }),
            Some(name) => name,
            None if taken(SCHEME, &resolved) => format!("{SCHEME}-{}", resolved.len() + 1),
            None => SCHEME.to_owned(),
        };
        resolved.push(Listener { name, address, advertised: parts.advertised });
    }
    for given in advertised {
        let parts = parse(given)?;
        let name = parts.name.unwrap_or_else(|| SCHEME.to_owned());
        let listener = resolved.iter_mut().find(|listener| listener.name == name).ok_or(ListenError::Unmatched { name })?;
        listener.advertised = Some((parts.host, parts.port));
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
    if scheme != SCHEME {
        return Err(ListenError::Scheme { given: given.to_owned(), scheme: scheme.to_owned() });
    }
    let (address, options) = rest.split_once('?').map_or((rest, None), |(address, options)| (address, Some(options)));
    let (host, port) = host_and_port(address).ok_or_else(form)?;
    let advertised = match options {
        None => None,
        Some(options) => match options.strip_prefix("advertised=") {
            Some(address) => Some(host_and_port(address).ok_or_else(form)?),
            None => return Err(ListenError::Option { given: given.to_owned(), option: options.to_owned() }),
        },
    };
    Ok(Parts { name, host, port, advertised })
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

    fn one(text: &str) -> Result<Vec<Listener>, ListenError> {
        resolve(&[text.to_owned()], &[])
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
        let resolved = resolve(&listeners, &["kafka-2=kafka://b:9".to_owned()]).unwrap();
        assert_eq!((resolved[0].advertised.clone(), resolved[1].advertised.clone()), (None, Some(("b".into(), 9))));
        assert!(matches!(resolve(&listeners, &["x=kafka://b:9".to_owned()]), Err(ListenError::Unmatched { .. })));
    }

    #[test]
    fn what_is_not_a_listener_is_refused_by_what_is_wrong() {
        assert!(matches!(one("127.0.0.1:9092"), Err(ListenError::Form { .. })));
        assert!(matches!(one("kafka://127.0.0.1"), Err(ListenError::Form { .. })));
        assert!(matches!(one("kafka://::1:9092"), Err(ListenError::Form { .. })));
        assert!(matches!(one("grpc://127.0.0.1:8081"), Err(ListenError::Scheme { .. })));
        assert!(matches!(one("kafka://127.0.0.1:1?tls=on"), Err(ListenError::Option { .. })));
        let twice = ["a=kafka://127.0.0.1:1".to_owned(), "a=kafka://127.0.0.1:2".to_owned()];
        assert!(matches!(resolve(&twice, &[]), Err(ListenError::Repeated { .. })));
    }
}
