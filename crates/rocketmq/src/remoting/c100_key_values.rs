//! What the name server keeps for tools: PUT_KV_CONFIG (100), GET_KV_CONFIG (101), DELETE_KV_CONFIG (102),
//! GET_KVLIST_BY_NAMESPACE (219). The order of topics (`ORDER_TOPIC_CONFIG`), which comes with their routes, is kept so.

use super::admin::alter;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_core::metadata::{ConfigOperation, ConfigResource, ConfigUpdate};
use duolog_wire::remoting::body::KeyValueTable;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{KeyValueListRequest, KeyValueRequest, KeyValueResponse, PutKeyValueRequest};

pub(super) async fn put(call: Call) -> Result<Answer, Refusal> {
    let header: PutKeyValueRequest<'_> = call.header()?;
    change(&call, header.namespace, header.key, ConfigOperation::Set(Some(header.value.to_owned()))).await
}

pub(super) async fn delete(call: Call) -> Result<Answer, Refusal> {
    let header: KeyValueRequest<'_> = call.header()?;
    change(&call, header.namespace, header.key, ConfigOperation::Delete).await
}

async fn change(call: &Call, namespace: &str, key: &str, operation: ConfigOperation) -> Result<Answer, Refusal> {
    let update = ConfigUpdate::Incremental(vec![(key.to_owned(), operation)]);
    alter(&call.node, ConfigResource::NameServer(namespace.to_owned()), update).await?;
    Ok(Answer::ok())
}

pub(super) async fn get(call: Call) -> Result<Answer, Refusal> {
    let header: KeyValueRequest<'_> = call.header()?;
    let image = call.node.broker.image();
    match image.name_server.get(header.namespace).and_then(|values| values.get(header.key)) {
        Some(value) => Ok(Answer::ok().header(KeyValueResponse { value: Some(value) })),
        None => {
            let remark = format!("No config item, Namespace: {} Key: {}", header.namespace, header.key);
            Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
        }
    }
}

pub(super) async fn list(call: Call) -> Result<Answer, Refusal> {
    let header: KeyValueListRequest<'_> = call.header()?;
    match call.node.broker.image().name_server.get(header.namespace) {
        Some(values) => Ok(Answer::ok().json(&KeyValueTable { table: values.clone() })),
        None => {
            let remark = format!("No config item, Namespace: {}", header.namespace);
            Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
        }
    }
}
