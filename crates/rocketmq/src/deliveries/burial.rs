//! Messages that a group gives up go to its dead letters: those that were delivered too often, and those of which a consumer says so.

use super::place::{Place, member};
use super::{Deliveries, DeliveryError, Handle, Receive};
use crate::dead_letters::Reason;
use crate::node::Node;
use crate::remoting::Refusal;
use crate::send_back::{self, Fate};
use bytes::Bytes;
use duolog_base::Offset;
use duolog_core::metadata::TopicImage;
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::message::StoredMessage;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// When a dead letter could not be stored, it is tried again after so long.
const DEAD_LETTER_AGAIN: Duration = Duration::from_secs(10);
/// How long a message is kept from others while its dead letter is being stored.
const BURYING: Duration = Duration::from_secs(60);

/// Whether the message was delivered often enough, to members of whichever protocol. `attempts` are those in the topic where it lies now.
pub(super) fn is_dead(attempts: u32, encoded: &Bytes, max_attempts: u32) -> bool {
    let times = StoredMessage::take(&mut &encoded[..]).map_or(0, |message| message.reconsume_times);
    attempts > 0 && attempts.saturating_add(u32::try_from(times).unwrap_or(0)) >= max_attempts
}

impl Deliveries {
    /// Buries a message that a receive has acquired. If that fails it is tried again later.
    pub(super) async fn bury_worn_out(
        &self,
        node: &Node,
        receive: &Receive<'_>,
        place: &Place,
        offset: Offset,
        attempts: u32,
        encoded: &Bytes,
    ) {
        let buried = match dead_letter(node, &place.at.group, encoded, attempts, Reason::TooManyAttempts).await {
            Ok(()) => self.done_with(node, &receive.topic, place, offset, receive.number).await,
            Err(error) => Err(error),
        };
        if let Err(error) = buried {
            let (group, topic) = (&*place.at.group, &receive.topic.name);
            tracing::warn!(group, topic, %offset, %error, "a dead letter is not stored");
            let again = member(self.number(node));
            let _ = node.share.renew_as(&place.at, &member(receive.number), offset, DEAD_LETTER_AGAIN, &again).await;
        }
    }

    /// Buries a message of which its consumer says so.
    pub(super) async fn bury_given_up(
        &self,
        node: &Node,
        topic: &Arc<TopicImage>,
        place: &Place,
        handle: Handle,
        store_host: SocketAddr,
    ) -> Result<(), DeliveryError> {
        let (at, offset, had_by) = (&place.at, handle.offset, member(handle.number));
        let attempts = node.share.renew_as(at, &had_by, offset, BURYING, &had_by).await?;
        if let Some(encoded) = node.message_at(topic, at.partition, offset, store_host).await? {
            dead_letter(node, &at.group, &encoded, u32::try_from(attempts).unwrap_or(0), Reason::Consumer).await?;
        }
        self.done_with(node, topic, place, offset, handle.number).await
    }
}

/// Stores a message among the dead letters. It may have had attempts before these.
async fn dead_letter(node: &Node, group: &str, encoded: &Bytes, attempts: u32, reason: Reason) -> Result<(), DeliveryError> {
    let unreadable = |error| Refusal::new(response::SYSTEM_ERROR, format!("a message cannot be read: {error}"));
    let message = StoredMessage::take(&mut &encoded[..]).map_err(unreadable)?;
    let attempts = message.reconsume_times.saturating_add(i32::try_from(attempts).unwrap_or(i32::MAX));
    Ok(send_back::send_back(node, group, &message, Fate::Dead { attempts, reason }).await?)
}
