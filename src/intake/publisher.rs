//! Publishes events with confirms: done means that a queue has it on disk.
//!
//! On a connection of its own: the broker stops reading from a connection that publishes while memory or disk
//! runs short, and on a shared one the consumer's acknowledgements would wait too.

use super::{
    chain,
    envelope::{self, Label, Unfit},
    rabbitmq::{self, Link, short},
    topology,
    wire::Seen,
};
use crate::{
    clock::Clock,
    health::{self, Health},
    model::{inbound::Raw, secret::Secret},
    retry::Backoff,
    shutdown::Shutdown,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use lapin::{
    BasicProperties, Channel, Confirmation, ConnectionStatus, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, timeout, timeout_at},
};

/// How events are published.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `amqp://…` or `amqps://…`.
    pub url: Secret,
    /// Where to.
    pub topology: topology::Settings,
    /// How many may be unconfirmed at a time.
    pub window: usize,
    /// How long a confirm may take, the wait for a place in the window included.
    pub patience: Duration,
}

impl Settings {
    /// The defaults for a broker.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            topology: topology::Settings::default(),
            window: 1_000,
            patience: Duration::from_secs(15),
        }
    }
}

/// An event was not confirmed. It may have been kept all the same, and then the inbox knows the second copy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It can never be published.
    #[error("the event fits into no message")]
    Unfit(#[source] Unfit),
    /// The broker cannot be reached.
    #[error("no connection to the broker")]
    Away(#[source] rabbitmq::Error),
    /// A try to connect failed a moment ago; the next one is not due yet.
    #[error("no connection to the broker, which was tried a moment ago")]
    Waiting,
    /// The broker's memory or disk runs short.
    #[error("the broker takes no messages at present: its memory or disk runs short")]
    Blocked,
    /// No queue is bound.
    #[error("no queue takes the events of exchange {0}: bind one with the key `#`")]
    Unroutable(String),
    /// The queue is full or could not write it.
    #[error("the broker did not keep the event")]
    Refused,
    /// No confirm came in time.
    #[error("the broker did not confirm in time")]
    Timeout,
    /// The connection or channel broke before the confirm.
    #[error("the connection broke before the event was confirmed")]
    Broken(#[source] rabbitmq::Error),
    /// The process was stopped hard.
    #[error("the process is stopping")]
    Stopping,
}

/// The way to the broker. Cheap to clone; for any number of callers at once.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    settings: Settings,
    clock: Clock,
    health: Health,
    shutdown: Shutdown,
    window: Arc<Semaphore>,
    line: Mutex<Line>,
    /// Whether an event found no queue.
    is_unroutable: AtomicBool,
}

const CONFIRMED: &str = "confirmed";
const FAILED: &str = "failed";

fn published(outcome: &'static str) -> metrics::Counter {
    metrics::counter!("customer_sync_broker_published_total", "outcome" => outcome)
}

/// The connection, made when it is first needed. Held while a message is written: two written at once could be
/// confirmed in each other's name, because lapin numbers them before it writes them.
struct Line {
    open: Option<Open>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

struct Open {
    link: Link,
    channel: Channel,
    /// Whether a confirm did not come by it.
    is_silent: Arc<AtomicBool>,
}

/// The connection that a message was written to, for who waits for its confirm: whoever has waited to the end can see
/// and say how that connection is without waiting for its turn at the line, which may be long.
struct Used {
    seen: Arc<Seen>,
    status: ConnectionStatus,
    is_silent: Arc<AtomicBool>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Connects when it is first used.
    pub fn new(settings: Settings, clock: Clock, health: Health, shutdown: Shutdown) -> Self {
        let window = Arc::new(Semaphore::new(settings.window));
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let line = Mutex::new(Line { open: None, backoff, not_before: None });
        // A counter that appears with its first failure has not risen, as Prometheus sees it.
        for outcome in [CONFIRMED, FAILED] {
            published(outcome).increment(0);
        }
        let is_unroutable = AtomicBool::new(false);
        Self(Arc::new(Inner { settings, clock, health, shutdown, window, line, is_unroutable }))
    }

    /// Publishes an event; it is kept when this returns. It goes on when the caller goes away.
    ///
    /// # Errors
    /// When it was not confirmed.
    pub async fn publish(&self, raw: Raw) -> Result<(), Error> {
        let label = envelope::label(&raw).map_err(Error::Unfit)?;
        let deadline = Instant::now() + self.0.settings.patience;
        let place = timeout_at(deadline, self.0.window.clone().acquire_owned())
            .await
            .map_err(|_| Error::Timeout)?
            .map_err(|_| Error::Stopping)?;
        let (answer, answered) = oneshot::channel();
        let inner = self.0.clone();
        // A confirm that is dropped unseen stays in lapin's books for the life of the channel.
        self.0.shutdown.spawn(async move {
            let result = inner.publish(label, raw.body, place, deadline).await;
            let _ = answer.send(result);
        });
        answered.await.map_err(|_| Error::Stopping)?
    }

    /// Publishes many, as many at a time as the window holds; what became of each, in order.
    pub async fn publish_all(&self, raws: impl IntoIterator<Item = Raw>) -> Vec<Result<(), Error>> {
        stream::iter(raws)
            .map(|raw| self.publish(raw))
            .buffered(self.0.settings.window)
            .collect()
            .await
    }

    /// Keeps the connection open, so that readiness tells the truth before anybody publishes.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub async fn keep(&self) -> Result<(), rabbitmq::Error> {
        let shutdown = &self.0.shutdown;
        while !shutdown.is_requested() {
            self.0.look().await?;
            shutdown.sleep(Duration::from_secs(5)).await;
        }
        Ok(())
    }

    /// Closes the connection; it is opened again by the next event.
    pub async fn close(&self) {
        if let Some(open) = self.0.line.lock().await.open.take() {
            open.link.close().await;
        }
    }
}

impl Inner {
    /// Says how the broker is although nobody publishes: whoever sends only to those that are ready would never
    /// learn that it answers again.
    async fn look(&self) -> Result<(), rabbitmq::Error> {
        let mut line = self.line.lock().await;
        match line.channel(self).await {
            Err(Error::Away(error @ (rabbitmq::Error::Url | rabbitmq::Error::Name(_)))) => {
                return Err(error);
            }
            Err(_) => return Ok(()),
            Ok(open) if open.link.connection.status().blocked() => {
                self.health.down(health::PUBLISHER, chain(&Error::Blocked));
                return Ok(());
            }
            Ok(open) if self.is_unroutable.swap(false, Ordering::SeqCst) => {
                // Somebody took the queue or its binding away, and maybe no consumer runs that would make it again.
                let declaring = topology::declare(&open.link, &self.settings.topology);
                if !matches!(timeout(self.settings.patience, declaring).await, Ok(Ok(_))) {
                    self.is_unroutable.store(true, Ordering::SeqCst);
                    line.open = None;
                    return Ok(());
                }
            }
            Ok(_) => {}
        }
        self.health.up(health::PUBLISHER);
        Ok(())
    }

    async fn publish(
        &self,
        label: Label,
        body: Bytes,
        _place: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<(), Error> {
        let id = self.clock.new_id().to_string();
        let used = OnceLock::new();
        let attempt = async {
            let confirm = self.write(&id, label, &body, &used).await?;
            let confirmation = confirm.await.map_err(|error| Error::Broken(error.into()))?;
            // lapin gives a returned message to any of the confirms in flight: the id decides, not its word.
            if used.get().is_some_and(|used: &Used| used.seen.was_returned(&id)) {
                return Err(Error::Unroutable(self.settings.topology.exchange.clone()));
            }
            match confirmation {
                Confirmation::Ack(_) => Ok(()),
                Confirmation::Nack(_) | Confirmation::NotRequested => Err(Error::Refused),
            }
        };
        let result = match timeout_at(deadline, attempt).await {
            Ok(result) => result,
            Err(_) => Err(give_up(used.get())),
        };
        if matches!(result, Err(Error::Unroutable(_))) {
            self.is_unroutable.store(true, Ordering::SeqCst);
        }
        let outcome = match &result {
            Ok(()) => {
                self.health.up(health::PUBLISHER);
                CONFIRMED
            }
            Err(error) => {
                self.health.down(health::PUBLISHER, chain(error));
                FAILED
            }
        };
        published(outcome).increment(1);
        result
    }

    /// Writes a message, and notes by which connection.
    async fn write(
        &self,
        id: &str,
        label: Label,
        body: &[u8],
        used: &OnceLock<Used>,
    ) -> Result<PublisherConfirm, Error> {
        let unusable = |error| Error::Away(error);
        let mut line = self.line.lock().await;
        let open = line.channel(self).await?;
        if open.link.connection.status().blocked() {
            return Err(Error::Blocked);
        }
        let exchange = short(&self.settings.topology.exchange).map_err(unusable)?;
        let key = short(&label.routing_key).map_err(unusable)?;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        used.get_or_init(|| Used {
            seen: open.link.seen.clone(),
            status: open.link.connection.status().clone(),
            is_silent: open.is_silent.clone(),
        });
        open.channel
            .basic_publish(exchange, key, options, body, properties(id, label))
            .await
            .map_err(|error| Error::Broken(error.into()))
    }
}

/// After a confirm that did not come: a broker that says why keeps its connection, a silent one loses the one
/// that was used. A newer one is no worse for it, nor is any for a message that was never written.
fn give_up(used: Option<&Used>) -> Error {
    match used {
        Some(used) if used.status.blocked() => return Error::Blocked,
        Some(used) => used.is_silent.store(true, Ordering::SeqCst),
        None => {}
    }
    Error::Timeout
}

impl Line {
    /// The open channel; a new one when it broke, but not again at once after a failure.
    async fn channel(&mut self, inner: &Inner) -> Result<&Open, Error> {
        if self.open.as_ref().is_none_or(Open::is_broken) {
            self.open = None;
            if self.not_before.is_some_and(|time| Instant::now() < time) {
                return Err(Error::Waiting);
            }
            match connect(&inner.settings).await {
                Ok(open) => {
                    self.backoff.reset();
                    self.not_before = None;
                    self.open = Some(open);
                    inner.health.up(health::PUBLISHER);
                }
                Err(error) => {
                    self.not_before = Some(Instant::now() + self.backoff.next());
                    inner.health.down(health::PUBLISHER, chain(&error));
                    return Err(Error::Away(error));
                }
            }
        }
        self.open.as_ref().ok_or(Error::Waiting)
    }
}

impl Open {
    fn is_broken(&self) -> bool {
        !self.link.is_open()
            || !self.channel.status().connected()
            || self.is_silent.load(Ordering::SeqCst)
    }
}

async fn connect(settings: &Settings) -> Result<Open, rabbitmq::Error> {
    let link = Link::open(&settings.url, "publisher").await?;
    let opening = async {
        for finding in topology::declare(&link, &settings.topology).await? {
            tracing::warn!("{finding}");
        }
        let channel = link.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok::<_, rabbitmq::Error>(channel)
    };
    let channel =
        timeout(settings.patience, opening).await.map_err(|_| rabbitmq::Error::Timeout)??;
    Ok(Open { link, channel, is_silent: Arc::default() })
}

fn properties(id: &str, label: Label) -> BasicProperties {
    /// Written to disk (AMQP 0-9-1: delivery mode 2).
    const PERSISTENT: u8 = 2;
    let mut headers = FieldTable::default();
    for (name, value) in label.headers {
        if let Ok(name) = short(&name) {
            headers.insert(name, AMQPValue::LongString(value.into()));
        }
    }
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(id.into())
        .with_headers(headers);
    match label.timestamp {
        Some(seconds) => properties.with_timestamp(seconds),
        None => properties,
    }
}
