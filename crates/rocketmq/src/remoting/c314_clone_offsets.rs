//! CLONE_GROUP_OFFSET (314): gives a group the offsets of another one, in one topic or in all.
//!
//! *Behaviour*: offsets that the group has elsewhere stay. Members of it that are online go on there. A group with members of Kafka's
//! protocol is given nothing.

use super::admin::check_group_name;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_base::{Offset, PartitionIndex};
use duolog_wire::remoting::header::CloneGroupOffsetRequest;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: CloneGroupOffsetRequest<'_> = call.header()?;
    check_group_name(header.dest_group)?;
    let (node, image) = (&call.node, call.node.broker.image());
    let asked = header.topic.filter(|topic| !topic.is_empty());
    for (name, offsets) in node.progress(header.src_group).await? {
        let Some(topic) = image.topic(&name).filter(|_| asked.is_none_or(|asked| asked == name)) else { continue };
        let exists = |queue: &PartitionIndex| topic.partition(*queue).is_some();
        let offsets = offsets.into_iter().map(|(queue, offset)| (PartitionIndex(queue), offset));
        let offsets: Vec<(PartitionIndex, Offset)> = offsets.filter(|(queue, _)| exists(queue)).collect();
        node.reset(header.dest_group, topic, &offsets).await?;
    }
    Ok(Answer::ok())
}
