//! Topics as tools make, show and delete them: UPDATE_AND_CREATE_TOPIC (17) and its list (18), GET_ALL_TOPIC_CONFIG (21),
//! DELETE_TOPIC_IN_BROKER (215), DELETE_TOPIC_IN_NAMESRV (216), GET_TOPIC_CONFIG (351).
//!
//! *Behaviour*: a queue is a partition, so a topic has as many to read as to write, gets more when more are asked for, and never
//! fewer. The topics that are always there cannot be changed. Deleting a topic that is not there is nothing to do. The name
//! server's routes follow from the topics, so a topic cannot be taken from them alone.

use super::admin::{alter, data_version, invalid, page};
use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topic_config::{self, WantedTopic};
use crate::topics;
use duolog_core::metadata::{
    ConfigOperation, ConfigResource, ConfigUpdate, DeleteTopicError, NewPartitions, NewTopic, TopicImage, TopicReference,
};
use duolog_wire::remoting::body::{TopicConfig, TopicConfigList, TopicConfigTable};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{
    AllTopicConfigRequest, AllTopicConfigResponse, CreateTopicRequest, DeleteTopicInNameServerRequest, TopicRequest,
};

pub(super) async fn update(call: Call) -> Result<Answer, Refusal> {
    let header: CreateTopicRequest<'_> = call.header()?;
    let wanted = WantedTopic {
        name: header.topic,
        read_queues: header.read_queue_nums,
        write_queues: header.write_queue_nums,
        perm: header.perm,
        is_ordered: header.order,
        attributes: topic_config::attributes_of_text(header.attributes.unwrap_or_default())?,
    };
    put(&call.node, &wanted).await?;
    Ok(Answer::ok())
}

pub(super) async fn update_list(call: Call) -> Result<Answer, Refusal> {
    let list: TopicConfigList = call.body()?;
    for config in &list.topic_config_list {
        let wanted = WantedTopic {
            name: &config.topic_name,
            read_queues: config.read_queue_nums,
            write_queues: config.write_queue_nums,
            perm: config.perm,
            is_ordered: config.order,
            attributes: topic_config::attributes_of_table(&config.attributes),
        };
        put(&call.node, &wanted).await?;
    }
    Ok(Answer::ok())
}

async fn put(node: &Node, wanted: &WantedTopic<'_>) -> Result<(), Refusal> {
    let name = wanted.name;
    let image = node.broker.image();
    let known = image.topic(name);
    if node.names.built_in_queues(name).is_some() || known.is_some_and(|topic| topic.internal) {
        return Err(invalid(format!("The topic[{name}] is conflict with system topic.")));
    }
    let (read, write) = (wanted.read_queues, wanted.write_queues);
    if read != write {
        return Err(invalid(format!("topic {name}: {read} queues to read and {write} to write are not the same queues")));
    }
    match known {
        _ if read < 1 => Err(invalid(format!("topic {name}: {read} is no number of queues"))),
        Some(topic) => change(node, topic, wanted).await,
        None => create(node, wanted).await,
    }
}

async fn create(node: &Node, wanted: &WantedTopic<'_>) -> Result<(), Refusal> {
    let operations = topic_config::operations(&node.broker.image().config.topic, wanted)?;
    let new = node.new_topic(wanted.name, wanted.read_queues);
    let set = operations.into_iter().filter_map(|(key, operation)| match operation {
        ConfigOperation::Set(value) => Some((key, value?)),
        _ => None,
    });
    let new = NewTopic { configs: new.configs.clone().into_iter().chain(set).collect(), ..new };
    for created in node.broker.metadata().create_topics(vec![new], false).await {
        created?;
    }
    Ok(())
}

async fn change(node: &Node, topic: &TopicImage, wanted: &WantedTopic<'_>) -> Result<(), Refusal> {
    let (name, have, total) = (&topic.name, topic.partitions.len(), wanted.read_queues);
    if (total as usize) < have {
        let remark = format!("topic {name} has {have} queues, and none can be taken away: what is in them would be lost");
        return Err(invalid(remark));
    }
    let operations = topic_config::operations(&topic.config, wanted)?;
    if !operations.is_empty() {
        alter(node, ConfigResource::Topic(name.clone()), ConfigUpdate::Incremental(operations)).await?;
    }
    if total as usize > have {
        let more = NewPartitions { topic: name.clone(), total, assignment: Vec::new() };
        for added in node.broker.metadata().create_partitions(vec![more], false).await {
            added?;
        }
    }
    Ok(())
}

pub(super) async fn get(call: Call) -> Result<Answer, Refusal> {
    let header: TopicRequest<'_> = call.header()?;
    let image = call.node.broker.image();
    let built_in = call.node.names.built_in_queues(header.topic);
    let config = match topics::find(&image, header.topic) {
        Ok(topic) => topic_config::describe(topic),
        Err(unknown) => built_in_config(header.topic, built_in.ok_or(unknown)?),
    };
    Ok(Answer::ok().json(&config))
}

fn built_in_config(topic: &str, queues: i32) -> TopicConfig {
    TopicConfig { topic_name: topic.to_owned(), read_queue_nums: queues, write_queue_nums: queues, ..TopicConfig::default() }
}

pub(super) async fn all(call: Call) -> Result<Answer, Refusal> {
    let header: AllTopicConfigRequest<'_> = call.header()?;
    let image = call.node.broker.image();
    let topics: Vec<&TopicImage> = image.topics.values().filter(|topic| !topic.internal).map(|topic| &**topic).collect();
    let asked = &topics[page(topics.len(), header.topic_seq, header.max_topic_num)];
    let table = TopicConfigTable {
        data_version: data_version(&image),
        topic_config_table: asked.iter().map(|topic| (topic.name.clone(), topic_config::describe(topic))).collect(),
    };
    let total = i32::try_from(topics.len()).unwrap_or(i32::MAX);
    Ok(Answer::ok().header(AllTopicConfigResponse { total_topic_num: Some(total) }).json(&table))
}

pub(super) async fn delete(call: Call) -> Result<Answer, Refusal> {
    let header: TopicRequest<'_> = call.header()?;
    let name = TopicReference::Name(header.topic.to_owned());
    for deleted in call.node.broker.metadata().delete_topics(vec![name]).await {
        match deleted {
            Ok(_) | Err(DeleteTopicError::UnknownName { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Answer::ok())
}

pub(super) async fn delete_in_name_server(call: Call) -> Result<Answer, Refusal> {
    let header: DeleteTopicInNameServerRequest<'_> = call.header()?;
    match call.node.broker.image().topic(header.topic) {
        None => Ok(Answer::ok()),
        Some(_) => {
            let remark = format!("topic {} is on broker {}: delete it there", header.topic, call.node.names.broker);
            Err(Refusal::new(response::SYSTEM_ERROR, remark))
        }
    }
}
