//! DeleteShareGroupOffsets (92): forgets what a share group has read of topics. (KIP-932)
//!
//! *Behavior*: of a group without members. Whoever joins it again begins there as in any partition that the group has not read. A topic
//! that the group has no state of is UNKNOWN_TOPIC_OR_PARTITION.
//!
//! *Version notes*: 0 only.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::TopicId;
use duolog_core::group::GroupError;
use duolog_core::group::share::StateOutcome;
use duolog_core::metadata::MetadataImage;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequest;
use duolog_wire::kafka::messages::delete_share_group_offsets_response::{
    DeleteShareGroupOffsetsResponse, DeleteShareGroupOffsetsResponseTopic,
};

pub(super) const API: Api = Api { key: 92, name: "DeleteShareGroupOffsets", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = DeleteShareGroupOffsetsRequest::decode(&mut call.decoder(), call.version)?;
    let services = call.services();
    let image = services.broker.image();
    let topics: Vec<TopicId> = request.topics.iter().filter_map(|topic| Some(image.topic(topic.topic_name)?.id)).collect();
    let outcome = services.groups.share_delete_offsets(request.group_id, &topics, &services.share).await;
    let mut encoder = call.response();
    response(&image, &request, &outcome).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn response<'a>(
    image: &MetadataImage,
    request: &DeleteShareGroupOffsetsRequest<'a>,
    outcome: &Result<Vec<StateOutcome>, GroupError>,
) -> DeleteShareGroupOffsetsResponse<'a> {
    let outcomes = match outcome {
        Ok(outcomes) => outcomes,
        Err(failure) => {
            return DeleteShareGroupOffsetsResponse { error_code: error::group(failure) as i16, ..Default::default() };
        }
    };
    let topics = request.topics.iter().map(|topic| {
        let topic_id = image.topic(topic.topic_name).map_or(TopicId::NONE, |topic| topic.id);
        let mut of_topic = outcomes.iter().filter(|((of, _), _)| *of == topic_id).map(|(_, outcome)| outcome).peekable();
        let code = match of_topic.peek() {
            None => ErrorCode::UnknownTopicOrPartition,
            Some(_) => of_topic.find_map(|outcome| outcome.as_ref().err()).map_or(ErrorCode::None, error::share),
        };
        DeleteShareGroupOffsetsResponseTopic {
            topic_name: topic.topic_name,
            topic_id,
            error_code: code as i16,
            ..Default::default()
        }
    });
    DeleteShareGroupOffsetsResponse { responses: topics.collect(), ..Default::default() }
}
