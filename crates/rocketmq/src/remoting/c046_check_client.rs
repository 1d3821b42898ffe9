//! CHECK_CLIENT_CONFIG (46): a consumer that is about to start asks whether its expression is understood.

use crate::remoting::call::{Answer, Call, Refusal};
use duolog_core::filter::Subscription;
use duolog_wire::remoting::body::CheckClientRequest;

pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let request: CheckClientRequest = call.body()?;
    let subscription = &request.subscription_data;
    Subscription::of_type(Some(&subscription.expression_type), &subscription.sub_string)?;
    Ok(Answer::ok())
}
