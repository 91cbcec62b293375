//! The HTTP API and the webhooks' way in. The only room that knows axum.
//!
//! Handlers read and answer; whatever writes runs in a task of its own, since a handler is dropped when its
//! client goes away.

use crate::{
    clock::Clock,
    deliver::{self, trial::Tester},
    health::Health,
    intake::Ingress,
    model::money::Currency,
    pipeline::Pipeline,
    shutdown::Shutdown,
    store::{self, Db, Tx},
};
use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{delete, get, post},
};
use error::ApiError;
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
};
use tower_http::cors::CorsLayer;

mod auth;
mod body;
mod command;
mod compat;
mod conflicts;
mod cors;
mod customer_list;
mod customers;
mod endpoints;
mod error;
mod health;
mod idempotency;
mod inbound;
mod ingest;
mod list;
mod messages;
mod metrics;
pub mod openapi;
mod payments;
mod provenance;
mod query;
mod rate;
pub mod receiver;
mod recoveries;
mod refusals;
mod request_id;
mod server;
mod timeline;
mod top;

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
    /// How long a client may take to read anything of an answer.
    pub answer_timeout: Duration,
    /// How many connections a server has at most; further ones wait to be accepted.
    pub connections: u32,
    /// How many requests a second a key may make of this process; none: any number.
    pub rate_limit: Option<NonZeroU32>,
    /// The origins whose pages may use the API from a browser.
    pub cors_origins: Vec<String>,
    /// Of each environment, the currency of money filters, sorts and rankings that name none.
    pub reporting_currencies: BTreeMap<String, Currency>,
    /// How webhooks go out: which endpoints can be made, and how they are tested.
    pub webhooks: deliver::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            metrics_public: false,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(30),
            connections: 4_096,
            rate_limit: None,
            cors_origins: Vec::new(),
            reporting_currencies: BTreeMap::new(),
            webhooks: deliver::Settings::default(),
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
    rates: rate::Rates,
    running: idempotency::Running,
    refusals: refusals::Refusals,
    probe: health::Probe,
    tester: OnceLock<Tester>,
    /// One permit a byte of a body that is being received.
    bodies: Arc<Semaphore>,
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
            rates: rate::Rates::default(),
            running: idempotency::Running::default(),
            refusals,
            probe: health::Probe::default(),
            tester: OnceLock::new(),
            bodies: Arc::new(Semaphore::new(body::IN_HAND)),
        })
    }

    /// What sends tests to endpoints; made when first asked for.
    fn tester(&self) -> Result<Tester, ApiError> {
        if let Some(tester) = self.tester.get() {
            return Ok(tester.clone());
        }
        let (db, keyring) = (self.db().clone(), self.pipeline.keyring.clone());
        let (clock, settings) = (self.clock().clone(), self.settings.webhooks.clone());
        let made = Tester::new(db, keyring, clock, settings)
            .map_err(|error| ApiError::internal().because(error))?;
        Ok(self.tester.get_or_init(|| made).clone())
    }

    fn clock(&self) -> &Clock {
        &self.pipeline.clock
    }

    fn db(&self) -> &Db {
        &self.pipeline.db
    }

    /// Of money filters, sorts and rankings that name none.
    fn reporting_currency(&self, environment: &str) -> Currency {
        let set = self.settings.reporting_currencies.get(environment);
        set.copied().unwrap_or_else(Currency::usd)
    }

    async fn snapshot(&self) -> Result<Tx, ApiError> {
        Ok(self.db().snapshot().await.map_err(store::Error::from)?)
    }

    /// For a single statement.
    async fn single(&self) -> Result<Tx, ApiError> {
        Ok(self.db().single().await.map_err(store::Error::from)?)
    }

    /// Runs work that must not be cut short when the client goes away.
    async fn uncut<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (done, result) = oneshot::channel();
        self.shutdown.spawn(async move {
            // What the work holds is given back before anybody hears of its end.
            let answer = work.await;
            // The client may be gone; the work is done all the same.
            let _ = done.send(answer);
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
    server::run(listener, dress(ingest_routes(), None, state), settings, shutdown).await
}

/// Shows what is measured of the ingress from the start, before there are any requests.
pub fn begin_measuring(state: &State) {
    ingest::begin(state.pipeline.sources.keys().map(AsRef::as_ref));
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
        .route("/openapi.json", get(openapi::serve))
        .route("/docs", get(openapi::page::show))
        .route("/v1/customers", get(customer_list::list).post(customers::write::create))
        .route("/v1/customers/identify", post(customers::write::identify))
        .route("/v1/customers/lookup", get(customers::lookup))
        .route("/v1/customers/top", get(top::top))
        .route(
            "/v1/customers/{id}",
            get(customers::one).patch(customers::write::update).delete(customers::write::delete),
        )
        .route("/v1/customers/{id}/merge", post(customers::write::merge))
        .route("/v1/customers/{id}/identities/{provider}/{uid}", delete(customers::write::detach))
        .route("/v1/customers/{id}/payments", get(customers::payments))
        .route("/v1/customers/{id}/subscriptions", get(customers::subscriptions))
        .route("/v1/conflicts", get(conflicts::list))
        .route("/v1/conflicts/{id}/resolve", post(conflicts::resolve))
        .route("/v1/customers/{id}/provenance", get(provenance::of_customer))
        .route("/v1/customers/{id}/timeline", get(timeline::of_customer))
        .route("/v1/payments", get(payments::list))
        .route("/v1/payments/{id}", get(payments::one))
        .route("/v1/payments/{id}/link", post(payments::link::link))
        .route("/v1/webhook-endpoints", get(endpoints::list).post(endpoints::create))
        .route(
            "/v1/webhook-endpoints/{id}",
            get(endpoints::one).patch(endpoints::change).delete(endpoints::delete),
        )
        .route("/v1/webhook-endpoints/{id}/rotate-secret", post(endpoints::rotate))
        .route("/v1/webhook-endpoints/{id}/test", post(endpoints::test))
        .route("/v1/webhook-endpoints/{id}/recover", post(recoveries::of_endpoint))
        .route("/v1/webhook-endpoints/{id}/recoveries", get(recoveries::list_of_endpoint))
        .route("/v1/webhook-recoveries", get(recoveries::list))
        .route("/v1/webhook-recoveries/{id}", get(recoveries::one))
        .route("/v1/webhook-recoveries/{id}/cancel", post(recoveries::cancel))
        .route("/v1/webhook-messages", get(messages::list))
        .route("/v1/webhook-messages/resend", post(recoveries::of_filter))
        .route("/v1/webhook-messages/{id}", get(messages::one))
        .route("/v1/webhook-messages/{id}/attempts", get(messages::attempts))
        .route("/v1/webhook-messages/{id}/resend", post(messages::resend))
        .route("/v1/webhook-messages/{id}/cancel", post(messages::cancel))
        .route("/v1/inbound-events", get(inbound::list))
        .route("/v1/inbound-events/replay", post(inbound::replay_all))
        .route("/v1/inbound-events/{id}", get(inbound::one))
        .route("/v1/inbound-events/{id}/replay", post(inbound::replay))
        .merge(compat::routes());
    let cors = cors::layer(&state.settings.cors_origins);
    dress(routes, cors, state)
}

/// What every path has in common, unknown ones too: a request id, errors of one shape, and which pages may read them.
fn dress(routes: Router<Arc<State>>, cors: Option<CorsLayer>, state: Arc<State>) -> Router {
    let routes = routes
        .fallback(async || ApiError::not_found("route_not_found", "there is nothing at this path"))
        .layer(from_fn_with_state(state.clone(), health::prepared))
        .layer(from_fn(request_id::unbroken));
    let routes = match cors {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(from_fn_with_state(state.clone(), request_id::envelope)).with_state(state)
}
