//! The servers of both protocols: they listen together, serve together, and end in the order in which one needs the other.

use super::ServeError;
use super::listen::Scheme;
use super::ports::{Ports, in_use};
use duolog_core::broker::Broker;
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::share::ShareGroups;
use duolog_kafka::{KafkaServer, Services};
use duolog_net::{BindError, Door};
use duolog_rocketmq::{GrpcBindError, GrpcServer, Node, RocketMqServer};
use std::io;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Servers that clients can connect to.
pub(super) struct Servers {
    kafka: KafkaServer,
    rocketmq: RocketMqServer,
    grpc: GrpcServer,
}

/// Servers at work.
pub(super) struct Serving {
    kafka: JoinHandle<io::Result<()>>,
    rocketmq: JoinHandle<io::Result<()>>,
    grpc: JoinHandle<io::Result<()>>,
}

impl Servers {
    /// Clients may connect from now on.
    pub(super) fn listen(
        ports: &mut Ports,
        broker: &Arc<Broker>,
        groups: &Arc<GroupCoordinator>,
        share: &Arc<ShareGroups>,
        delays: &Arc<Delays>,
        door: Arc<Door>,
    ) -> Result<Servers, ServeError> {
        let taken = |scheme| move |BindError { address, error }: BindError| in_use(scheme, address, error);
        let services =
            Arc::new(Services { broker: broker.clone(), groups: groups.clone(), share: share.clone(), delays: delays.clone() });
        let kafka = KafkaServer::listen(ports.give(Scheme::Kafka), services, door.clone()).map_err(taken(Scheme::Kafka))?;
        let node = Arc::new(Node::new(broker.clone(), groups.clone(), delays.clone(), share));
        let (brokers, name_servers) = (ports.give(Scheme::RocketMq), ports.give(Scheme::NameServer));
        let rocketmq =
            RocketMqServer::listen(brokers, name_servers, node.clone(), door.clone()).map_err(taken(Scheme::RocketMq))?;
        let grpc = GrpcServer::listen(ports.give(Scheme::Grpc), node, door).map_err(|error| match error {
            GrpcBindError::Bind(error) => taken(Scheme::Grpc)(error),
            GrpcBindError::Tls(error) => ServeError::Tls(error),
        })?;
        Ok(Servers { kafka, rocketmq, grpc })
    }

    /// Serves until `stopped` turns true.
    pub(super) fn serve(self, stopped: &watch::Receiver<bool>) -> Serving {
        let Servers { kafka, rocketmq, grpc } = self;
        Serving {
            kafka: tokio::spawn(kafka.serve(stopped.clone())),
            rocketmq: tokio::spawn(rocketmq.serve(stopped.clone())),
            grpc: tokio::spawn(grpc.serve(stopped.clone())),
        }
    }
}

impl Serving {
    /// Waits until all have ended, having been told to stop, and closes the groups and timers.
    pub(super) async fn end(self, groups: &GroupCoordinator, share: &ShareGroups, delays: &Delays) {
        // What RocketMQ's clients have said last goes to the groups before those close.
        let (rocketmq, grpc) = (self.rocketmq.await, self.grpc.await);
        // Members that wait for a rebalance would hold up the listeners.
        groups.close().await;
        delays.close();
        for ended in [rocketmq, grpc, self.kafka.await] {
            if let Err(error) = ended {
                tracing::error!(%error, "the listeners ended badly");
            }
        }
        // Connections give back what their members have.
        share.close().await;
    }
}
