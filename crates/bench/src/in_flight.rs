//! Many connections with one message in flight each: the next message leaves when the last was acknowledged.
//!
//! Written to the socket by one thread, so that the generator takes little of the CPU it shares with the broker. The load
//! is a closed loop: latencies are those of the messages that were sent, and a slow broker is sent fewer.

use crate::arguments::{Broker, InFlight};
use crate::failure::Failure;
use crate::frame::{produce_request, read_answer};
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::payload::Payloads;
use crate::produce::partition;
use crate::report::{Report, Traffic};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// What all clients count together.
struct Shared {
    end: Instant,
    acknowledged: Cell<u64>,
    refused: Cell<u64>,
    latencies: RefCell<Latencies>,
}

pub(crate) fn run(broker: &Broker, load: &InFlight) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = runtime.map_err(connection)?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(measure(broker, load)))
}

async fn measure(broker: &Broker, load: &InFlight) -> Result<Report, Failure> {
    let mut clients = connect(broker, load).await?;
    let (_, again) = phase(broker, clients, load.warm_up).await?;
    clients = again;
    let meter = Meter::start(&broker.pids)?;
    let (shared, _) = phase(broker, clients, load.seconds).await?;
    let traffic = Traffic { messages: shared.acknowledged.get(), failed: shared.refused.get(), size: load.target.size };
    let latency = shared.latencies.borrow().summary();
    meter.stop("in-flight", traffic, latency)
}

/// One connection and the request it repeats.
struct Client {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
}

async fn connect(broker: &Broker, load: &InFlight) -> Result<Vec<Client>, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let payloads = Payloads::new(load.target.size);
    let mut clients = Vec::with_capacity(load.clients);
    for number in 0..load.clients as u64 {
        let stream = TcpStream::connect(&broker.bootstrap).await.map_err(connection)?;
        stream.set_nodelay(true).map_err(connection)?;
        let message = (partition(number, load.target.partitions), payloads.at(number));
        let request = produce_request(&load.target.topic, &[message], load.acks);
        clients.push(Client { stream: BufReader::new(stream), request });
    }
    Ok(clients)
}

/// Lets all clients run for so long.
async fn phase(broker: &Broker, clients: Vec<Client>, seconds: f64) -> Result<(Rc<Shared>, Vec<Client>), Failure> {
    let shared = Rc::new(Shared {
        end: Instant::now() + Duration::from_secs_f64(seconds),
        acknowledged: Cell::new(0),
        refused: Cell::new(0),
        latencies: RefCell::new(Latencies::new()),
    });
    let running: Vec<_> = clients.into_iter().map(|client| tokio::task::spawn_local(repeat(client, shared.clone()))).collect();
    let mut clients = Vec::with_capacity(running.len());
    for client in running {
        let outcome = client.await.expect("a client does not panic");
        clients.push(outcome.map_err(|error| Failure::Connection { address: broker.bootstrap.clone(), error })?);
    }
    Ok((shared, clients))
}

async fn repeat(mut client: Client, shared: Rc<Shared>) -> std::io::Result<Client> {
    let mut answer = Vec::new();
    let mut sent = Instant::now();
    while sent < shared.end {
        client.stream.get_mut().write_all(&client.request).await?;
        let refused = read_answer(&mut client.stream, &mut answer).await?;
        let now = Instant::now();
        shared.latencies.borrow_mut().record(now - sent);
        shared.refused.set(shared.refused.get() + refused);
        shared.acknowledged.set(shared.acknowledged.get() + 1 - refused);
        sent = now;
    }
    Ok(client)
}
