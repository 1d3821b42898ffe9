//! One request on its way through: who asks, and what it is answered from.

use super::clients::GrpcClients;
use super::limits::{CLIENT_ID_BYTES, DEADLINE_RESERVE};
use super::status::Refused;
use crate::names::{check_group, is_closed_topic};
use crate::node::Node;
use duolog_core::config::GroupConfig;
use duolog_core::filter::Subscription;
use duolog_core::metadata::{MetadataImage, NameRules, TopicImage};
use duolog_net::Peer;
use duolog_rocketmq_proto::{Code, FilterExpression, FilterType, Resource};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

const CLIENT_ID: &str = "x-mq-client-id";
const TIMEOUT: &str = "grpc-timeout";

/// What all gRPC requests are answered from.
pub(super) struct Front {
    pub(super) node: Arc<Node>,
    pub(super) clients: GrpcClients,
}

/// One request's surroundings.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) front: Arc<Front>,
    pub(super) peer: Arc<Peer>,
    pub(super) client_id: Arc<str>,
    /// When the client stops waiting.
    pub(super) deadline: Option<Instant>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Call {
    pub(super) fn new(
        front: Arc<Front>,
        peer: Arc<Peer>,
        stop: watch::Receiver<bool>,
        metadata: &MetadataMap,
    ) -> Result<Call, Refused> {
        let id = metadata.get(CLIENT_ID).and_then(|value| value.to_str().ok()).map(str::trim).unwrap_or_default();
        if id.is_empty() || id.len() > CLIENT_ID_BYTES {
            return Err(Refused::new(Code::ClientIdRequired, "client id cannot be empty"));
        }
        let timeout = metadata.get(TIMEOUT).and_then(|value| parse_timeout(value.to_str().ok()?));
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Call { front, peer, client_id: id.into(), deadline, stop })
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.front.node
    }

    pub(super) fn image(&self) -> Arc<MetadataImage> {
        self.front.node.broker.image()
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.front.node.monotonic_ms()
    }

    pub(super) fn store_host(&self) -> SocketAddr {
        self.front.node.store_host(&self.peer)
    }

    /// The topic, if clients may see it.
    pub(super) fn topic(&self, resource: Option<&Resource>) -> Result<Arc<TopicImage>, Refused> {
        let name = topic_name(resource)?;
        let image = self.image();
        match image.topic(name).filter(|topic| !topic.internal) {
            Some(topic) => Ok(topic.clone()),
            None => Err(NameRules::RocketMq
                .check(name)
                .map_or_else(|problem| Refused::topic(name, problem), |()| Refused::unknown_topic(name))),
        }
    }

    /// The topic, if clients may read it.
    pub(super) fn readable_topic(&self, resource: Option<&Resource>) -> Result<Arc<TopicImage>, Refused> {
        let topic = self.topic(resource)?;
        match topic.config.perm.may_read() {
            true => Ok(topic),
            false => Err(Refused::new(Code::Forbidden, format!("topic {} cannot be read", topic.name))),
        }
    }

    /// The group's configuration, if it may consume.
    pub(super) fn consuming(&self, group: &str) -> Result<GroupConfig, Refused> {
        let config = self.node().group_config(group)?;
        match config.consume {
            true => Ok(config),
            false => Err(Refused::new(Code::Forbidden, format!("group {group} may not consume"))),
        }
    }

    /// Until when a request that asks to be held so long is held.
    pub(super) fn hold(&self, wait: Duration) -> Instant {
        let wanted = Instant::now() + wait;
        let least = |deadline: Instant| wanted.min(deadline.checked_sub(DEADLINE_RESERVE).unwrap_or(deadline));
        self.deadline.map_or(wanted, least)
    }
}

pub(super) fn topic_name(resource: Option<&Resource>) -> Result<&str, Refused> {
    let name = resource.map_or("", |resource| resource.name.as_str());
    match name {
        "" => Err(Refused::new(Code::IllegalTopic, "a topic must be named")),
        _ if is_closed_topic(name) => Err(Refused::new(Code::IllegalTopic, format!("topic {name} is the server's own"))),
        _ => Ok(name),
    }
}

pub(super) fn group_name(resource: Option<&Resource>) -> Result<&str, Refused> {
    let name = resource.map_or("", |resource| resource.name.as_str());
    let illegal = |problem| Refused::new(Code::IllegalConsumerGroup, format!("group {name:?}: {problem}"));
    check_group(name).map(|()| name).map_err(illegal)
}

pub(super) fn subscription(filter: Option<&FilterExpression>) -> Result<Subscription, Refused> {
    let Some(filter) = filter else { return Ok(Subscription::all()) };
    Ok(match filter.r#type() {
        FilterType::Sql => Subscription::sql(&filter.expression)?,
        FilterType::Tag | FilterType::Unspecified => Subscription::tags(&filter.expression)?,
    })
}

/// A duration that a client gave; negative ones are none at all.
pub(super) fn duration(given: Option<&prost_types::Duration>) -> Option<Duration> {
    let given = given?;
    let seconds = u64::try_from(given.seconds).ok()?;
    Some(Duration::new(seconds, u32::try_from(given.nanos).unwrap_or(0).min(999_999_999)))
}

/// gRPC's form: up to eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok().filter(|_| text.len() <= 9)?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_all_units() {
        assert_eq!(parse_timeout("20S"), Some(Duration::from_secs(20)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse_timeout("1500m"), Some(Duration::from_millis(1500)));
        for bad in ["", "S", "20", "-1S", "999999999S", "1x", "1\u{e9}"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
