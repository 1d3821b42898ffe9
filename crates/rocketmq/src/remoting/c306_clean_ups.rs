//! Clean-ups by hand: TRIGGER_DELETE_FILES (27), CLEAN_EXPIRED_CONSUMEQUEUE (306), CLEAN_UNUSED_TOPIC (316),
//! DELETE_EXPIRED_COMMITLOG (329).
//!
//! *Behaviour*: records past their time are given up at once (27, 329), as retention does from time to time; the files go when
//! nothing in them lives. The index of a queue goes with its records, and the records of a topic with the topic, so there is
//! nothing left for 306 and 316 to do.

use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::code::response;

pub(super) async fn retain(call: Call) -> Result<Answer, Refusal> {
    let broker = call.node.broker.clone();
    // Looks at every partition.
    let retained = tokio::task::spawn_blocking(move || broker.retain()).await;
    retained.map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
    Ok(Answer::ok())
}

pub(super) async fn nothing_to_do(_: Call) -> Result<Answer, Refusal> {
    Ok(Answer::ok())
}
