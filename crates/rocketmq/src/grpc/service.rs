//! The table of RPCs: which file answers which. What is refused becomes the status in the answer's body.

use super::call::{Call, Front};
use super::status::Refused;
use super::{
    acknowledge, end_transaction, heartbeat, offsets, pull_message, query_route, recall_message, receive_message, send_message,
    telemetry,
};
use duolog_net::Peer;
use duolog_rocketmq_proto::messaging_service_server::MessagingService;
use duolog_rocketmq_proto::{
    AckMessageRequest, AckMessageResponse, ChangeInvisibleDurationRequest, ChangeInvisibleDurationResponse, Code,
    EndTransactionRequest, EndTransactionResponse, ForwardMessageToDeadLetterQueueRequest,
    ForwardMessageToDeadLetterQueueResponse, GetOffsetRequest, GetOffsetResponse, HeartbeatRequest, HeartbeatResponse,
    NotifyClientTerminationRequest, NotifyClientTerminationResponse, PullMessageRequest, PullMessageResponse,
    QueryAssignmentRequest, QueryAssignmentResponse, QueryOffsetRequest, QueryOffsetResponse, QueryRouteRequest,
    QueryRouteResponse, RecallMessageRequest, RecallMessageResponse, ReceiveMessageRequest, ReceiveMessageResponse,
    SendMessageRequest, SendMessageResponse, Status as BodyStatus, SyncLiteSubscriptionRequest, SyncLiteSubscriptionResponse,
    TelemetryCommand, UpdateOffsetRequest, UpdateOffsetResponse, pull_message_response, receive_message_response,
};
use std::sync::Arc;
use tokio::sync::watch;
use tonic::codegen::tokio_stream::{self, Iter};
use tonic::{Request, Response, Status, Streaming};

/// The service as one connection sees it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) front: Arc<Front>,
    pub(super) peer: Arc<Peer>,
    pub(super) stop: watch::Receiver<bool>,
}

type Answered<T> = Result<Response<T>, Status>;
/// Parts of an answer that are all there when it begins.
type Parts<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

impl Connection {
    fn call<T>(&self, request: &Request<T>) -> Result<Call, Refused> {
        Call::new(self.front.clone(), self.peer.clone(), self.stop.clone(), request.metadata())
    }

    /// Has a request answered; `refuse` makes an answer of a status alone.
    async fn answer<Q, A, F>(
        &self,
        request: Request<Q>,
        handle: impl FnOnce(Call, Q) -> F + Send,
        refuse: impl FnOnce(Option<BodyStatus>) -> A,
    ) -> Answered<A>
    where
        F: Future<Output = Result<A, Refused>> + Send,
    {
        let answer = match self.call(&request) {
            Ok(call) => handle(call, request.into_inner()).await,
            Err(refused) => Err(refused),
        };
        Ok(Response::new(answer.unwrap_or_else(|refused| refuse(Some(refused.status())))))
    }

    /// What is not served is refused as soon as the client is known.
    async fn unsupported<Q, A>(
        &self,
        request: Request<Q>,
        what: &str,
        refuse: impl FnOnce(Option<BodyStatus>) -> A,
    ) -> Answered<A> {
        let refused = self.call(&request).err().unwrap_or_else(|| Refused::new(Code::Unsupported, format!("{what} not served")));
        Ok(Response::new(refuse(Some(refused.status()))))
    }
}

fn parts<T>(parts: Vec<T>) -> Response<Parts<T>> {
    Response::new(tokio_stream::iter(parts.into_iter().map(Ok).collect::<Vec<_>>()))
}

#[tonic::async_trait]
impl MessagingService for Connection {
    type ReceiveMessageStream = Parts<ReceiveMessageResponse>;
    type PullMessageStream = Parts<PullMessageResponse>;
    type TelemetryStream = telemetry::Answers;

    async fn query_route(&self, request: Request<QueryRouteRequest>) -> Answered<QueryRouteResponse> {
        self.answer(request, query_route::handle, |status| QueryRouteResponse { status, ..Default::default() }).await
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Answered<HeartbeatResponse> {
        self.answer(request, heartbeat::handle, |status| HeartbeatResponse { status }).await
    }

    async fn send_message(&self, request: Request<SendMessageRequest>) -> Answered<SendMessageResponse> {
        self.answer(request, send_message::handle, |status| SendMessageResponse { status, ..Default::default() }).await
    }

    async fn query_assignment(&self, request: Request<QueryAssignmentRequest>) -> Answered<QueryAssignmentResponse> {
        self.answer(request, query_route::assign, |status| QueryAssignmentResponse { status, ..Default::default() }).await
    }

    async fn receive_message(&self, request: Request<ReceiveMessageRequest>) -> Answered<Self::ReceiveMessageStream> {
        Ok(parts(match self.call(&request) {
            Ok(call) => receive_message::handle(call, request.into_inner()).await,
            Err(refused) => {
                let content = receive_message_response::Content::Status(refused.status());
                vec![ReceiveMessageResponse { content: Some(content) }]
            }
        }))
    }

    async fn ack_message(&self, request: Request<AckMessageRequest>) -> Answered<AckMessageResponse> {
        self.answer(request, acknowledge::handle, |status| AckMessageResponse { status, ..Default::default() }).await
    }

    async fn forward_message_to_dead_letter_queue(
        &self,
        request: Request<ForwardMessageToDeadLetterQueueRequest>,
    ) -> Answered<ForwardMessageToDeadLetterQueueResponse> {
        self.answer(request, acknowledge::forward, |status| ForwardMessageToDeadLetterQueueResponse { status }).await
    }

    async fn pull_message(&self, request: Request<PullMessageRequest>) -> Answered<Self::PullMessageStream> {
        Ok(parts(match self.call(&request) {
            Ok(call) => pull_message::handle(call, request.into_inner()).await,
            Err(refused) => {
                let content = pull_message_response::Content::Status(refused.status());
                vec![PullMessageResponse { content: Some(content) }]
            }
        }))
    }

    async fn update_offset(&self, request: Request<UpdateOffsetRequest>) -> Answered<UpdateOffsetResponse> {
        self.answer(request, offsets::update, |status| UpdateOffsetResponse { status }).await
    }

    async fn get_offset(&self, request: Request<GetOffsetRequest>) -> Answered<GetOffsetResponse> {
        self.answer(request, offsets::get, |status| GetOffsetResponse { status, offset: -1 }).await
    }

    async fn query_offset(&self, request: Request<QueryOffsetRequest>) -> Answered<QueryOffsetResponse> {
        self.answer(request, offsets::query, |status| QueryOffsetResponse { status, offset: -1 }).await
    }

    async fn end_transaction(&self, request: Request<EndTransactionRequest>) -> Answered<EndTransactionResponse> {
        self.answer(request, end_transaction::handle, |status| EndTransactionResponse { status }).await
    }

    async fn telemetry(&self, request: Request<Streaming<TelemetryCommand>>) -> Answered<Self::TelemetryStream> {
        Ok(Response::new(match self.call(&request) {
            Ok(call) => telemetry::open(call, request.into_inner()),
            Err(refused) => telemetry::refused(refused),
        }))
    }

    async fn notify_client_termination(
        &self,
        request: Request<NotifyClientTerminationRequest>,
    ) -> Answered<NotifyClientTerminationResponse> {
        self.answer(request, heartbeat::terminate, |status| NotifyClientTerminationResponse { status }).await
    }

    async fn change_invisible_duration(
        &self,
        request: Request<ChangeInvisibleDurationRequest>,
    ) -> Answered<ChangeInvisibleDurationResponse> {
        let refuse = |status| ChangeInvisibleDurationResponse { status, ..Default::default() };
        self.answer(request, acknowledge::change_invisible_duration, refuse).await
    }

    async fn recall_message(&self, request: Request<RecallMessageRequest>) -> Answered<RecallMessageResponse> {
        self.answer(request, recall_message::handle, |status| RecallMessageResponse { status, ..Default::default() }).await
    }

    async fn sync_lite_subscription(
        &self,
        request: Request<SyncLiteSubscriptionRequest>,
    ) -> Answered<SyncLiteSubscriptionResponse> {
        self.unsupported(request, "lite topics are", |status| SyncLiteSubscriptionResponse { status }).await
    }
}
