//! What a consumer's protocol metadata says about its topics.
//!
//! Only version 0 of the subscription is read: every later version begins with it.

use duolog_wire::kafka::Decoder;
use duolog_wire::kafka::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;

/// The protocol type of ordinary consumers; only its metadata has a known form.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The topics subscribed to; `None` if the metadata is not in the form it should be.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut decoder = Decoder::new(metadata);
    let _version = decoder.i16().ok()?;
    let subscription = ConsumerProtocolSubscription::decode(&mut decoder, 0).ok()?;
    Some(subscription.topics.into_iter().map(str::to_owned).collect())
}
