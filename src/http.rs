//! The HTTP API and the webhooks' way in. The only room that knows axum.
//!
//! Handlers read and answer; whatever writes runs in a task of its own, since a handler is dropped when its
//! client goes away.

use crate::{
    clock::Clock,
    health::Health,
    intake::Ingress,
    pipeline::Pipeline,
    shutdown::Shutdown,
    store::{self, Db, Tx},
};
use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use error::ApiError;
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::oneshot};

mod auth;
mod customers;
mod error;
mod health;
mod inbound;
mod ingest;
mod list;
mod metrics;
mod payments;
mod query;
pub mod receiver;
mod refusals;
mod request_id;
mod server;

pub use server::Error;

/// Writes out this process's metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What can be set about the servers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether `/metrics` is open to everybody.
    pub metrics_public: bool,
    /// How long a client may take to send a request's head; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may take to send a request's body.
    pub body_timeout: Duration,
    /// How many connections a server has at most; further ones wait to be accepted.
    pub connections: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            metrics_public: false,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            connections: 4_096,
        }
    }
}

/// What the handlers work with.
pub struct State {
    pipeline: Pipeline,
    ingress: Ingress,
    health: Health,
    settings: Settings,
    render_metrics: Option<RenderMetrics>,
    shutdown: Shutdown,
    uses: auth::Uses,
    refusals: refusals::Refusals,
    probe: health::Probe,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl State {
    /// Everything that is shared by both servers.
    pub fn new(
        pipeline: Pipeline,
        ingress: Ingress,
        health: Health,
        settings: Settings,
        render_metrics: Option<RenderMetrics>,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        let refusals =
            refusals::Refusals::new(pipeline.db.clone(), pipeline.clock.clone(), shutdown.clone());
        Arc::new(Self {
            pipeline,
            ingress,
            health,
            settings,
            render_metrics,
            shutdown,
            uses: auth::Uses::default(),
            refusals,
            probe: health::Probe::default(),
        })
    }

    fn clock(&self) -> &Clock {
        &self.pipeline.clock
    }

    fn db(&self) -> &Db {
        &self.pipeline.db
    }

    async fn snapshot(&self) -> Result<Tx, ApiError> {
        Ok(self.db().snapshot().await.map_err(store::Error::from)?)
    }

    /// Runs work that must not be cut short when the client goes away.
    async fn uncut<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (done, result) = oneshot::channel();
        self.shutdown.spawn(async move {
            // The client may be gone; the work is done all the same.
            let _ = done.send(work.await);
        });
        result.await.map_err(|_| ApiError::unavailable("the process is stopping"))
    }
}

/// Serves the whole API until stopping is asked for and the requests in hand are answered.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let settings = state.settings.clone();
    server::run(listener, routes(state), settings, shutdown).await
}

/// Serves `/ingest` and `/healthz` alone: what may face the internet (`ingest.listen`).
///
/// # Errors
/// When the listener breaks.
pub async fn serve_ingest(
    listener: TcpListener,
    state: Arc<State>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let settings = state.settings.clone();
    server::run(listener, dress(ingest_routes(), state), settings, shutdown).await
}

fn ingest_routes() -> Router<Arc<State>> {
    Router::new()
        .route("/ingest/{source}", post(ingest::receive))
        .route("/healthz", get(health::live))
}

fn routes(state: Arc<State>) -> Router {
    let routes = ingest_routes()
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::render))
        .route("/v1/customers", get(customers::list))
        .route("/v1/customers/lookup", get(customers::lookup))
        .route("/v1/customers/{id}", get(customers::one))
        .route("/v1/customers/{id}/payments", get(customers::payments))
        .route("/v1/customers/{id}/subscriptions", get(customers::subscriptions))
        .route("/v1/payments", get(payments::list))
        .route("/v1/payments/{id}", get(payments::one))
        .route("/v1/inbound-events", get(inbound::list))
        .route("/v1/inbound-events/{id}", get(inbound::one))
        .route("/v1/inbound-events/{id}/replay", post(inbound::replay));
    dress(routes, state)
}

/// What every path has in common, unknown ones too: a request id, and errors of one shape.
fn dress(routes: Router<Arc<State>>, state: Arc<State>) -> Router {
    routes
        .fallback(async || ApiError::not_found("route_not_found", "there is nothing at this path"))
        .layer(from_fn_with_state(state.clone(), request_id::envelope))
        .with_state(state)
}
