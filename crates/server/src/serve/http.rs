//! The HTTP side: metrics and health, for machines; nothing here changes anything.

use super::metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use duolog_base::Disk;
use duolog_core::broker::Broker;
use duolog_core::group::GroupCoordinator;
use duolog_core::share::ShareGroups;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use tokio::sync::watch;

const INDEX: &str = "Duolog\n\n/metrics  counters as Prometheus text\n/healthz  200 while the log works\n/readyz   200 while requests are served\n";

/// What can be measured once the node is up.
pub(super) struct Served {
    pub(super) broker: Arc<Broker>,
    pub(super) groups: Arc<GroupCoordinator>,
    pub(super) share: Arc<ShareGroups>,
    pub(super) disk: Arc<dyn Disk>,
}

/// What the health checks look at.
#[derive(Default)]
pub(super) struct Health {
    served: OnceLock<Arc<Served>>,
    /// Set while the Kafka listeners accept connections.
    ready: AtomicBool,
}

impl Health {
    pub(super) fn opened(&self, served: Served) {
        // Set once, by the one who opens the broker.
        let _ = self.served.set(Arc::new(served));
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    fn log_works(&self) -> bool {
        self.served.get().is_none_or(|served| served.broker.failed().borrow().is_none())
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && self.log_works()
    }
}

/// Serves until `stop` turns true, from before the broker opens. Open connections are not waited for: a scrape can be lost. Returns where
/// it listens.
pub(super) async fn start(address: SocketAddr, health: Arc<Health>, stop: watch::Receiver<bool>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(serve(listener, health, stop));
    Ok(bound)
}

async fn serve(listener: TcpListener, health: Arc<Health>, mut stop: watch::Receiver<bool>) {
    let routes = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health);
    tokio::select! {
        served = axum::serve(listener, routes).into_future() => {
            if let Err(error) = served {
                tracing::error!(%error, "the HTTP server ended");
            }
        }
        // Also ends the wait: the sender is gone with the server.
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let Some(served) = health.served.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    };
    match metrics::exposition(served).await {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn healthz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.log_works() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "the log has stopped\n") }
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}
