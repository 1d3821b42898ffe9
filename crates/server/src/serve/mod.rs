//! `duolog serve`: from flags to a running server, and back down in order.
//!
//! Up: configuration, addresses, log, metadata, groups, listeners, then the banner. A member of a cluster may wait for other nodes on the
//! way, and can be told to stop meanwhile. Down: no new requests, pending acknowledgements answered, log flushed and checkpointed,
//! exit 0; a member lets others take over first. If the log fails the process ends with code 1 instead, since nothing it could still say
//! would be true, and with code 3 if another process has taken its place in the cluster.

mod banner;
mod files;
mod http;
pub(crate) mod layers;
mod listen;
mod logging;
mod member;
mod metrics;
mod ports;
mod servers;
mod signals;

use banner::{Banner, ShownMember};
use clap::Args;
use duolog_base::{Disk, NodeId, RealDisk, SystemClock};
use duolog_core::broker::{Broker, BrokerOpenError, BrokerOptions};
use duolog_core::config::BrokerConfig;
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::metadata::{ClusterOptions, MembershipError, MetadataOpenError};
use duolog_core::share::ShareGroups;
use duolog_log::LogFailure;
use duolog_net::{ConnectionLimits, Door};
use duolog_rocketmq::TlsError;
use http::{Health, Served};
use listen::Spoken;
use logging::LogFormat;
use member::{Member, MemberSettings};
use ports::Ports;
use servers::Servers;
pub(crate) use signals::Signals;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Even on one core a slow request must not hold up all others.
const MIN_WORKERS: usize = 2;

#[derive(Args)]
pub(crate) struct ServeArguments {
    /// Where everything is stored; repeatable, one a disk: partitions are spread over them [default: ./duolog-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Vec<PathBuf>,
    /// Address to listen on, as [NAME=]SCHEME://HOST:PORT[?advertised=HOST:PORT] where SCHEME is kafka, namesrv, rocketmq,
    /// grpc, or peer for the other nodes of a cluster; repeatable; port 0 takes a free one [default: all but peer on 127.0.0.1,
    /// at 9092, 9876, 10911 and 10909, and 8081]
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,
    /// Address of metrics and health checks; port 0 takes a free one [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Number of this node in the cluster [default: 1]
    #[arg(long, value_name = "N")]
    node_id: Option<i32>,
    /// Peer listener of a node whose cluster this one joins if it is new; repeatable, any that is there will do
    #[arg(long, value_name = "HOST:PORT")]
    join: Vec<String>,
    /// File with the secret that all nodes of the cluster share
    #[arg(long, value_name = "FILE")]
    cluster_secret_file: Option<PathBuf>,
    /// TOML file with configuration keys
    #[arg(long, value_name = "FILE", env = "DUOLOG_CONFIG")]
    config: Option<PathBuf>,
    /// A configuration key; repeatable. `duolog config list` names them all
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::cli::arguments::pair)]
    set: Vec<(String, String)>,
    /// Process without which this one is to end
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
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
    Member(#[from] member::MemberError),
    #[error(transparent)]
    Open(#[from] BrokerOpenError),
    #[error("listening on {address}: {error}")]
    Bind { address: String, error: io::Error },
    #[error(transparent)]
    Tls(TlsError),
    #[error("the log has stopped: {0}")]
    Log(LogFailure),
    #[error("another process has registered as node {node}, with its data or in its place; this one must not go on")]
    Superseded { node: NodeId },
}

impl ServeError {
    /// Whether what the user wrote is at fault, and not the machine.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            ServeError::Configuration(_) | ServeError::Listen(_) | ServeError::HttpAddress { .. } | ServeError::Member(_) => true,
            ServeError::Open(BrokerOpenError::Metadata(error)) => matches!(
                error,
                MetadataOpenError::NotAlone { .. }
                    | MetadataOpenError::OtherNode { .. }
                    | MetadataOpenError::Membership(MembershipError::Duplicate { .. })
            ),
            _ => false,
        }
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
        if !self.join.is_empty() {
            put("cluster.join", self.join.join(","));
        }
        if let Some(file) = &self.cluster_secret_file {
            put("cluster.secret.file", file.to_string_lossy().into_owned());
        }
        values
    }
}

pub(crate) fn run(arguments: ServeArguments) -> Result<(), ServeError> {
    let config = layers::resolve(arguments.config.as_deref(), std::env::vars_os(), &arguments.values())?;
    let listeners = listen::resolve(&config.listeners, &config.advertised_listeners)?;
    let member = MemberSettings::of(&config, &listeners)?;
    let http = http_address(&config.http_listen)?;
    logging::start(arguments.log_format);
    if let Some(parent) = arguments.parent {
        signals::end_with(parent);
    }
    files::raise_limit();
    let cores = std::thread::available_parallelism().map_or(MIN_WORKERS, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(MIN_WORKERS))
        .thread_name("duolog")
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    runtime.block_on(serve(config, listeners, http, member))
}

fn http_address(given: &str) -> Result<SocketAddr, ServeError> {
    use std::net::ToSocketAddrs;
    let error = || ServeError::HttpAddress { given: given.to_owned() };
    given.to_socket_addrs().map_err(|_| error())?.next().ok_or_else(error)
}

async fn serve(
    config: BrokerConfig,
    listeners: Vec<Spoken>,
    http: SocketAddr,
    member: Option<MemberSettings>,
) -> Result<(), ServeError> {
    let mut signals = Signals::install().map_err(ServeError::Runtime)?;
    let health = Arc::new(Health::default());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (stop, stopped) = watch::channel(false);
    let started = http::start(http, health.clone(), stopped.clone()).await;
    let http = started.map_err(|error| ServeError::Bind { address: format!("http://{http}"), error });
    let ports = Ports::take(&listeners);
    let (http, mut ports, broker, member) = match member {
        None => {
            // An address in use is told only after the data directory: if both are taken, it is the latter that explains it.
            let broker = Broker::open(options(&config, disk.clone(), None)).await?;
            (http?, ports?, broker, None)
        }
        Some(settings) => {
            let (http, ports, member) = (http?, ports?, Member::begin(settings).await?);
            let cluster = member.options(&config, &ports);
            let entering = enter(&member, options(&config, disk.clone(), Some(cluster)));
            let Some(broker) = unless_stopped(&mut signals, entering).await? else { return Ok(()) };
            (http, ports, broker, Some(member))
        }
    };
    let groups = GroupCoordinator::start(&broker);
    let delays = Delays::start(&broker);
    let share = ShareGroups::start(&broker);
    share.bury_by(&delays);
    health.opened(Served { broker: broker.clone(), groups: groups.clone(), share: share.clone(), disk });
    let banner = Banner {
        listeners: ports.shown(),
        member: member.as_ref().map(|member| shown(member, &broker)),
        http,
        data_dirs: config.data_dirs.clone(),
        flush: config.topic.flush,
        program: std::env::args_os().next(),
    };
    let servers =
        Servers::listen(&mut ports, &broker, &groups, &share, &delays, Door::new(ConnectionLimits::from_config(&config)))?;
    let served = servers.serve(&stopped);
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
    if member.is_some() {
        // What members have said in the last moment is stored while this node still is the one for it.
        groups.store_noted(&broker.image()).await;
        hand_over(&broker).await;
    }
    stop.send_replace(true);
    broker.stop_waiting();
    served.end(&groups, &share, &delays).await;
    broker.close().await;
    if let Some(member) = member {
        member.end().await;
    }
    tracing::info!("stopped");
    Ok(())
}

fn options(config: &BrokerConfig, disk: Arc<dyn Disk>, cluster: Option<ClusterOptions>) -> BrokerOptions {
    let clock = Arc::new(SystemClock::default());
    BrokerOptions { data_dirs: config.data_dirs.clone(), config: config.clone(), disk, clock, cluster }
}

/// Opens the broker as a member of its cluster. Waits for the others as long as it takes, except for one that will never be joined.
async fn enter(member: &Member, options: BrokerOptions) -> Result<Arc<Broker>, ServeError> {
    member.check_join().await?;
    tracing::info!(address = member.address(), joins = member.joins(), "entering the cluster");
    let broker = Broker::open(options).await?;
    member.belongs_to(&broker.image().cluster_id);
    // A node with data of its own did not need those it was told to join.
    member.check_join().await?;
    Ok(broker)
}

/// `None` if a signal came first.
async fn unless_stopped<T>(
    signals: &mut Signals,
    start: impl Future<Output = Result<T, ServeError>>,
) -> Result<Option<T>, ServeError> {
    tokio::select! {
        started = start => Ok(Some(started?)),
        signal = signals.next() => {
            tracing::info!(signal, "stopped before the start was complete");
            Ok(None)
        }
    }
}

fn shown(member: &Member, broker: &Broker) -> ShownMember {
    ShownMember { node: broker.node().0, cluster: broker.image().cluster_id.clone(), address: member.address() }
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

/// Lets other nodes lead what this one leads, so that its clients find them before it is gone.
async fn hand_over(broker: &Broker) {
    let limit_ms = broker.config().controlled_shutdown_timeout_ms;
    match broker.hand_over(Duration::from_millis(limit_ms)).await {
        true => tracing::info!("other nodes lead what this one has led"),
        false => tracing::warn!(limit_ms, "not everything could be handed over to other nodes"),
    }
}

/// Waits for a signal (fine), for the log to fail, or for another process to take this one's place (not).
async fn until_stopped(signals: &mut Signals, broker: &Broker) -> Result<(), ServeError> {
    let mut failed = broker.failed();
    let mut superseded = broker.superseded();
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        Ok(failure) = failed.wait_for(Option::is_some) => match failure.as_ref() {
            Some(failure) => Err(ServeError::Log(failure.clone())),
            None => Ok(()),
        },
        Ok(_) = superseded.wait_for(|superseded| *superseded) => Err(ServeError::Superseded { node: broker.node() }),
    }
}
