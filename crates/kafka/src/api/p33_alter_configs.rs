//! AlterConfigs (33): replaces the whole configuration of topics and nodes.
//!
//! *Behavior*: keys that are not given go back to their defaults. Each resource is altered or refused for itself.
//! Kafka has marked this request as deprecated; IncrementalAlterConfigs is the one to use.
//!
//! *Version notes*: 0-2, which differ in form only.

use super::Api;
use super::admin::{Alteration, alter};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_core::metadata::ConfigUpdate;
use duolog_wire::kafka::messages::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use duolog_wire::kafka::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};

pub(super) const API: Api = Api { key: 33, name: "AlterConfigs", min: 0, max: 2, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(alter_configs(call)))
}

async fn alter_configs(call: Call) -> Result<Reply, CallError> {
    let request = AlterConfigsRequest::decode(&mut call.decoder(), call.version)?;
    let alterations = request.resources.iter().map(alteration).collect();
    let altered = alter(&call, alterations, request.validate_only).await;
    let responses = altered.iter().map(|altered| AlterConfigsResourceResponse {
        error_code: altered.code as i16,
        error_message: altered.text.as_deref(),
        resource_type: altered.kind,
        resource_name: altered.name,
    });
    let response = AlterConfigsResponse { responses: responses.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn alteration<'a>(resource: &AlterConfigsResource<'a>) -> Alteration<'a> {
    let values = resource.configs.iter().map(|config| (config.name.to_owned(), config.value.map(str::to_owned)));
    let update = Ok(ConfigUpdate::Replace(values.collect()));
    Alteration { kind: resource.resource_type, name: resource.resource_name, update }
}
