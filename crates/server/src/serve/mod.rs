//! `duolog serve`: from flags to a running server, and back down in order.
//!
//! Up: configuration, log, metadata, groups, Kafka listeners, then the banner. Down: no new requests, pending
//! acknowledgements answered, log flushed and checkpointed, exit 0. If the log fails the process ends with code 1 instead,
//! since nothing it could still say would be true.

mod banner;
mod files;
mod http;
pub(crate) mod layers;
mod listen;
mod logging;
mod metrics;
mod signals;

use banner::{Banner, ShownListener};
use clap::Args;
use duolog_base::{Disk, RealDisk, SystemClock};
use duolog_core::broker::{Broker, BrokerOpenError, BrokerOptions};
use duolog_core::config::BrokerConfig;
use duolog_core::group::GroupCoordinator;
use duolog_kafka::{KafkaServer, Services};
use duolog_log::LogFailure;
use duolog_net::{BindError, ConnectionLimits, Door};
use duolog_rocketmq::{GrpcBindError, GrpcServer, Node, RocketMqServer, TlsError};
use http::{Health, HttpServer, Served};
use listen::{Scheme, Spoken};
use logging::LogFormat;
use signals::Signals;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Even on one core a slow request must not hold up all others.
const MIN_WORKERS: usize = 2;

#[derive(Args)]
pub(crate) struct ServeArguments {
    /// Where everything is stored; repeatable, one a disk: partitions are spread over them [default: ./duolog-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Vec<PathBuf>,
    /// Address to listen on, as [NAME=]SCHEME://HOST:PORT[?advertised=HOST:PORT] where SCHEME is kafka, namesrv, rocketmq or
    /// grpc; repeatable; port 0 takes a free one [default: all on 127.0.0.1, at 9092, 9876, 10911 and 10909, and 8081]
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,
    /// Address of metrics and health checks; port 0 takes a free one [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Number of this node in the cluster [default: 1]
    #[arg(long, value_name = "N")]
    node_id: Option<i32>,
    /// TOML file with configuration keys
    #[arg(long, value_name = "FILE", env = "DUOLOG_CONFIG")]
    config: Option<PathBuf>,
    /// A configuration key; repeatable. `duolog config list` names them all
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::cli::arguments::pair)]
    set: Vec<(String, String)>,
    /// How logs are written to standard error
    #[arg(long, value_enum, default_value = "human", env = "DUOLOG_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Configuration(#[from] layers::LayerError),
    #[error(transparent)]
    Listen(#[from] listen::ListenError),
    #[error("http.listen {given:?} is not of the form HOST:PORT")]
    HttpAddress { given: String },
    #[error("starting: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Open(#[from] BrokerOpenError),
    #[error("listening on {address}: {error}")]
    Bind { address: String, error: io::Error },
    #[error(transparent)]
    Tls(TlsError),
    #[error("the log has stopped: {0}")]
    Log(LogFailure),
}

impl ServeError {
    /// Whether what the user wrote is at fault, and not the machine.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, ServeError::Configuration(_) | ServeError::Listen(_) | ServeError::HttpAddress { .. })
    }
}

impl ServeArguments {
    /// The flags as configuration keys. A flag with a name of its own wins over `--set` of the same key.
    fn values(&self) -> Vec<(String, String)> {
        let mut values = self.set.clone();
        let mut put = |key: &str, value: String| values.push((key.to_owned(), value));
        if !self.data_dir.is_empty() {
            let directories: Vec<_> = self.data_dir.iter().map(|directory| directory.to_string_lossy()).collect();
            put("data.dir", directories.join(","));
        }
        if !self.listen.is_empty() {
            put("listeners", self.listen.join(","));
        }
        if let Some(address) = &self.http {
            put("http.listen", address.clone());
        }
        if let Some(node) = self.node_id {
            put("node.id", node.to_string());
        }
        values
    }
}

pub(crate) fn run(arguments: ServeArguments) -> Result<(), ServeError> {
    let config = layers::resolve(arguments.config.as_deref(), std::env::vars_os(), &arguments.values())?;
    let listeners = listen::resolve(&config.listeners, &config.advertised_listeners)?;
    let http = http_address(&config.http_listen)?;
    logging::start(arguments.log_format);
    files::raise_limit();
    let cores = std::thread::available_parallelism().map_or(MIN_WORKERS, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(MIN_WORKERS))
        .thread_name("duolog")
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    runtime.block_on(serve(config, listeners, http))
}

fn http_address(given: &str) -> Result<SocketAddr, ServeError> {
    use std::net::ToSocketAddrs;
    let error = || ServeError::HttpAddress { given: given.to_owned() };
    given.to_socket_addrs().map_err(|_| error())?.next().ok_or_else(error)
}

async fn serve(config: BrokerConfig, listeners: Vec<Spoken>, http: SocketAddr) -> Result<(), ServeError> {
    let mut signals = Signals::install().map_err(ServeError::Runtime)?;
    let health = Arc::new(Health::default());
    let http_error = |error| ServeError::Bind { address: format!("http://{http}"), error };
    // An address in use is told only after the data directory: if both are taken, it is the latter that explains it.
    let http_server = HttpServer::bind(http, health.clone()).await;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let broker = open_broker(&config, disk.clone()).await?;
    let http_server = http_server.map_err(http_error)?;
    let groups = GroupCoordinator::start(&broker);
    health.opened(Served { broker: broker.clone(), groups: groups.clone(), disk });
    let services = Arc::new(Services { broker: broker.clone(), groups: groups.clone() });
    let door = Door::new(ConnectionLimits::from_config(&config));
    let of = |scheme| listen::of(&listeners, scheme);
    let kafka = KafkaServer::bind(of(Scheme::Kafka), services, door.clone()).map_err(|error| in_use(&listeners, error))?;
    let node = Arc::new(Node::new(broker.clone(), groups.clone()));
    let rocketmq = RocketMqServer::bind(of(Scheme::RocketMq), of(Scheme::NameServer), node.clone(), door.clone())
        .map_err(|error| in_use(&listeners, error))?;
    let grpc = GrpcServer::bind(of(Scheme::Grpc), node, door).map_err(|error| match error {
        GrpcBindError::Bind(error) => in_use(&listeners, error),
        GrpcBindError::Tls(error) => ServeError::Tls(error),
    })?;
    let banner = Banner {
        listeners: shown(&listeners, &kafka, &rocketmq, &grpc),
        http: http_server.address().map_err(http_error)?,
        data_dirs: config.data_dirs.clone(),
        flush: config.topic.flush,
        program: std::env::args_os().next(),
    };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(http_server.serve(stopped.clone()));
    let kafka = tokio::spawn(kafka.serve(stopped.clone()));
    let rocketmq = tokio::spawn(rocketmq.serve(stopped.clone()));
    let grpc = tokio::spawn(grpc.serve(stopped));
    health.set_ready(true);
    announce(&banner);
    let outcome = until_stopped(&mut signals, &broker).await;
    health.set_ready(false);
    if let Err(error) = outcome {
        // What the clients wait for will not come; they learn it from their closed connections.
        tracing::error!(%error, "exiting");
        return Err(error);
    }
    tokio::spawn(signals.exit_at_next());
    stop.send_replace(true);
    broker.stop_waiting();
    // What RocketMQ's clients have said last goes to the groups before those close.
    let (ended, grpc) = (rocketmq.await, grpc.await);
    // Members that wait for a rebalance would hold up the listeners.
    groups.close().await;
    for ended in [ended, grpc, kafka.await] {
        if let Err(error) = ended {
            tracing::error!(%error, "the listeners ended badly");
        }
    }
    broker.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn open_broker(config: &BrokerConfig, disk: Arc<dyn Disk>) -> Result<Arc<Broker>, ServeError> {
    let options = BrokerOptions {
        data_dirs: config.data_dirs.clone(),
        config: config.clone(),
        disk,
        clock: Arc::new(SystemClock::default()),
        cluster: None,
    };
    Ok(Broker::open(options).await?)
}

/// Names the listener whose address is taken.
fn in_use(listeners: &[Spoken], BindError { address, error }: BindError) -> ServeError {
    let spoken = listeners.iter().find(|spoken| spoken.listener.address == address);
    let scheme = spoken.map_or("", |spoken| spoken.scheme.text());
    ServeError::Bind { address: format!("{scheme}://{address}"), error }
}

/// The listeners as the banner shows them, with the ports they really have.
fn shown(listeners: &[Spoken], kafka: &KafkaServer, rocketmq: &RocketMqServer, grpc: &GrpcServer) -> Vec<ShownListener> {
    let schemes = [
        (Scheme::Kafka, kafka.local_addresses()),
        (Scheme::NameServer, rocketmq.name_server_addresses()),
        (Scheme::RocketMq, rocketmq.broker_addresses()),
        (Scheme::Grpc, grpc.local_addresses()),
    ];
    let shown = schemes.into_iter().flat_map(|(scheme, bound)| {
        let named = listen::of(listeners, scheme).into_iter().zip(bound);
        named.map(move |(listener, address)| ShownListener {
            scheme,
            name: listener.name,
            address,
            advertised: listener.advertised,
        })
    });
    shown.collect()
}

/// Somebody may wait for the banner to begin, so it leaves at once; nobody reading it is no reason to stop.
fn announce(banner: &Banner) {
    let mut out = io::stdout().lock();
    if out.write_all(banner.text().as_bytes()).and_then(|()| out.flush()).is_err() {
        tracing::warn!("standard output is closed");
    }
    for listener in &banner.listeners {
        tracing::info!(name = listener.name, address = %listener.address, "listening");
    }
}

/// Waits for a signal (fine) or for the log to fail (not).
async fn until_stopped(signals: &mut Signals, broker: &Broker) -> Result<(), ServeError> {
    let mut failed = broker.failed();
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        Ok(failure) = failed.wait_for(Option::is_some) => match failure.as_ref() {
            Some(failure) => Err(ServeError::Log(failure.clone())),
            None => Ok(()),
        },
    }
}
