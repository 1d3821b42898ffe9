//! The server as RocketMQ clients meet it, over real sockets.

mod admin;
mod admin_groups;
mod client;
mod consumers;
mod docs;
mod hostile;
mod messages;
mod queries;
mod relay;
mod replies;
mod routes;
