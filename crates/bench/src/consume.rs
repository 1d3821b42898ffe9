//! Reading a topic from its beginning at full speed.

use crate::arguments::{Broker, Consume};
use crate::client::{From, consumer};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use rdkafka::consumer::BaseConsumer;
use std::time::{Duration, Instant};

/// How long nothing may come before the rest is given up.
const SILENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// The clock is looked at once in so many messages.
const CLOCK_EVERY: u64 = 1024;

pub(crate) fn run(broker: &Broker, load: &Consume) -> Result<Report, Failure> {
    for _ in 0..load.passes_before {
        read(&first(broker, load)?, load, load.messages - 1)?;
    }
    let consumer = first(broker, load)?;
    let meter = Meter::start(&broker.pids)?;
    read(&consumer, load, load.messages - 1)?;
    let traffic = Traffic { messages: load.messages - 1, failed: 0, size: load.target.size };
    meter.stop("consume", traffic, None)
}

/// A consumer that has read one message: librdkafka takes half a second to begin, which says nothing about the broker.
fn first(broker: &Broker, load: &Consume) -> Result<BaseConsumer, Failure> {
    let consumer = consumer(broker, &load.target, From::Beginning)?;
    read(&consumer, load, 1)?;
    Ok(consumer)
}

fn read(consumer: &BaseConsumer, load: &Consume, wanted: u64) -> Result<(), Failure> {
    let mut got = 0;
    let mut last = Instant::now();
    while got < wanted {
        match consumer.poll(POLL) {
            Some(message) => {
                assert_eq!(message?.payload_len(), load.target.size, "the topic holds messages of another load");
                got += 1;
                if got % CLOCK_EVERY == 0 {
                    last = Instant::now();
                }
            }
            None if last.elapsed() > SILENCE => {
                return Err(Failure::Missing { got, wanted, seconds: SILENCE.as_secs() });
            }
            None => {}
        }
    }
    Ok(())
}
