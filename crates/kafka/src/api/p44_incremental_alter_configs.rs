//! IncrementalAlterConfigs (44): sets and takes back single keys, and adds to and takes from lists. (KIP-339)
//!
//! *Behavior*: keys that are not named stay. Each resource is altered or refused for itself. Topics take every key of
//! the table; nodes take those that can change at run time, for one node or (with an empty name) for all. Unknown keys,
//! malformed values and fixed keys get INVALID_CONFIG; groups have no keys.
//!
//! *Version notes*: 0-1, which differ in form only.

use super::Api;
use super::admin::config_resource;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_core::metadata::{ConfigChange, ConfigOperation, ConfigUpdate};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use duolog_wire::kafka::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

pub(super) const API: Api = Api { key: 44, name: "IncrementalAlterConfigs", min: 0, max: 1, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(incremental_alter_configs(call)))
}

/// What became of one resource.
pub(super) struct Outcome {
    pub(super) code: ErrorCode,
    pub(super) text: Option<String>,
}

async fn incremental_alter_configs(call: Call) -> Result<Reply, CallError> {
    let request = IncrementalAlterConfigsRequest::decode(&mut call.decoder(), call.version)?;
    let changes = request.resources.iter().map(change).collect();
    let outcomes = alter(&call, changes, request.validate_only).await;
    let responses =
        request.resources.iter().zip(&outcomes).map(|(resource, Outcome { code, text })| AlterConfigsResourceResponse {
            error_code: *code as i16,
            error_message: text.as_deref(),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        });
    let response = IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// Makes the changes that could be understood; an outcome for each, in order.
pub(super) async fn alter(call: &Call, changes: Vec<Result<ConfigChange, String>>, validate_only: bool) -> Vec<Outcome> {
    let wanted = changes.iter().flatten().cloned().collect();
    let results = call.services.broker.metadata().alter_configs(wanted, validate_only).await;
    let mut results = results.into_iter();
    let outcome = |change: Result<ConfigChange, String>| match change.map(|_| results.next()) {
        Err(text) => Outcome { code: ErrorCode::InvalidRequest, text: Some(text) },
        Ok(Some(Err(refusal))) => Outcome { code: error::alter_config(&refusal), text: Some(refusal.to_string()) },
        Ok(_) => Outcome { code: ErrorCode::None, text: None },
    };
    changes.into_iter().map(outcome).collect()
}

fn change(resource: &AlterConfigsResource<'_>) -> Result<ConfigChange, String> {
    let target = config_resource(resource.resource_type, resource.resource_name)?;
    let operations = resource.configs.iter().map(operation).collect::<Result<_, _>>()?;
    Ok(ConfigChange { resource: target, update: ConfigUpdate::Incremental(operations) })
}

fn operation(config: &AlterableConfig<'_>) -> Result<(String, ConfigOperation), String> {
    let value = config.value.map(str::to_owned);
    let operation = match config.config_operation {
        0 => ConfigOperation::Set(value),
        1 => ConfigOperation::Delete,
        2 => ConfigOperation::Append(value),
        3 => ConfigOperation::Subtract(value),
        number => return Err(format!("{number} is no operation on a configuration")),
    };
    Ok((config.name.to_owned(), operation))
}
