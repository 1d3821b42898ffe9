//! Creating a topic: the time from the request until every partition can be used. That metadata names a leader is not enough:
//! Kafka names them before the broker has made their logs. Its answer about a partition's end shows that it has.

use crate::arguments::{Broker, Create};
use crate::ends::Ends;
use crate::failure::Failure;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(300);
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

pub(crate) fn run(broker: &Broker, load: &Create) -> Result<Report, Failure> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    // Opens the connection, which is not what is measured.
    admin.inner().fetch_metadata(None, LIMIT)?;
    let meter = Meter::start(&broker.pids)?;
    create(&admin, load)?;
    match load.replicas {
        1 => wait_until_usable(broker, load)?,
        _ => wait_until_in_sync(&admin, load)?,
    }
    meter.stop("create", Traffic { messages: load.partitions.unsigned_abs().into(), ..Traffic::default() }, None)
}

fn create(admin: &AdminClient<DefaultClientContext>, load: &Create) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers can be made");
    let options = AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT));
    let mut partitions = load.partitions.min(load.step);
    let mut topic = NewTopic::new(&load.topic, partitions, TopicReplication::Fixed(load.replicas));
    for (key, value) in &load.settings {
        topic = topic.set(key, value);
    }
    accept(runtime.block_on(admin.create_topics([&topic], &options))?)?;
    while partitions < load.partitions {
        partitions = load.partitions.min(partitions + load.step);
        let count = usize::try_from(partitions).expect("a count of partitions is positive");
        accept(runtime.block_on(admin.create_partitions([&NewPartitions::new(&load.topic, count)], &options))?)?;
    }
    Ok(())
}

fn accept(results: Vec<TopicResult>) -> Result<(), Failure> {
    for result in results {
        result.map_err(|(topic, error)| Failure::Create { topic, error })?;
    }
    Ok(())
}

/// Until the metadata shows all replicas of all partitions in sync.
fn wait_until_in_sync(admin: &AdminClient<DefaultClientContext>, load: &Create) -> Result<(), Failure> {
    let start = Instant::now();
    let replicas = usize::try_from(load.replicas).expect("a count of replicas is positive");
    loop {
        let metadata = admin.inner().fetch_metadata(Some(&load.topic), LIMIT)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let in_sync = partitions.filter(|partition| partition.leader() >= 0 && partition.isr().len() == replicas).count();
        let missing = usize::try_from(load.partitions).expect("a count of partitions is positive") - in_sync;
        if missing == 0 {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            return Err(Failure::NotUsable { topic: load.topic.clone(), missing, seconds: LIMIT.as_secs() });
        }
        std::thread::sleep(LONGEST_PAUSE);
    }
}

/// Asks at growing intervals, so that the questions cost little beside the creation.
fn wait_until_usable(broker: &Broker, load: &Create) -> Result<(), Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let mut ends = Ends::new(&broker.bootstrap, &load.topic, load.partitions, LIMIT).map_err(connection)?;
    let start = Instant::now();
    let mut pause = SHORTEST_PAUSE;
    while ends.missing() > 0 {
        if ends.ask().map_err(connection)? {
            continue;
        }
        if start.elapsed() > LIMIT {
            return Err(Failure::NotUsable { topic: load.topic.clone(), missing: ends.missing(), seconds: LIMIT.as_secs() });
        }
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(LONGEST_PAUSE);
    }
    Ok(())
}
