//! The server as RocketMQ clients meet it, over real sockets.

mod admin;
mod admin_groups;
mod client;
mod cluster;
mod cluster_groups;
mod cluster_grpc;
mod cluster_queues;
mod consumers;
mod delays;
mod docs;
mod grpc;
mod grpc_authority;
mod grpc_client;
mod grpc_delivery;
mod grpc_retries;
mod grpc_tls;
mod hostile;
mod messages;
mod node;
mod old_messages;
mod queries;
mod relay;
mod replies;
mod routes;
