//! The lists of topics: all (206), those of a cluster (224), and those that tools hide (304 of the name server, 305 of the
//! broker). Topics that only this server writes are in none.

use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::body::TopicList;
use duolog_wire::remoting::header::TopicsByClusterRequest;

pub(super) async fn all(call: Call) -> Result<Answer, Refusal> {
    Ok(answer(names(&call), None))
}

pub(super) async fn by_cluster(call: Call) -> Result<Answer, Refusal> {
    let header: TopicsByClusterRequest<'_> = call.header()?;
    let is_this = header.cluster == call.node.names.cluster;
    Ok(answer(if is_this { names(&call) } else { Vec::new() }, None))
}

pub(super) async fn system(call: Call) -> Result<Answer, Refusal> {
    let topics = call.node.names.system_topics().map(str::to_owned).collect();
    Ok(answer(topics, Some(call.node.address(call.channel.peer()))))
}

fn names(call: &Call) -> Vec<String> {
    let image = call.node.broker.image();
    image.topics.values().filter(|topic| !topic.internal).map(|topic| topic.name.clone()).collect()
}

fn answer(topic_list: Vec<String>, broker_addr: Option<String>) -> Answer {
    Answer::ok().json(&TopicList { broker_addr, topic_list })
}
