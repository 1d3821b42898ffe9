//! Consumer groups as tools make, show and delete them: UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200) and its list (225),
//! GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201), DELETE_SUBSCRIPTIONGROUP (207), GET_SUBSCRIPTIONGROUP_CONFIG (352),
//! UPDATE_AND_GET_GROUP_FORBIDDEN (353).
//!
//! *Behaviour*: a group need not be made to be used. Shown are those that somebody has configured, is in, or has offsets in, Kafka's
//! among them. A group can be kept from messages as a whole (`consumeEnable`), not from one topic: 353 says that nothing is
//! forbidden, and refuses to forbid.

use super::admin::{alter, check_group_name, data_version, page};
use crate::group_config;
use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_core::group::GroupError;
use duolog_core::metadata::{ConfigResource, ConfigUpdate};
use duolog_wire::remoting::body::{GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupTable};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{
    AllSubscriptionGroupsRequest, AllSubscriptionGroupsResponse, DeleteSubscriptionGroupRequest, GroupForbiddenRequest,
    GroupRequest,
};
use std::collections::BTreeMap;

pub(super) async fn update(call: Call) -> Result<Answer, Refusal> {
    let config: SubscriptionGroupConfig = call.body()?;
    check_group_name(&config.group_name)?;
    put(&call.node, config).await?;
    Ok(Answer::ok())
}

pub(super) async fn update_list(call: Call) -> Result<Answer, Refusal> {
    let list: SubscriptionGroupList = call.body()?;
    list.group_config_list.iter().try_for_each(|config| check_group_name(&config.group_name))?;
    for config in list.group_config_list {
        put(&call.node, config).await?;
    }
    Ok(Answer::ok())
}

async fn put(node: &Node, config: SubscriptionGroupConfig) -> Result<(), Refusal> {
    let group = config.group_name.clone();
    let own = node.broker.image().group_config.get(&group).cloned().unwrap_or_default();
    let operations = group_config::operations(&own, config);
    Ok(alter(node, ConfigResource::Group(group), ConfigUpdate::Incremental(operations)).await?)
}

fn describe(node: &Node, group: &str) -> Result<SubscriptionGroupConfig, Refusal> {
    let own = node.broker.image().group_config.get(group).cloned().unwrap_or_default();
    Ok(group_config::describe(group, &own)?)
}

pub(super) async fn get(call: Call) -> Result<Answer, Refusal> {
    let header: GroupRequest<'_> = call.header()?;
    match call.node.has_group(header.group).await? {
        true => Ok(Answer::ok().json(&describe(&call.node, header.group)?)),
        false => Err(unknown(header.group)),
    }
}

fn unknown(group: &str) -> Refusal {
    Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, format!("No group in this broker. group: {group}"))
}

pub(super) async fn all(call: Call) -> Result<Answer, Refusal> {
    let header: AllSubscriptionGroupsRequest<'_> = call.header()?;
    let names: Vec<String> = call.node.group_names().await?.into_iter().collect();
    let mut subscription_group_table = BTreeMap::new();
    for name in &names[page(names.len(), header.group_seq, header.max_group_num)] {
        subscription_group_table.insert(name.clone(), describe(&call.node, name)?);
    }
    let table = SubscriptionGroupTable {
        data_version: data_version(&call.node.broker.image()),
        subscription_group_table,
        ..SubscriptionGroupTable::default()
    };
    let total_group_num = i32::try_from(names.len()).unwrap_or(i32::MAX);
    Ok(Answer::ok().header(AllSubscriptionGroupsResponse { total_group_num }).json(&table))
}

pub(super) async fn delete(call: Call) -> Result<Answer, Refusal> {
    let header: DeleteSubscriptionGroupRequest<'_> = call.header()?;
    let (node, group) = (&call.node, header.group_name);
    if header.clean_offset {
        // What is noted would be stored again.
        node.store_offsets().await;
        node.forget_deliveries(group).await?;
        match node.groups.delete(group).await {
            Ok(()) | Err(GroupError::GroupNotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if node.broker.image().group_config.contains_key(group) {
        alter(node, ConfigResource::Group(group.to_owned()), ConfigUpdate::Replace(BTreeMap::new())).await?;
    }
    Ok(Answer::ok())
}

pub(super) async fn forbidden(call: Call) -> Result<Answer, Refusal> {
    let header: GroupForbiddenRequest<'_> = call.header()?;
    if header.readable == Some(false) {
        let remark = "a group cannot be kept from one topic; consumeEnable keeps it from all";
        return Err(Refusal::new(response::REQUEST_CODE_NOT_SUPPORTED, remark));
    }
    let (group, topic) = (header.group.to_owned(), header.topic.to_owned());
    Ok(Answer::ok().json(&GroupForbidden { group, readable: true, topic }))
}
