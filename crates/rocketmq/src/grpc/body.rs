//! A request's bytes on their way in: charged to the budget of all connections, and held to a pace.

use duolog_net::{Budget, Room};
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Sleep;
use tonic::Status;

/// What a request takes up until it is answered.
pub(super) type SharedRoom = Arc<Mutex<Room>>;

/// A request's body.
pub(super) struct ChargedBody {
    incoming: Incoming,
    budget: Arc<Budget>,
    room: SharedRoom,
    /// When the rest must have arrived; `None` for a stream that stays open.
    late: Option<Pin<Box<Sleep>>>,
}

impl ChargedBody {
    pub(super) fn new(incoming: Incoming, budget: Arc<Budget>, room: SharedRoom, late: Option<Pin<Box<Sleep>>>) -> ChargedBody {
        ChargedBody { incoming, budget, room, late }
    }
}

impl Body for ChargedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let late = this.late.as_mut().is_some_and(|late| late.as_mut().poll(context).is_ready());
                return if late {
                    Poll::Ready(Some(Err(Status::deadline_exceeded("the request is not all there"))))
                } else {
                    Poll::Pending
                };
            }
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()))?;
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        // A stream that stays open is small, and would hold its room for ever.
        if this.late.is_some() && !this.budget.try_take(&mut this.room.lock(), bytes) {
            return Poll::Ready(Some(Err(Status::resource_exhausted("too much is under way already"))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
