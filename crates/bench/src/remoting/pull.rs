//! Pulling a topic from its beginning: one connection, one pull in flight a queue, as a push consumer has.

use super::frame::{PULL_MESSAGE, PULL_NOT_FOUND, PULL_RETRY_IMMEDIATELY, SUCCESS, Template, messages, read_answer};
use crate::arguments::{Broker, RemotingPull};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use std::io::{Error, Result as IoResult};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The subscription is in the request.
const HAS_SUBSCRIPTION: i32 = 4;

pub(crate) fn run(broker: &Broker, load: &RemotingPull) -> Result<Report, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connection)?;
    runtime.block_on(async {
        for _ in 0..load.passes_before {
            pass(broker, load).await.map_err(connection)?;
        }
        let meter = Meter::start(&broker.pids)?;
        let received = pass(broker, load).await.map_err(connection)?;
        meter.stop("remoting-pull", Traffic { messages: received, failed: 0, size: load.size }, None)
    })
}

/// Reads all queues to their ends; gives the messages that came.
async fn pass(broker: &Broker, load: &RemotingPull) -> IoResult<u64> {
    let stream = TcpStream::connect(&broker.bootstrap).await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(1 << 20, reader);
    for queue in 0..load.queues {
        writer.write_all(request(load, queue, 0).numbered(queue as u32)).await?;
    }
    let (mut received, mut open) = (0, load.queues);
    let mut buffer = Vec::new();
    while open > 0 {
        let answer = read_answer(&mut reader, &mut buffer).await?;
        let queue = answer.opaque as i32;
        let nonsense = || Error::other(format!("answer {} to a pull of queue {queue}", answer.code));
        match answer.code {
            SUCCESS | PULL_RETRY_IMMEDIATELY | PULL_NOT_FOUND => {}
            _ => return Err(nonsense()),
        }
        received += messages(answer.body).ok_or_else(nonsense)?;
        let next = answer.field("nextBeginOffset").ok_or_else(nonsense)?;
        let end = answer.field("maxOffset").ok_or_else(nonsense)?;
        if next >= end {
            open -= 1;
            continue;
        }
        writer.write_all(request(load, queue, next).numbered(queue as u32)).await?;
    }
    Ok(received)
}

fn request(load: &RemotingPull, queue: i32, offset: i64) -> Template {
    let fields = [
        ("consumerGroup", "bench".to_owned()),
        ("topic", load.topic.clone()),
        ("queueId", queue.to_string()),
        ("queueOffset", offset.to_string()),
        ("maxMsgNums", load.batch.to_string()),
        ("sysFlag", HAS_SUBSCRIPTION.to_string()),
        ("commitOffset", "0".to_owned()),
        ("suspendTimeoutMillis", "0".to_owned()),
        ("subscription", load.subscription.clone()),
        ("subVersion", "0".to_owned()),
        ("expressionType", "TAG".to_owned()),
    ];
    Template::new(PULL_MESSAGE, &fields, &[])
}
