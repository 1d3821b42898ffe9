//! POP: messages are taken by several requests at the same time and acknowledged one by one, as the Java client does, until all of
//! them are.

use super::frame::{
    ACK_MESSAGE, Answer, POLLING_FULL, POLLING_TIMEOUT, POP_MESSAGE, PULL_NOT_FOUND, SUCCESS, Template, read_answer,
};
use crate::arguments::{Broker, RemotingPop};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use std::io::{Error, Result as IoResult};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Requests for messages are numbered from 0 on, acknowledgements from here.
const FIRST_ACK: u32 = 1 << 16;
/// How long what was taken is hidden, and how long a request waits for messages.
const INVISIBLE_MS: u64 = 60_000;
const POLL_MS: u64 = 1_000;
/// Any queue.
const ANY_QUEUE: i32 = -1;

pub(crate) fn run(broker: &Broker, load: &RemotingPop) -> Result<Report, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connection)?;
    runtime.block_on(async {
        let meter = Meter::start(&broker.pids)?;
        let (done, refused) = take_all(broker, load).await.map_err(connection)?;
        meter.stop("remoting-pop", Traffic { messages: done, failed: refused, size: load.size }, None)
    })
}

/// Acknowledged messages, and refused acknowledgements.
async fn take_all(broker: &Broker, load: &RemotingPop) -> IoResult<(u64, u64)> {
    let stream = TcpStream::connect(&broker.bootstrap).await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(1 << 20, reader);
    let mut outgoing = Vec::new();
    for number in 0..load.in_flight {
        outgoing.extend_from_slice(pop(load).numbered(number));
    }
    let (mut done, mut refused, mut acks) = (0, 0, FIRST_ACK);
    let mut buffer = Vec::new();
    while done + refused < load.messages {
        if !outgoing.is_empty() {
            writer.write_all(&outgoing).await?;
            outgoing.clear();
        }
        let answer = read_answer(&mut reader, &mut buffer).await?;
        if answer.opaque >= FIRST_ACK {
            match answer.code {
                SUCCESS => done += 1,
                _ => refused += 1,
            }
            continue;
        }
        match answer.code {
            SUCCESS => {
                for fields in handles(load, &answer).ok_or_else(|| Error::other("an answer to a pop that makes no sense"))? {
                    acks = acks.checked_add(1).unwrap_or(FIRST_ACK);
                    outgoing.extend_from_slice(Template::new(ACK_MESSAGE, &fields, &[]).numbered(acks));
                }
            }
            PULL_NOT_FOUND | POLLING_FULL | POLLING_TIMEOUT => {}
            code => return Err(Error::other(format!("answer {code} to a pop"))),
        }
        outgoing.extend_from_slice(pop(load).numbered(answer.opaque));
    }
    Ok((done, refused))
}

fn pop(load: &RemotingPop) -> Template {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let fields = [
        ("consumerGroup", "bench".to_owned()),
        ("topic", load.topic.clone()),
        ("queueId", ANY_QUEUE.to_string()),
        ("maxMsgNums", load.batch.to_string()),
        ("invisibleTime", INVISIBLE_MS.to_string()),
        ("pollTime", POLL_MS.to_string()),
        ("bornTime", now.to_string()),
        // From the beginning of the topic.
        ("initMode", "0".to_owned()),
        ("expType", "TAG".to_owned()),
        ("exp", "*".to_owned()),
        ("order", "false".to_owned()),
    ];
    Template::new(POP_MESSAGE, &fields, &[])
}

type Fields = [(&'static str, String); 5];

/// The acknowledgements of all messages of an answer.
fn handles(load: &RemotingPop, answer: &Answer<'_>) -> Option<Vec<Fields>> {
    let (pop_time, invisible, revive) = (answer.field("popTime")?, answer.field("invisibleTime")?, answer.field("reviveQid")?);
    let starts = answer.text("startOffsetInfo")?;
    let mut handles = Vec::new();
    for queue in answer.text("msgOffsetInfo")?.split(';').filter(|queue| !queue.is_empty()) {
        let (place, offsets) = queue.rsplit_once(' ')?;
        let (mark, id) = place.split_once(' ')?;
        let start = starts.split(';').find_map(|start| start.strip_prefix(place)?.strip_prefix(' '))?;
        for offset in offsets.split(',') {
            let extra = format!("{start} {pop_time} {invisible} {revive} {mark} {} {id} {offset}", load.broker_name);
            handles.push([
                ("consumerGroup", "bench".to_owned()),
                ("topic", load.topic.clone()),
                ("queueId", id.to_owned()),
                ("offset", offset.to_owned()),
                ("extraInfo", extra),
            ]);
        }
    }
    Some(handles)
}
