//! The command line: the broker, and one kind of load with its numbers.

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "duolog-bench", about = "Puts load on a Kafka-speaking broker and reports what came of it")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) broker: Broker,
    /// One line of JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// Address of the broker.
    #[arg(long, default_value = "127.0.0.1:9092", global = true)]
    pub(crate) bootstrap: String,
    /// A process of the broker, to report its CPU time, memory and files; repeatable, the figures are added up.
    #[arg(long = "pid", global = true)]
    pub(crate) pids: Vec<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Produce through one librdkafka producer, at full speed or at an asked rate.
    Produce(Produce),
    /// Read a topic from its beginning at full speed, through one librdkafka consumer.
    Consume(Consume),
    /// Time from a message's scheduled send to its arrival at a consumer.
    EndToEnd(EndToEnd),
    /// Many connections, each with one message in flight.
    InFlight(InFlight),
    /// One connection that sends requests of single-message batches, round robin over the partitions.
    RoundRobin(RoundRobin),
    /// Create a topic and wait until all its partitions have a leader.
    Create(Create),
    /// RocketMQ remoting: create a topic.
    RemotingCreate(RemotingCreate),
    /// RocketMQ remoting: send at full speed.
    RemotingSend(RemotingSend),
    /// RocketMQ remoting: pull a topic from its beginning.
    RemotingPull(RemotingPull),
    /// RocketMQ remoting: take and acknowledge the messages of a topic by POP.
    RemotingPop(RemotingPop),
    /// RocketMQ remoting: send transactional messages and commit them.
    RemotingTransact(RemotingTransact),
    /// RocketMQ remoting: send delayed messages, and find out how late they come.
    RemotingLateness(RemotingLateness),
    /// Run a program, and report what the broker uses meanwhile.
    Program(Program),
    /// Do nothing and report what the broker uses.
    Idle {
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// An existing topic.
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// Its partitions; messages go to them in turn.
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: i32,
    /// Bytes of a message's value.
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Tuning {
    /// 0, 1 or -1 for all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) acks: i16,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none")]
    pub(crate) codec: String,
    /// How long a batch waits for more messages, in milliseconds.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) linger_ms: f64,
    /// Largest batch, in bytes.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) batch_bytes: usize,
    /// Largest batch, in messages.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) batch_messages: usize,
    /// Idempotent producer.
    #[arg(long)]
    pub(crate) idempotence: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Produce {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// Messages a second, with latencies counted from the time a message was due; full speed without it.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Producers, each with a connection and a topic of its own, called after the topic with a number from 0 on; the partitions are
    /// shared out evenly. With one the topic is used as it is.
    #[arg(long, default_value_t = 1)]
    pub(crate) producers: i32,
    /// Have the library choose partitions, which fills a batch of one before it goes to the next, instead of taking them in turn.
    #[arg(long)]
    pub(crate) keyless: bool,
    /// Stop after this many messages.
    #[arg(long, default_value_t = u64::MAX)]
    pub(crate) messages: u64,
    /// Stop after this many seconds.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds of the same load before, not counted.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) warm_up: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How many messages the topic holds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) messages: u64,
    /// Times the topic is read before, not counted.
    #[arg(long, default_value_t = 0)]
    pub(crate) passes_before: u32,
}

#[derive(Debug, Args)]
pub(crate) struct EndToEnd {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// Messages a second.
    #[arg(long, default_value_t = 500.0)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds of the same load before, not counted.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm_up: f64,
    /// Another topic of one partition, read from its beginning at full speed while latencies are counted.
    #[arg(long)]
    pub(crate) beside: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InFlight {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Connections; each sends to one partition.
    #[arg(long, default_value_t = 64)]
    pub(crate) clients: usize,
    /// 1 or -1 for all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) acks: i16,
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm_up: f64,
}

#[derive(Debug, Args)]
pub(crate) struct RoundRobin {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Partitions in one request, each with a batch of one message.
    #[arg(long, default_value_t = 64)]
    pub(crate) batches: i32,
    /// Requests sent and not answered.
    #[arg(long, default_value_t = 5)]
    pub(crate) in_flight: usize,
    /// 1 or -1 for all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) acks: i16,
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm_up: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: i32,
    /// Replicas of each partition. With more than one it is also waited until all of them are in sync.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) replicas: i32,
    /// Partitions in one request; Kafka refuses 10,000 at once. The topic is created with the first and then grown.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) step: i32,
    /// A setting of the topic, as KEY=VALUE; any number of times.
    #[arg(long = "set", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn settings_are_split_at_the_first_equals_sign() {
        assert_eq!(setting("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(setting("a").is_err());
    }
}

#[derive(Debug, Args)]
pub(crate) struct RemotingCreate {
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    #[arg(long, default_value_t = 8)]
    pub(crate) queues: i32,
}

#[derive(Debug, Args)]
pub(crate) struct RemotingSend {
    /// An existing topic.
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// Its queues; messages go to them in turn.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) queues: i32,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    #[arg(long, default_value_t = 4)]
    pub(crate) connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// Messages in a request; more than one are a batch.
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Messages get one of so many tags in turn; none if 0.
    #[arg(long, default_value_t = 0)]
    pub(crate) tags: u64,
    /// Messages are to be delivered so much later; 0 for at once.
    #[arg(long, default_value_t = 0)]
    pub(crate) delay_ms: u64,
    /// Stop after this many messages.
    #[arg(long, default_value_t = u64::MAX)]
    pub(crate) messages: u64,
    /// Stop after this many seconds.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Seconds of the same load before, not counted.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) warm_up: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Program {
    /// Bytes of a message's value, for the report.
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// Where the program says how many messages it has dealt with: the head of a column of the table with commas that it prints.
    #[arg(long)]
    pub(crate) column: Option<String>,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RemotingPop {
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// Bytes of a message's body, for the report.
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// How many messages the topic holds.
    #[arg(long)]
    pub(crate) messages: u64,
    /// Messages asked for at once.
    #[arg(long, default_value_t = 32)]
    pub(crate) batch: u32,
    /// Requests for messages at the same time.
    #[arg(long, default_value_t = 8)]
    pub(crate) in_flight: u32,
    /// As the broker calls itself in routes.
    #[arg(long, default_value = "broker-a")]
    pub(crate) broker_name: String,
}

#[derive(Debug, Args)]
pub(crate) struct RemotingTransact {
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    #[arg(long, default_value_t = 8)]
    pub(crate) queues: i32,
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// Transactions at the same time.
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm_up: f64,
}

#[derive(Debug, Args)]
pub(crate) struct RemotingLateness {
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    #[arg(long, default_value_t = 8)]
    pub(crate) queues: i32,
    #[arg(long, default_value_t = 100)]
    pub(crate) size: usize,
    #[arg(long, default_value_t = 5_000)]
    pub(crate) messages: u64,
    /// Messages sent a second.
    #[arg(long, default_value_t = 500.0)]
    pub(crate) rate: f64,
    /// How much later each is to come.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) delay_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct RemotingPull {
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    #[arg(long, default_value_t = 8)]
    pub(crate) queues: i32,
    /// Bytes of a message's body, for the report.
    #[arg(long, default_value_t = 1024)]
    pub(crate) size: usize,
    /// Messages asked for in a pull.
    #[arg(long, default_value_t = 32)]
    pub(crate) batch: i32,
    /// Tags, as a consumer subscribes to them.
    #[arg(long, default_value = "*")]
    pub(crate) subscription: String,
    /// Passes over the topic before the one that counts.
    #[arg(long, default_value_t = 0)]
    pub(crate) passes_before: u32,
}
