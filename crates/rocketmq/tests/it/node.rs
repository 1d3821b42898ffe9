//! A node in this process on files of its own, opened and closed for whichever server is under test.

use duolog_base::{Clock, RealDisk, SystemClock};
use duolog_core::broker::{Broker, BrokerOptions};
use duolog_core::config::{BrokerConfig, Source};
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::share::ShareGroups;
use duolog_net::{Bound, ConnectionLimits, Door, Listener};
use duolog_rocketmq::Node;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longer than anything here takes; what takes longer waits for ever.
pub const FOR_EVER: Duration = Duration::from_secs(60);

pub async fn open(dir: &TempDir, values: &[(&str, &str)]) -> Arc<Node> {
    open_at(dir, values, Arc::new(SystemClock::default())).await
}

/// A node that goes by this clock. Retries come at once unless `values` says otherwise.
pub async fn open_at(dir: &TempDir, values: &[(&str, &str)], clock: Arc<dyn Clock>) -> Arc<Node> {
    let own = [("log.file.bytes", "8388608"), ("log.disk.reserve.bytes", "0"), ("rocketmq.delay.levels", "0s")];
    let own = own.iter().filter(|(key, _)| values.iter().all(|(given, _)| given != key));
    let values = own.chain(values).map(|(key, value)| (key.to_string(), value.to_string(), Source::Flag));
    let options = BrokerOptions {
        data_dirs: vec![dir.path().to_owned()],
        config: BrokerConfig::from_values(values.collect()).unwrap(),
        disk: Arc::new(RealDisk),
        clock,
        cluster: None,
    };
    let broker = Broker::open(options).await.unwrap();
    let groups = GroupCoordinator::start(&broker);
    let delays = Delays::start(&broker);
    let share = ShareGroups::start(&broker);
    Arc::new(Node::new(broker, groups, delays, &share))
}

/// A free port.
pub fn listener(name: &str) -> Vec<Bound> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Bound::all(vec![Listener { name: name.to_owned(), address, advertised: None }]).unwrap()
}

pub fn door() -> Arc<Door> {
    Door::new(ConnectionLimits { stop_grace: FOR_EVER, ..ConnectionLimits::default() })
}

/// A node that a server serves.
pub struct Served {
    node: Arc<Node>,
    dir: TempDir,
    stop: watch::Sender<bool>,
    serving: JoinHandle<io::Result<()>>,
}

impl Served {
    pub fn start<F>(node: Arc<Node>, dir: TempDir, serve: impl FnOnce(watch::Receiver<bool>) -> F) -> Served
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Served { node, dir, stop, serving: tokio::spawn(serve(stopped)) }
    }

    /// Stops gracefully and gives back the directory.
    pub async fn stop(self) -> TempDir {
        self.stop.send_replace(true);
        self.node.broker.stop_waiting();
        tokio::time::timeout(FOR_EVER, self.serving).await.unwrap().unwrap().unwrap();
        self.node.delays.close();
        self.node.groups.close().await;
        self.node.share.close().await;
        self.node.broker.close().await;
        self.dir
    }
}
