//! Transactional messages: half messages, each committed as soon as it is stored. A message counts when its end is acknowledged.

use super::frame::{Answer, END_TRANSACTION, SEND_MESSAGE_V2, SUCCESS, Template, read_answer};
use crate::arguments::{Broker, RemotingTransact};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::payload::Payloads;
use crate::report::{Report, Traffic};
use std::io::{Error, Result as IoResult};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A message is prepared; a transaction is committed.
const PREPARED: i32 = 4;
const COMMIT: i32 = 8;
const UNIQUE_KEY: &str = "7F0000010000000000000000000000AA";

pub(crate) fn run(broker: &Broker, load: &RemotingTransact) -> Result<Report, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connection)?;
    runtime.block_on(async {
        let stream = TcpStream::connect(&broker.bootstrap).await.map_err(connection)?;
        stream.set_nodelay(true).map_err(connection)?;
        let (reader, writer) = stream.into_split();
        let halves = (0..load.queues).map(|queue| half(load, queue)).collect();
        let mut line = Line { reader: BufReader::new(reader), writer, halves, sent: 0 };
        line.phase(load, load.warm_up).await.map_err(connection)?;
        let meter = Meter::start(&broker.pids)?;
        let (done, refused, latencies) = line.phase(load, load.seconds).await.map_err(connection)?;
        meter.stop("remoting-transact", Traffic { messages: done, failed: refused, size: load.size }, latencies.summary())
    })
}

struct Line {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    halves: Vec<Template>,
    sent: usize,
}

/// What a request number is at.
#[derive(Clone, Copy)]
struct Step {
    start: Instant,
    is_half: bool,
}

impl Line {
    fn next_half(&mut self) -> &mut Template {
        self.sent += 1;
        let count = self.halves.len();
        &mut self.halves[self.sent % count]
    }

    async fn phase(&mut self, load: &RemotingTransact, seconds: f64) -> IoResult<(u64, u64, Latencies)> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut steps = vec![Step { start: Instant::now(), is_half: true }; load.in_flight];
        let mut outgoing = Vec::new();
        for number in 0..load.in_flight {
            outgoing.extend_from_slice(self.next_half().numbered(number as u32));
        }
        let (mut done, mut refused, mut latencies) = (0, 0, Latencies::new());
        let (mut open, mut buffer) = (load.in_flight, Vec::new());
        while open > 0 {
            if !outgoing.is_empty() {
                self.writer.write_all(&outgoing).await?;
                outgoing.clear();
            }
            let answer = read_answer(&mut self.reader, &mut buffer).await?;
            let step = steps.get_mut(answer.opaque as usize).ok_or_else(|| Error::other("an answer nobody asked for"))?;
            if answer.code == SUCCESS && step.is_half {
                step.is_half = false;
                let mut commit = commit(load, &answer).ok_or_else(|| Error::other("a half message without a place"))?;
                outgoing.extend_from_slice(commit.numbered(answer.opaque));
                continue;
            }
            match answer.code {
                SUCCESS => {
                    done += 1;
                    latencies.record(step.start.elapsed());
                }
                _ => refused += 1,
            }
            *step = Step { start: Instant::now(), is_half: true };
            match Instant::now() < end {
                true => outgoing.extend_from_slice(self.next_half().numbered(answer.opaque)),
                false => open -= 1,
            }
        }
        Ok((done, refused, latencies))
    }
}

fn half(load: &RemotingTransact, queue: i32) -> Template {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let properties = format!("UNIQ_KEY\u{1}{UNIQUE_KEY}\u{2}WAIT\u{1}true\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}bench\u{2}");
    let fields = [
        ("a", "bench".to_owned()),
        ("b", load.topic.clone()),
        ("c", "TBW102".to_owned()),
        ("d", "4".to_owned()),
        ("e", queue.to_string()),
        ("f", PREPARED.to_string()),
        ("g", now.to_string()),
        ("h", "0".to_owned()),
        ("i", properties),
        ("j", "0".to_owned()),
        ("k", "false".to_owned()),
        ("m", "false".to_owned()),
    ];
    Template::new(SEND_MESSAGE_V2, &fields, Payloads::new(load.size).at(queue as u64))
}

/// Ends the transaction of a half message that is stored. Its place in the log is the end of its id.
fn commit(load: &RemotingTransact, stored: &Answer<'_>) -> Option<Template> {
    const PLACE_DIGITS: usize = 16;
    let id = stored.text("msgId")?;
    let place = u64::from_str_radix(id.get(id.len().checked_sub(PLACE_DIGITS)?..)?, 16).ok()?;
    let fields = [
        ("topic", load.topic.clone()),
        ("producerGroup", "bench".to_owned()),
        ("tranStateTableOffset", stored.field("queueOffset")?.to_string()),
        ("commitLogOffset", place.to_string()),
        ("commitOrRollback", COMMIT.to_string()),
        ("fromTransactionCheck", "false".to_owned()),
        ("msgId", UNIQUE_KEY.to_owned()),
        ("transactionId", UNIQUE_KEY.to_owned()),
    ];
    Some(Template::new(END_TRANSACTION, &fields, &[]))
}
