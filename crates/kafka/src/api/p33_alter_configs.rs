//! AlterConfigs (33): replaces the whole configuration of topics and nodes.
//!
//! *Behavior*: keys that are not given go back to their defaults. Each resource is altered or refused for itself.
//! Kafka has marked this request as deprecated; IncrementalAlterConfigs is the one to use.
//!
//! *Version notes*: 0-2, which differ in form only.

use super::Api;
use super::admin::config_resource;
use super::p44_incremental_alter_configs::{Outcome, alter};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_core::metadata::{ConfigChange, ConfigUpdate};
use duolog_wire::kafka::messages::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use duolog_wire::kafka::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};

pub(super) const API: Api = Api { key: 33, name: "AlterConfigs", min: 0, max: 2, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(alter_configs(call)))
}

async fn alter_configs(call: Call) -> Result<Reply, CallError> {
    let request = AlterConfigsRequest::decode(&mut call.decoder(), call.version)?;
    let changes = request.resources.iter().map(change).collect();
    let outcomes = alter(&call, changes, request.validate_only).await;
    let responses =
        request.resources.iter().zip(&outcomes).map(|(resource, Outcome { code, text })| AlterConfigsResourceResponse {
            error_code: *code as i16,
            error_message: text.as_deref(),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        });
    let response = AlterConfigsResponse { responses: responses.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn change(resource: &AlterConfigsResource<'_>) -> Result<ConfigChange, String> {
    let target = config_resource(resource.resource_type, resource.resource_name)?;
    let values = resource.configs.iter().map(|config| (config.name.to_owned(), config.value.map(str::to_owned)));
    Ok(ConfigChange { resource: target, update: ConfigUpdate::Replace(values.collect()) })
}
