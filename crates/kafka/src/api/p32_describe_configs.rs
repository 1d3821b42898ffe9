//! DescribeConfigs (32): configurations with their sources.
//!
//! *Behavior*: topics and this node with every key of the table; the node "" (all nodes) with what was set for it at run
//! time; groups with theirs. Client metrics have no keys, so they are described as empty. Loggers are not a resource here
//! and get INVALID_REQUEST.
//!
//! *Version notes*: 1-4. Types and documentation from 3 on.

use super::Api;
use super::admin::{BROKER, CLIENT_METRICS, GROUP, SOURCE_DYNAMIC_CLUSTER, TOPIC, source_number};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_core::config::{ConfigEntry, Kind, describe_broker, describe_group, describe_topic};
use duolog_core::metadata::{MetadataImage, check_topic_name};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use duolog_wire::kafka::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use std::collections::BTreeMap;

pub(super) const API: Api = Api { key: 32, name: "DescribeConfigs", min: 1, max: 4, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(describe_configs(call)))
}

type Described = Result<Vec<ConfigEntry>, (ErrorCode, String)>;

async fn describe_configs(call: Call) -> Result<Reply, CallError> {
    let request = DescribeConfigsRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let described: Vec<Described> = request.resources.iter().map(|resource| describe(&image, resource)).collect();
    let results = request.resources.iter().zip(&described).map(|(resource, described)| result(&request, resource, described));
    let response = DescribeConfigsResponse { results: results.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn describe(image: &MetadataImage, resource: &DescribeConfigsResource<'_>) -> Described {
    let invalid = |text: String| Err((ErrorCode::InvalidRequest, text));
    let name = resource.resource_name;
    match resource.resource_type {
        TOPIC => describe_one_topic(image, name),
        BROKER if name.is_empty() => Ok(set_for_all_nodes(image)),
        BROKER => match name.parse::<i32>() {
            Ok(id) if id == image.config.node_id => Ok(describe_broker(&image.config)),
            Ok(id) => invalid(format!("node {id} is not node {}, which was asked", image.config.node_id)),
            Err(_) => invalid(format!("{name} is no broker id")),
        },
        GROUP | CLIENT_METRICS if name.is_empty() => invalid("the resource has no name".to_owned()),
        GROUP => Ok(describe_group(image.group_config.get(name).unwrap_or(&BTreeMap::new()))),
        CLIENT_METRICS => Ok(Vec::new()),
        kind => invalid(format!("resource type {kind} has no configuration")),
    }
}

fn describe_one_topic(image: &MetadataImage, name: &str) -> Described {
    match (image.topic(name), check_topic_name(name)) {
        (Some(topic), _) => Ok(describe_topic(&topic.overrides, &image.config)),
        (None, Err(problem)) => Err((ErrorCode::InvalidTopicException, format!("topic name {problem}"))),
        (None, Ok(())) => Err((ErrorCode::UnknownTopicOrPartition, format!("no topic named {name}"))),
    }
}

/// What was set for all nodes at run time, without anything that hides it or is hidden by it.
fn set_for_all_nodes(image: &MetadataImage) -> Vec<ConfigEntry> {
    let mut entries = describe_broker(&image.config);
    for entry in &mut entries {
        entry.synonyms.retain(|synonym| source_number(synonym.source) == SOURCE_DYNAMIC_CLUSTER);
        if let Some(set) = entry.synonyms.first() {
            (entry.value, entry.source) = (set.value.clone(), set.source);
        }
    }
    entries.retain(|entry| !entry.synonyms.is_empty());
    entries
}

fn result<'a>(
    request: &DescribeConfigsRequest<'a>,
    resource: &DescribeConfigsResource<'a>,
    described: &'a Described,
) -> DescribeConfigsResult<'a> {
    let (code, text, entries) = match described {
        Ok(entries) => (ErrorCode::None, None, entries.as_slice()),
        Err((code, text)) => (*code, Some(text.as_str()), &[][..]),
    };
    // No list and an empty list both ask for every key.
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    let wanted = entries.iter().filter(|entry| keys.is_empty() || keys.contains(&entry.name));
    DescribeConfigsResult {
        error_code: code as i16,
        error_message: text,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: wanted.map(|entry| config(request, entry)).collect(),
    }
}

fn config<'a>(request: &DescribeConfigsRequest<'_>, entry: &'a ConfigEntry) -> DescribeConfigsResourceResult<'a> {
    let synonyms = entry.synonyms.iter().filter(|_| request.include_synonyms).map(|synonym| DescribeConfigsSynonym {
        name: &synonym.name,
        value: synonym.value.as_deref(),
        source: source_number(synonym.source),
    });
    DescribeConfigsResourceResult {
        name: entry.name,
        value: entry.value.as_deref(),
        read_only: entry.read_only,
        config_source: source_number(entry.source),
        is_sensitive: entry.kind == Kind::Secret,
        synonyms: synonyms.collect(),
        config_type: kind_number(entry.kind),
        documentation: request.include_documentation.then_some(entry.documentation),
    }
}

/// Kafka's number for the type of a value.
fn kind_number(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text | Kind::StartOffset | Kind::Choice(_) => 2,
        Kind::Int { .. } => 3,
        Kind::Short { .. } => 4,
        Kind::Long { .. } => 5,
        Kind::Double { .. } => 6,
        Kind::List(_) => 7,
        Kind::Secret => 9,
    }
}
