//! Transactional messages of gRPC's producers, and what these are asked.

use crate::grpc_client::{GrpcClient, GrpcNode, body, code, message, resource, system};
use crate::node;
use crate::transactions::clock;
use duolog_rocketmq_proto::settings::PubSub;
use duolog_rocketmq_proto::telemetry_command::Command as Telemetry;
use duolog_rocketmq_proto::{
    ClientType, Code, EndTransactionRequest as GrpcEnd, Message, MessageType, Publishing, RecoverOrphanedTransactionCommand,
    Settings, TelemetryCommand, TransactionResolution,
};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

fn transactional(id: &str, immunity: i64) -> Message {
    let mut message = message("t", id, id);
    let system = message.system_properties.as_mut().unwrap();
    system.message_type = MessageType::Transaction.into();
    system.orphaned_transaction_recovery_duration = Some(prost_types::Duration { seconds: immunity, nanos: 0 });
    message
}

async fn end_over_grpc(client: &mut GrpcClient, topic: &str, id: &str, transaction: &str, what: TransactionResolution) -> Code {
    let request = client.request(GrpcEnd {
        topic: resource(topic),
        message_id: id.to_owned(),
        transaction_id: transaction.to_owned(),
        resolution: what.into(),
        ..GrpcEnd::default()
    });
    code(&client.client.end_transaction(request).await.unwrap().into_inner().status)
}

async fn transaction(client: &mut GrpcClient, id: &str, immunity: i64) -> String {
    let answer = client.send(vec![transactional(id, immunity)]).await;
    assert_eq!(code(&answer.status), Code::Ok, "{answer:?}");
    assert_eq!(answer.entries[0].message_id, id);
    answer.entries[0].transaction_id.clone()
}

/// A stream of commands of a producer to the topic.
async fn publish(client: &mut GrpcClient) -> (mpsc::Sender<TelemetryCommand>, Streaming<TelemetryCommand>) {
    let publishing = Publishing { topics: resource("t").into_iter().collect(), ..Publishing::default() };
    let settings = Settings {
        client_type: Some(ClientType::Producer.into()),
        pub_sub: Some(PubSub::Publishing(publishing)),
        ..Settings::default()
    };
    let (commands, stream) = mpsc::channel(8);
    commands.send(TelemetryCommand { status: None, command: Some(Telemetry::Settings(settings)) }).await.unwrap();
    let request = client.request(ReceiverStream::new(stream));
    let mut answers = client.client.telemetry(request).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(answer.command, Some(Telemetry::Settings(_))), "{answer:?}");
    (commands, answers)
}

async fn orphan(answers: &mut Streaming<TelemetryCommand>) -> RecoverOrphanedTransactionCommand {
    let answer = tokio::time::timeout(node::FOR_EVER, answers.message()).await.unwrap().unwrap().unwrap();
    match answer.command {
        Some(Telemetry::RecoverOrphanedTransactionCommand(command)) => command,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn grpc_producers_end_their_transactions_and_are_asked_about_them() {
    let clock = clock();
    let dir = tempfile::tempdir().unwrap();
    let server = GrpcNode::serve(node::open_at(&dir, &[], clock.clone()).await, dir);
    server.topic("t", 1).await;
    let mut client = server.client("c").await;
    let (_commands, mut answers) = publish(&mut client).await;
    let (kept, lost) = (transaction(&mut client, "kept", 5).await, transaction(&mut client, "lost", 5).await);
    let asked_about = transaction(&mut client, "asked", 10).await;
    assert!(client.finds_nothing("t", -1).await);
    use TransactionResolution::{Commit, Rollback, Unspecified};
    let wrong = [
        ("t", "kept", ""),
        ("t", "kept", "what"),
        ("t", "other", kept.as_str()),
        ("u", "kept", kept.as_str()),
        ("t", "kept", "00000000000000050000000000000005"),
    ];
    for (topic, id, transaction) in wrong {
        let refused = end_over_grpc(&mut client, topic, id, transaction, Commit).await;
        assert_eq!(refused, Code::InvalidTransactionId, "{topic} {id} {transaction}");
    }
    assert_eq!(end_over_grpc(&mut client, "t", "lost", &lost, Rollback).await, Code::Ok);
    assert_eq!(end_over_grpc(&mut client, "t", "asked", &asked_about, Unspecified).await, Code::Ok);
    for _ in 0..2 {
        assert_eq!(end_over_grpc(&mut client, "t", "kept", &kept, Commit).await, Code::Ok);
    }
    let received = client.receive("t", 32).await;
    assert_eq!(received.iter().map(body).collect::<Vec<_>>(), ["kept"]);
    assert_eq!(
        (system(&received[0]).message_type(), system(&received[0]).message_id.as_str()),
        (MessageType::Transaction, "kept")
    );
    assert_eq!(client.acknowledge("t", &received[0]).await, Code::Ok);
    clock.advance(10_000);
    let orphan = orphan(&mut answers).await;
    let message = orphan.message.unwrap();
    assert_eq!((body(&message), system(&message).message_id.as_str()), ("asked", "asked"));
    assert_eq!(orphan.transaction_id, asked_about);
    assert_eq!(end_over_grpc(&mut client, "t", "asked", &orphan.transaction_id, Commit).await, Code::Ok);
    assert_eq!(client.receive("t", 32).await.iter().map(body).collect::<Vec<_>>(), ["asked"]);
    // Batches and delays have none.
    let answer = client.send(vec![transactional("a", 5), transactional("b", 5)]).await;
    assert_eq!(code(&answer.status), Code::BadRequest);
    let mut delayed = transactional("a", 5);
    delayed.system_properties.as_mut().unwrap().delivery_timestamp =
        Some(prost_types::Timestamp { seconds: 2_000_000_000, nanos: 0 });
    assert_eq!(code(&client.send(vec![delayed]).await.status), Code::MessagePropertyConflictWithType);
    server.stop().await;
}
