//! Creating a topic: the time from the request until every partition has a leader.

use crate::arguments::{Broker, Create};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(10);

pub(crate) fn run(broker: &Broker, load: &Create) -> Result<Report, Failure> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.bootstrap);
    config.set("request.timeout.ms", LIMIT.as_millis().to_string());
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    // Opens the connection, which is not what is measured.
    admin.inner().fetch_metadata(None, LIMIT)?;
    let meter = Meter::start(broker.pid)?;
    create(&admin, load)?;
    wait_for_leaders(&admin, load)?;
    meter.stop("create", Traffic { messages: load.partitions.unsigned_abs().into(), ..Traffic::default() }, None)
}

fn create(admin: &AdminClient<DefaultClientContext>, load: &Create) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers can be made");
    let options = AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT));
    let mut partitions = load.partitions.min(load.step);
    let mut topic = NewTopic::new(&load.topic, partitions, TopicReplication::Fixed(1));
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

fn wait_for_leaders(admin: &AdminClient<DefaultClientContext>, load: &Create) -> Result<(), Failure> {
    let start = Instant::now();
    let wanted = load.partitions.unsigned_abs() as usize;
    loop {
        let metadata = admin.inner().fetch_metadata(Some(&load.topic), LIMIT)?;
        let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
        let found = partitions.filter(|partition| partition.leader() >= 0 && partition.error().is_none()).count();
        if found == wanted {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            return Err(Failure::NotLed { topic: load.topic.clone(), found, wanted, seconds: LIMIT.as_secs() });
        }
        std::thread::sleep(POLL);
    }
}
