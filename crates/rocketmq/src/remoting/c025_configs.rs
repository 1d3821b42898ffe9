//! The node's configuration: UPDATE_BROKER_CONFIG (25), GET_BROKER_CONFIG (26), and the same of the name server (318, 319).
//!
//! *Behaviour*: keys are this server's own (docs/config.md), since they are what counts; only what tools look for
//! to tell brokers apart is shown by its old name, too. Those that can change at run time can be
//! set; none of them is a path, an address or a command. All others are refused, known or not, and then nothing is set. The name
//! server has no key that can change.

use super::admin::{alter, invalid};
use crate::remoting::call::{Answer, Call, Refusal};
use bytes::Bytes;
use duolog_core::config::{ConfigError, describe_broker, validate_broker_change};
use duolog_core::metadata::{ConfigOperation, ConfigResource, ConfigUpdate};
use duolog_wire::remoting::code::response;
use std::fmt::Write;

/// Keys that one request may set.
const MOST_KEYS: usize = 1000;

pub(super) async fn update(call: Call) -> Result<Answer, Refusal> {
    let mut operations = Vec::new();
    for (name, value) in properties(text(&call.command.body)?)? {
        let (key, value) = validate_broker_change(name, value).map_err(refused)?;
        operations.push((key.to_owned(), ConfigOperation::Set(Some(value))));
    }
    if !operations.is_empty() {
        let resource = ConfigResource::Node(call.node.broker.node());
        alter(&call.node, resource, ConfigUpdate::Incremental(operations)).await?;
    }
    Ok(Answer::ok())
}

fn refused(error: ConfigError) -> Refusal {
    match error {
        ConfigError::Unknown { .. } | ConfigError::NotDynamic { .. } => Refusal::new(response::NO_PERMISSION, error.to_string()),
        error => error.into(),
    }
}

pub(super) async fn update_name_server(call: Call) -> Result<Answer, Refusal> {
    match properties(text(&call.command.body)?)?.first() {
        None => Ok(Answer::ok()),
        Some((name, _)) => {
            let remark = format!("{name}: the name server has no key that can change at run time");
            Err(Refusal::new(response::NO_PERMISSION, remark))
        }
    }
}

pub(super) async fn get(call: Call) -> Result<Answer, Refusal> {
    let config = call.node.broker.image().config.clone();
    let names = &call.node.names;
    let mut lines = format!("brokerName={}\nbrokerClusterName={}\nbrokerId=0\n", names.broker, names.cluster);
    for entry in describe_broker(&config) {
        if let Some(value) = entry.value {
            // Writing into a String cannot fail.
            let _ = writeln!(lines, "{}={}", entry.name, value.replace('\\', "\\\\").replace('\n', "\\n"));
        }
    }
    Ok(Answer::ok().bytes(Bytes::from(lines)))
}

fn text(body: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|_| invalid("the properties are not UTF-8"))
}

/// Reads lines of `name=value`, as the tools write them: without escapes or continued lines.
fn properties(text: &str) -> Result<Vec<(&str, &str)>, Refusal> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    let mut properties = Vec::new();
    for line in lines {
        let (name, value) = line.split_once('=').ok_or_else(|| invalid(format!("{line:?} is not name=value")))?;
        if properties.len() == MOST_KEYS {
            return Err(invalid(format!("more than {MOST_KEYS} keys")));
        }
        properties.push((name.trim(), value.trim()));
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_lines() {
        let read = properties("#comment\nlog.retention.ms=5\r\n\n a = b=c \n").unwrap();
        assert_eq!(read, [("log.retention.ms", "5"), ("a", "b=c")]);
        assert_eq!(properties("nothing").unwrap_err().code, response::INVALID_PARAMETER);
        let many = "a=b\n".repeat(MOST_KEYS + 1);
        assert_eq!(properties(&many).unwrap_err().code, response::INVALID_PARAMETER);
    }
}
