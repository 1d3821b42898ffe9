//! The Kafka front end as a client sees it: a broker on a temporary directory, sockets on 127.0.0.1, raw requests.

mod client;
mod cluster;
mod cold;
mod connections;
mod damage;
mod data;
mod delays;
mod docs;
mod moves;
mod sessions;
mod share;
mod uploads;
mod versions;
