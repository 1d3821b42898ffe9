//! Reading a topic from its beginning at full speed.

use crate::arguments::{Broker, Consume};
use crate::client::{From, consumer};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use std::time::{Duration, Instant};

/// How long nothing may come before the rest is given up.
const SILENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(broker: &Broker, load: &Consume) -> Result<Report, Failure> {
    for _ in 0..load.passes_before {
        pass(broker, load)?;
    }
    let meter = Meter::start(broker.pid)?;
    pass(broker, load)?;
    let traffic = Traffic { messages: load.messages, failed: 0, size: load.target.size };
    meter.stop("consume", traffic, None)
}

/// Reads everything once.
fn pass(broker: &Broker, load: &Consume) -> Result<(), Failure> {
    let consumer = consumer(broker, &load.target, From::Beginning)?;
    let mut got = 0;
    let mut last = Instant::now();
    while got < load.messages {
        match consumer.poll(Duration::from_millis(100)) {
            Some(message) => {
                assert!(message?.payload_len() == load.target.size, "the topic holds messages of another load");
                got += 1;
                if got % 1024 == 0 {
                    last = Instant::now();
                }
            }
            None if last.elapsed() > SILENCE => {
                return Err(Failure::Missing { got, wanted: load.messages, seconds: SILENCE.as_secs() });
            }
            None => {}
        }
    }
    Ok(())
}
