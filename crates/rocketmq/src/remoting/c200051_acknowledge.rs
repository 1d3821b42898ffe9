//! ACK_MESSAGE (200051) and BATCH_ACK_MESSAGE (200151): popped messages that are done with.
//!
//! *Behaviour*: an acknowledgement counts until the message is delivered again, or its time is changed; then it is answered with
//! NO_MESSAGE, and nothing happens. A batch succeeds if one of its messages was still waiting; those of several queues are done one
//! queue after the other, each where its leader is.

use super::answer;
use crate::deliveries::{Deliveries, Handle};
use crate::remoting::admin::invalid;
use crate::remoting::call::{Answer, Call, Refusal};
use crate::topics;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use duolog_base::Offset;
use duolog_wire::remoting::Command;
use duolog_wire::remoting::body::{BatchAck, BatchAckRequest, to_json};
use duolog_wire::remoting::checkpoint::{Checkpoint, OWN_TOPIC};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::AckMessageRequest;

/// Messages, and queues, of one batch.
const MOST_MESSAGES: usize = 4096;
const MOST_QUEUES: usize = 1024;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header: AckMessageRequest<'_> = call.header()?;
    let topic = topics::find(&call.node.broker.image(), header.topic)?.clone();
    let queue = topics::queue(&topic, header.queue_id)?;
    let number = number(header.extra_info)?;
    let handle = Handle { queue, offset: Offset(header.offset), number, is_returned: false };
    call.node.deliveries.acknowledge(&call.node, header.consumer_group, &topic, handle).await?;
    Ok(Answer::ok())
}

/// The number of the delivery that a client names by a checkpoint.
pub(super) fn number(checkpoint: &str) -> Result<u64, Refusal> {
    let foreign = || invalid(format!("{checkpoint:?} is not a checkpoint of this server"));
    let checkpoint = Checkpoint::parse(checkpoint).filter(|checkpoint| checkpoint.mark == OWN_TOPIC).ok_or_else(foreign)?;
    Handle::number_of(checkpoint.pop_time, checkpoint.revive_queue).ok_or_else(foreign)
}

pub(super) async fn batch(call: Call) -> Result<Answer, Refusal> {
    let BatchAckRequest { acks, broker_name } = call.body()?;
    if acks.len() > MOST_QUEUES {
        return Err(invalid(format!("{} queues, at most {MOST_QUEUES} are possible", acks.len())));
    }
    if let [ack] = &acks[..] {
        return of_queue(&call, ack).await;
    }
    let mut outcome = Err(nothing_waits());
    for ack in acks {
        let body = to_json(&BatchAckRequest { acks: vec![ack], broker_name: broker_name.clone() });
        let command = Command { body, ..call.command.clone() };
        let of_queue = Call { node: call.node.clone(), channel: call.channel.clone(), command, held: Default::default() };
        match answer(of_queue).await {
            Ok(answer) if answer.code == response::SUCCESS => outcome = Ok(answer),
            Ok(Answer { code: response::NO_MESSAGE, .. }) => {}
            Err(refusal) if refusal.code == response::NO_MESSAGE => {}
            other => return other,
        }
    }
    outcome
}

/// Acknowledges messages of one queue.
async fn of_queue(call: &Call, ack: &BatchAck) -> Result<Answer, Refusal> {
    let topic = topics::find(&call.node.broker.image(), &ack.topic)?.clone();
    let queue = topics::queue(&topic, ack.queue_id)?;
    let foreign = || invalid("the acknowledged messages were not given by this server");
    let number = Handle::number_of(ack.pop_time, ack.revive_queue).filter(|_| ack.mark == OWN_TOPIC.to_string());
    let number = number.ok_or_else(foreign)?;
    let mut is_any = false;
    let handle = |offset| Handle { queue, offset, number, is_returned: false };
    let handles = offsets(ack)?.into_iter().map(handle).collect();
    for outcome in Deliveries::acknowledge_all(&call.node, &ack.consumer_group, &topic, handles).await {
        match outcome.map_err(Refusal::from) {
            Ok(()) => is_any = true,
            Err(refusal) if refusal.code == response::NO_MESSAGE => {}
            Err(refusal) => return Err(refusal),
        }
    }
    if is_any { Ok(Answer::ok()) } else { Err(nothing_waits()) }
}

fn nothing_waits() -> Refusal {
    Refusal::new(response::NO_MESSAGE, "none of the messages waits for this acknowledgement")
}

/// The offsets that a batch names by bits.
fn offsets(ack: &BatchAck) -> Result<Vec<Offset>, Refusal> {
    let bytes = STANDARD.decode(&ack.bits).map_err(|error| invalid(format!("the messages are not in base 64: {error}")))?;
    let count: usize = bytes.iter().map(|byte| byte.count_ones() as usize).sum();
    if count > MOST_MESSAGES {
        return Err(invalid(format!("{count} messages, at most {MOST_MESSAGES} are possible")));
    }
    let bits = Bytes::from(bytes);
    let set = (0..bits.len() * 8).filter(|bit| bits[bit / 8] >> (bit % 8) & 1 == 1);
    Ok(set.map(|bit| Offset(ack.start_offset.saturating_add(bit as i64))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_offsets() {
        let of = |bits: &str| BatchAck { bits: bits.to_owned(), start_offset: 40, ..BatchAck::default() };
        assert_eq!(offsets(&of("BQE=")).unwrap(), [Offset(40), Offset(42), Offset(48)]);
        assert_eq!(offsets(&of("")).unwrap(), []);
        assert!(offsets(&of("?")).is_err());
        assert!(offsets(&of(&STANDARD.encode([0xff; MOST_MESSAGES / 8 + 1]))).is_err());
    }

    #[test]
    fn checkpoints_of_others_are_refused() {
        assert_eq!(number("5 1700000000000 60000 7 0 duolog 3 9").unwrap(), 1_700_000_000_000 << 16 | 7);
        for foreign in ["", "5 1 60000 7 1 duolog 3 9", "5 1 60000 -1 0 duolog 3 9", "5 -1 60000 7 0 duolog 3 9"] {
            assert_eq!(number(foreign).unwrap_err().code, response::INVALID_PARAMETER, "{foreign}");
        }
    }
}
