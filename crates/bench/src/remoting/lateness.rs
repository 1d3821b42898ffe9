//! How late delayed messages come: messages with a time of delivery are sent at a rate while others are pulled as they come. The
//! latency is from the time of delivery to the arrival; one that comes early fails.

use super::frame::{
    PULL_MESSAGE, PULL_NOT_FOUND, PULL_RETRY_IMMEDIATELY, SEND_MESSAGE_V2, SUCCESS, Template, bodies, read_answer,
};
use crate::arguments::{Broker, RemotingLateness};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use std::io::{Error, Result as IoResult};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Pulls wait, and have their subscription in the request.
const SUSPEND_AND_SUBSCRIPTION: i32 = 2 | 4;
const POLL_MS: u64 = 15_000;
/// Longest wait for the last message.
const LIMIT: Duration = Duration::from_secs(120);
/// Messages of one pull.
const BATCH: u32 = 32;

pub(crate) fn run(broker: &Broker, load: &RemotingLateness) -> Result<Report, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connection)?;
    runtime.block_on(async {
        let meter = Meter::start(&broker.pids)?;
        let (sent, received) = tokio::join!(send(broker, load), tokio::time::timeout(LIMIT, receive(broker, load)));
        sent.map_err(connection)?;
        let late = received.map_err(|_| Failure::Missing { got: 0, wanted: load.messages, seconds: LIMIT.as_secs() })?;
        let (early, latencies) = late.map_err(connection)?;
        let traffic = Traffic { messages: load.messages - early, failed: early, size: load.size };
        meter.stop("remoting-lateness", traffic, latencies.summary())
    })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

async fn send(broker: &Broker, load: &RemotingLateness) -> IoResult<()> {
    let mut stream = TcpStream::connect(&broker.bootstrap).await?;
    stream.set_nodelay(true)?;
    let (start, mut buffer) = (tokio::time::Instant::now(), Vec::new());
    for number in 0..load.messages {
        tokio::time::sleep_until(start + Duration::from_secs_f64(number as f64 / load.rate)).await;
        stream.write_all(request(load, number).numbered(number as u32)).await?;
        let answer = read_answer(&mut stream, &mut buffer).await?;
        if answer.code != SUCCESS {
            return Err(Error::other(format!("answer {} to a delayed message", answer.code)));
        }
    }
    Ok(())
}

/// A message whose body begins with the time it is to come.
fn request(load: &RemotingLateness, number: u64) -> Template {
    let (now, queue) = (now_ms(), number % load.queues.max(1) as u64);
    let due = now + load.delay_ms;
    let mut body = due.to_be_bytes().to_vec();
    body.resize(load.size.max(body.len()), b'x');
    let properties = format!("UNIQ_KEY\u{1}{number:032X}\u{2}WAIT\u{1}true\u{2}TIMER_DELIVER_MS\u{1}{due}\u{2}");
    let fields = [
        ("a", "bench".to_owned()),
        ("b", load.topic.clone()),
        ("c", "TBW102".to_owned()),
        ("d", "4".to_owned()),
        ("e", queue.to_string()),
        ("f", "0".to_owned()),
        ("g", now.to_string()),
        ("h", "0".to_owned()),
        ("i", properties),
        ("j", "0".to_owned()),
        ("k", "false".to_owned()),
        ("m", "false".to_owned()),
    ];
    Template::new(SEND_MESSAGE_V2, &fields, &body)
}

/// How many came early, and how late the others were.
async fn receive(broker: &Broker, load: &RemotingLateness) -> IoResult<(u64, Latencies)> {
    let stream = TcpStream::connect(&broker.bootstrap).await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(1 << 20, reader);
    for queue in 0..load.queues {
        writer.write_all(pull(load, queue, 0).numbered(queue as u32)).await?;
    }
    let (mut received, mut early, mut latencies) = (0, 0, Latencies::new());
    let mut buffer = Vec::new();
    while received < load.messages {
        let answer = read_answer(&mut reader, &mut buffer).await?;
        let (queue, now) = (answer.opaque as i32, now_ms());
        let nonsense = || Error::other(format!("answer {} to a pull of queue {queue}", answer.code));
        match answer.code {
            SUCCESS | PULL_RETRY_IMMEDIATELY | PULL_NOT_FOUND => {}
            _ => return Err(nonsense()),
        }
        for body in bodies(answer.body).ok_or_else(nonsense)? {
            let due = body.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or_else(nonsense)?;
            received += 1;
            match now.checked_sub(due) {
                Some(late) => latencies.record(Duration::from_millis(late)),
                None => early += 1,
            }
        }
        let next = answer.field("nextBeginOffset").ok_or_else(nonsense)?;
        writer.write_all(pull(load, queue, next).numbered(queue as u32)).await?;
    }
    Ok((early, latencies))
}

fn pull(load: &RemotingLateness, queue: i32, offset: i64) -> Template {
    let fields = [
        ("consumerGroup", "bench".to_owned()),
        ("topic", load.topic.clone()),
        ("queueId", queue.to_string()),
        ("queueOffset", offset.to_string()),
        ("maxMsgNums", BATCH.to_string()),
        ("sysFlag", SUSPEND_AND_SUBSCRIPTION.to_string()),
        ("commitOffset", "0".to_owned()),
        ("suspendTimeoutMillis", POLL_MS.to_string()),
        ("subscription", "*".to_owned()),
        ("subVersion", "0".to_owned()),
        ("expressionType", "TAG".to_owned()),
    ];
    Template::new(PULL_MESSAGE, &fields, &[])
}
