//! The real binary as a process: starting and stopping, every command, and what survives `kill -9` and loss of power.

mod cluster;
mod commands;
mod crash;
mod damage;
mod directories;
mod dlq;
mod groups;
mod grpc;
mod import;
mod journal;
mod log_tools;
mod power;
mod rocketmq;
mod server;
mod share_letters;
mod start;
