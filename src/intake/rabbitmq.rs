//! The consumer: a supervisor that rebuilds connection, channel and consumer for ever.
//!
//! lapin's own recovery stays off: when its tries run out it hangs in silence, and after a channel's error its
//! stream never ends. What is acknowledged is the last delivery of a committed batch, through that delivery's
//! own acker: a tag from before a reconnect would acknowledge messages that nobody has seen.

use super::{
    Process,
    batch::{self, Limits},
    chain, commit, depth,
    envelope::{self, Envelope, Field},
    topology,
    wire::{Seen, stream},
};
use crate::{
    health::{self, Health},
    model::{inbound::Raw, secret::Secret},
    retry::Backoff,
    shutdown::Shutdown,
};
use futures_util::stream::{Peekable, StreamExt};
use lapin::{
    Channel, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    tcp::{AMQPUriTcpExt, AsyncTcpStream, TLSConfig},
    types::{AMQPValue, FieldTable, ShortString},
    uri::AMQPUri,
};
use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// How long a connection may take to open.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the broker may take to answer a good-bye.
const FAREWELL: Duration = Duration::from_secs(5);

/// How the broker is consumed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `amqp://…` or `amqps://…`.
    pub url: Secret,
    /// The names of exchanges and queues.
    pub topology: topology::Settings,
    /// How many messages the broker may send ahead, per queue: the back-pressure. Of their bytes twice as many as a
    /// batch takes: those of one that is under way, and those of the next.
    pub prefetch: u16,
    /// How much one batch takes.
    pub batch: Limits,
    /// How long the broker may take to declare what is missing and to begin to deliver.
    pub patience: Duration,
    /// How often the connection's state is looked at when nothing arrives.
    pub check: Duration,
}

impl Settings {
    /// The defaults for a broker.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            topology: topology::Settings::default(),
            prefetch: 1_000,
            batch: Limits::default(),
            patience: PATIENCE,
            check: Duration::from_secs(1),
        }
    }
}

/// The broker cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none.
    #[error("amqp.url is no URL of the form amqp://user:password@host:5672/vhost")]
    Url,
    /// A name that AMQP cannot carry.
    #[error("the name `{0}` of an exchange or queue is longer than 255 bytes")]
    Name(String),
    /// It did not answer in time.
    #[error("the broker did not answer in time")]
    Timeout,
    /// It took what was asked about a queue and did not answer in time.
    #[error(
        "the broker did not answer in time about queue {0}; where that lasts, the queue may have no leader"
    )]
    Silent(String),
    /// It refused or went away.
    #[error("the broker refused or went away")]
    Broker(#[from] lapin::Error),
    /// It ended the consumer: the queue was deleted or moved.
    #[error("the broker ended the consumer of queue {0}")]
    Canceled(String),
    /// The connection is gone and nobody was told.
    #[error("the connection to the broker is gone")]
    Gone,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) seen: Arc<Seen>,
}

impl Link {
    /// Connects; `role` is shown in the broker's management.
    pub(super) async fn open(url: &Secret, role: &str) -> Result<Self, Error> {
        // The parser's message repeats the URL, password and all.
        let uri: AMQPUri = url.expose().parse().map_err(|_| Error::Url)?;
        let seen = Arc::new(Seen::default());
        let noted = seen.clone();
        let tokio = lapin::runtime::default_runtime()?;
        let name = format!("customer-sync {role}");
        let connecting = Connection::connector(
            uri,
            stream::runtime(),
            async move |uri: AMQPUri, _| {
                let socket: AsyncTcpStream<_> =
                    uri.connect_with_config_async(TLSConfig::default(), &tokio).await?;
                Ok(AsyncTcpStream::Plain(stream::Mended::new(socket, noted.clone())))
            },
            ConnectionProperties::default().with_connection_name(name.into()),
        );
        let connection = timeout(PATIENCE, connecting).await.map_err(|_| Error::Timeout)??;
        Ok(Self { connection, seen })
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// It is going away in any case: the broker gives back what was not acknowledged.
    pub(super) async fn close(self) {
        self.seen.ahead.end();
        let _ = timeout(FAREWELL, self.connection.close(200, "OK".into())).await;
    }
}

/// A name as AMQP carries it.
pub(super) fn short(name: &str) -> Result<ShortString, Error> {
    ShortString::try_new(name).map_err(|_| Error::Name(name.to_owned()))
}

/// Consumes the intake queue and the dead letters until stopping is asked for: each on a connection of its own, so
/// that a queue which does not answer ends nobody else's work.
///
/// # Errors
/// When the settings cannot be used; whatever else fails is rebuilt and tried again.
pub async fn run<P: Process>(
    settings: Settings,
    process: P,
    health: Health,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let queue = |dead| Queue {
        dead,
        settings: &settings,
        process: &process,
        health: &health,
        shutdown: &shutdown,
        unread: Mutex::default(),
    };
    let (intake, dead) = (queue(false), queue(true));
    let (intake, dead) = tokio::join!(intake.consume(), dead.consume());
    intake.and(dead)
}

/// One of the two queues, and what its messages are given to.
#[derive(Debug)]
struct Queue<'a, P> {
    dead: bool,
    settings: &'a Settings,
    process: &'a P,
    health: &'a Health,
    shutdown: &'a Shutdown,
    /// Why the dead letters are not read, as it was told last.
    unread: Mutex<Option<String>>,
}

impl<P: Process> Queue<'_, P> {
    fn name(&self) -> &str {
        let topology = &self.settings.topology;
        if self.dead { &topology.dead_queue } else { &topology.queue }
    }

    /// Its word in metrics.
    fn label(&self) -> &'static str {
        if self.dead { "dead" } else { "intake" }
    }

    /// Says why the dead letters are not read, once for each reason.
    fn tell_unread(&self, reason: &str) {
        if self.is_news(Some(reason)) {
            let queue = self.name();
            tracing::warn!(queue, reason, "the dead letters are not read at present");
        }
    }

    /// Says that they are, where they were not.
    fn tell_read(&self) {
        if self.is_news(None) {
            tracing::info!(queue = self.name(), "the dead letters are read again");
        }
    }

    fn is_news(&self, unread: Option<&str>) -> bool {
        let mut told = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = told.as_deref() != unread;
        *told = unread.map(str::to_owned);
        is_news
    }

    /// Rebuilds the connection until stopping is asked for.
    async fn consume(&self) -> Result<(), Error> {
        let role = if self.dead { "dead letters" } else { "consumer" };
        let mut backoff = backoff();
        while !self.shutdown.is_requested() {
            let opened = tokio::select! {
                () = self.shutdown.requested() => break,
                opened = Link::open(&self.settings.url, role) => opened,
            };
            let link = match opened {
                Ok(link) => link,
                Err(error @ (Error::Url | Error::Name(_))) => return Err(error),
                Err(error) => {
                    if self.dead {
                        self.tell_unread(&chain(&error));
                    } else {
                        self.health.down(health::BROKER, chain(&error));
                    }
                    self.shutdown.sleep(backoff.next()).await;
                    continue;
                }
            };
            link.seen.ahead.limit(self.settings.batch.bytes.saturating_mul(2));
            let lane = Lane { link: &link, queue: self };
            let worked = tokio::select! {
                worked = lane.run() => worked,
                never = depth::measure(&link, (self.label(), self.name()), self.shutdown) => match never {},
            };
            if worked {
                backoff.reset();
            }
            link.close().await;
            if !self.shutdown.is_requested() {
                metrics::counter!("customer_sync_broker_reconnects_total").increment(1);
                self.shutdown.sleep(backoff.next()).await;
            }
        }
        Ok(())
    }
}

/// A broker that answers again is found within some seconds, however long it was away: asking costs it nothing.
fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(5))
}

/// A queue on an open connection.
struct Lane<'a, P> {
    link: &'a Link,
    queue: &'a Queue<'a, P>,
}

/// Why a lane's channel ended without an error.
enum Ended {
    Stopped,
    Broken,
}

impl<P: Process> Lane<'_, P> {
    /// Rebuilds the channel until the connection is gone or stopping is asked for; whether it committed anything.
    async fn run(&self) -> bool {
        let (mut worked, mut backoff) = (false, backoff());
        while !self.queue.shutdown.is_requested() && self.link.is_open() {
            let mut committed = false;
            match self.consume(&mut committed).await {
                Ok(Ended::Stopped) => return worked || committed,
                Ok(Ended::Broken) => self.report(&Error::Gone),
                Err(error) => self.report(&error),
            }
            worked |= committed;
            if committed {
                backoff.reset();
            }
            if self.link.is_open() {
                self.queue.shutdown.sleep(backoff.next()).await;
            }
        }
        worked
    }

    /// The dead letters do not make readiness red: without them no event waits.
    fn report(&self, error: &Error) {
        let reason = chain(error);
        if self.queue.dead {
            if self.link.is_open() || matches!(error, Error::Silent(_)) {
                self.queue.tell_unread(&reason);
            }
        } else {
            self.queue.health.down(health::BROKER, reason);
        }
    }

    /// Declares what is missing and begins to consume.
    async fn open(&self) -> Result<(Channel, Consumer), Error> {
        if self.queue.dead {
            // What is wrong with it is told with the rest.
            topology::declare_dead(self.link, &self.queue.settings.topology).await?;
        } else {
            for finding in topology::declare(self.link, &self.queue.settings.topology).await? {
                tracing::warn!("{finding}");
            }
        }
        let channel = self.link.connection.create_channel().await?;
        channel.basic_qos(self.queue.settings.prefetch, BasicQosOptions::default()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer =
            channel.basic_consume(short(self.queue.name())?, "".into(), options, arguments).await?;
        Ok((channel, consumer))
    }

    async fn consume(&self, committed: &mut bool) -> Result<Ended, Error> {
        let Ok(opened) = timeout(self.queue.settings.patience, Box::pin(self.open())).await else {
            // A broker that is only starting may take what it is asked and never answer, on a connection that is well
            // by its heartbeats.
            self.link.seen.ahead.end();
            let _ = timeout(FAREWELL, self.link.connection.close(200, "OK".into())).await;
            return Err(Error::Silent(self.queue.name().to_owned()));
        };
        let (channel, consumer) = opened?;
        if self.queue.dead {
            self.queue.tell_read();
        } else {
            self.queue.health.up(health::BROKER);
        }
        let ended = self.batches(&channel, consumer, committed).await;
        self.link.seen.ahead.forget(channel.id());
        ended
    }

    async fn batches(
        &self,
        channel: &Channel,
        consumer: Consumer,
        committed: &mut bool,
    ) -> Result<Ended, Error> {
        let mut deliveries = pin!(consumer.peekable());
        let mut check = tokio::time::interval(self.queue.settings.check);
        loop {
            tokio::select! {
                biased;
                () = self.queue.shutdown.requested() => break,
                next = deliveries.as_mut().peek() => match next {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.clone().into()),
                    None => return Err(Error::Canceled(self.queue.name().to_owned())),
                },
                _ = check.tick() => {
                    if !self.link.is_open() || !channel.status().connected() {
                        return Err(Error::Gone);
                    }
                    continue;
                }
            }
            match self.batch(channel, &mut deliveries, committed).await? {
                Ended::Stopped => {}
                Ended::Broken => return Ok(Ended::Broken),
            }
        }
        // Closing, not only canceling, gives back at once what was sent ahead: with a single active consumer
        // the next one would wait for it.
        self.link.seen.ahead.end();
        let _ = timeout(FAREWELL, channel.close(200, "OK".into())).await;
        Ok(Ended::Stopped)
    }

    /// Commits what has arrived and acknowledges it.
    async fn batch(
        &self,
        channel: &Channel,
        deliveries: &mut Pin<&mut Peekable<Consumer>>,
        committed: &mut bool,
    ) -> Result<Ended, Error> {
        let arrived =
            batch::gather(deliveries, self.queue.settings.batch, |one: &Delivery| one.data.len());
        let Some(last) = arrived.last().map(|delivery| delivery.acker.clone()) else {
            return Ok(Ended::Stopped);
        };
        let bytes = arrived.iter().map(|delivery| delivery.data.len()).sum();
        let raws: Vec<Raw> = arrived.into_iter().map(|one| read(one, self.queue.dead)).collect();
        let origin = self.queue.label();
        // On a broken channel the messages come again: no use in holding them through an outage.
        let worthwhile = || channel.status().connected();
        let done = commit(
            self.queue.process,
            &raws,
            origin,
            self.queue.health,
            self.queue.shutdown,
            worthwhile,
        )
        .await;
        if done.is_none() {
            let stopped = self.queue.shutdown.is_requested();
            return Ok(if stopped { Ended::Stopped } else { Ended::Broken });
        }
        *committed = true;
        let acknowledging = last.ack(BasicAckOptions { multiple: true });
        // On a connection that dies at this moment the client may never say so (lapin 4.12).
        let acknowledged = timeout(FAREWELL, acknowledging).await.map_err(|_| Error::Gone)??;
        self.link.seen.ahead.settled(channel.id(), bytes);
        if !acknowledged {
            tracing::debug!(
                events = raws.len(),
                "the channel was gone before the acknowledgement: they come again, as duplicates"
            );
        }
        Ok(Ended::Stopped)
    }
}

fn read(delivery: Delivery, dead: bool) -> Raw {
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    let envelope = Envelope {
        routing_key: delivery.routing_key.as_str().to_owned(),
        headers: headers.into_iter().flatten().map(entry).collect(),
        timestamp: *delivery.properties.timestamp(),
        body: delivery.data.into(),
    };
    if dead { envelope::open_dead(envelope) } else { envelope::open(envelope) }
}

fn entry((name, value): (&ShortString, &AMQPValue)) -> (String, Field) {
    (name.as_str().to_owned(), field(value))
}

/// Recurses no deeper than what [`super::wire`] lets through.
fn field(value: &AMQPValue) -> Field {
    match value {
        AMQPValue::Boolean(flag) => Field::Flag(*flag),
        AMQPValue::ShortShortInt(number) => Field::Integer((*number).into()),
        AMQPValue::ShortShortUInt(number) => Field::Integer((*number).into()),
        AMQPValue::ShortInt(number) => Field::Integer((*number).into()),
        AMQPValue::ShortUInt(number) => Field::Integer((*number).into()),
        AMQPValue::LongInt(number) => Field::Integer((*number).into()),
        AMQPValue::LongUInt(number) => Field::Integer((*number).into()),
        AMQPValue::LongLongInt(number) => Field::Integer(*number),
        AMQPValue::Float(number) => Field::Real((*number).into()),
        AMQPValue::Double(number) => Field::Real(*number),
        AMQPValue::ShortString(text) => Field::Text(text.as_str().into()),
        AMQPValue::LongString(text) => Field::Text(text.as_bytes().to_vec()),
        AMQPValue::ByteArray(bytes) => Field::Text(bytes.as_slice().to_vec()),
        AMQPValue::Timestamp(seconds) => Field::Time(*seconds),
        AMQPValue::FieldArray(values) => Field::List(values.as_slice().iter().map(field).collect()),
        AMQPValue::FieldTable(table) => Field::Table(table.inner().iter().map(entry).collect()),
        AMQPValue::DecimalValue(_) | AMQPValue::Void => Field::Nothing,
    }
}
