//! Creating a topic with so many queues.

use super::frame::{CREATE_TOPIC, SUCCESS, Template, read_answer};
use crate::arguments::{Broker, RemotingCreate};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::report::{Report, Traffic};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub(crate) fn run(broker: &Broker, load: &RemotingCreate) -> Result<Report, Failure> {
    let connection = |error| Failure::Connection { address: broker.bootstrap.clone(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(connection)?;
    let meter = Meter::start(&broker.pids)?;
    let code = runtime.block_on(create(broker, load)).map_err(connection)?;
    let traffic = Traffic { messages: u64::from(code == SUCCESS), failed: u64::from(code != SUCCESS), size: 0 };
    meter.stop("remoting-create", traffic, None)
}

async fn create(broker: &Broker, load: &RemotingCreate) -> std::io::Result<i32> {
    let queues = load.queues.to_string();
    let fields = [
        ("topic", load.topic.clone()),
        ("defaultTopic", "TBW102".to_owned()),
        ("readQueueNums", queues.clone()),
        ("writeQueueNums", queues),
        ("perm", "6".to_owned()),
        ("topicFilterType", "SINGLE_TAG".to_owned()),
        ("topicSysFlag", "0".to_owned()),
        ("order", "false".to_owned()),
    ];
    let mut stream = TcpStream::connect(&broker.bootstrap).await?;
    stream.write_all(Template::new(CREATE_TOPIC, &fields, &[]).numbered(1)).await?;
    let mut buffer = Vec::new();
    Ok(read_answer(&mut stream, &mut buffer).await?.code)
}
