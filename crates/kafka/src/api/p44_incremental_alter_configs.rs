//! IncrementalAlterConfigs (44): sets and takes back single keys, and adds to and takes from lists. (KIP-339)
//!
//! *Behavior*: keys that are not named stay. Each resource is altered or refused for itself. Topics take every key of
//! the table; nodes take those that can change at run time, for one node or (with an empty name) for all. Unknown keys,
//! malformed values and fixed keys get INVALID_CONFIG; groups have no keys.
//!
//! *Version notes*: 0-1, which differ in form only.

use super::Api;
use super::admin::{Alteration, alter};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_core::metadata::{ConfigOperation, ConfigUpdate};
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

async fn incremental_alter_configs(call: Call) -> Result<Reply, CallError> {
    let request = IncrementalAlterConfigsRequest::decode(&mut call.decoder(), call.version)?;
    let alterations = request.resources.iter().map(alteration).collect();
    let altered = alter(&call, alterations, request.validate_only).await;
    let responses = altered.iter().map(|altered| AlterConfigsResourceResponse {
        error_code: altered.code as i16,
        error_message: altered.text.as_deref(),
        resource_type: altered.kind,
        resource_name: altered.name,
    });
    let response = IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn alteration<'a>(resource: &AlterConfigsResource<'a>) -> Alteration<'a> {
    let operations = resource.configs.iter().map(operation).collect::<Result<_, _>>();
    Alteration { kind: resource.resource_type, name: resource.resource_name, update: operations.map(ConfigUpdate::Incremental) }
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
