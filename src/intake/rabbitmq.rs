//! The consumer: a supervisor that rebuilds connection, channel and consumer for ever.
//!
//! lapin's own recovery stays off: when its tries run out it hangs in silence, and after a channel's error its
//! stream never ends. What is acknowledged is the last delivery of a committed batch, through that delivery's
//! own acker: a tag from before a reconnect would acknowledge messages that nobody has seen.

use super::{
    Process,
    batch::{self, Limits},
    chain, commit,
    envelope::{self, Envelope, Field},
    topology,
    wire::{Seen, stream},
};
use crate::{
    health::{self, Health},
    model::{inbound::Raw, secret::Secret, time::Timestamp},
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
    sync::Arc,
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
    /// How many messages the broker may send ahead, per queue: the back-pressure. It counts messages only, so
    /// lower it as bodies grow.
    pub prefetch: u16,
    /// How much one batch takes.
    pub batch: Limits,
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
            check: Duration::from_secs(30),
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
    #[error("the broker did not answer within 15 seconds")]
    Timeout,
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
        let _ = timeout(FAREWELL, self.connection.close(200, "OK".into())).await;
    }
}

/// A name as AMQP carries it.
pub(super) fn short(name: &str) -> Result<ShortString, Error> {
    ShortString::try_new(name).map_err(|_| Error::Name(name.to_owned()))
}

/// Consumes the intake queue and the dead letters until stopping is asked for.
///
/// # Errors
/// When the settings cannot be used; whatever else fails is rebuilt and tried again.
pub async fn run<P: Process>(
    settings: Settings,
    process: P,
    health: Health,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let mut backoff = backoff();
    while !shutdown.is_requested() {
        let opened = tokio::select! {
            () = shutdown.requested() => break,
            opened = Link::open(&settings.url, "consumer") => opened,
        };
        let link = match opened {
            Ok(link) => link,
            Err(error @ (Error::Url | Error::Name(_))) => return Err(error),
            Err(error) => {
                health.down(health::BROKER, chain(&error));
                shutdown.sleep(backoff.next()).await;
                continue;
            }
        };
        let lane = |queue, dead| Lane {
            link: &link,
            queue,
            dead,
            settings: &settings,
            process: &process,
            health: &health,
            shutdown: &shutdown,
        };
        let intake = lane(&settings.topology.queue, false);
        let dead = lane(&settings.topology.dead_queue, true);
        let (worked, _) = tokio::join!(intake.run(), dead.run());
        if worked {
            backoff.reset();
        }
        link.close().await;
        if !shutdown.is_requested() {
            metrics::counter!("customer_sync_broker_reconnects_total").increment(1);
            shutdown.sleep(backoff.next()).await;
        }
    }
    Ok(())
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(30))
}

/// One queue on one connection, with channels of its own: a channel's error ends nothing else.
struct Lane<'a, P> {
    link: &'a Link,
    queue: &'a str,
    dead: bool,
    settings: &'a Settings,
    process: &'a P,
    health: &'a Health,
    shutdown: &'a Shutdown,
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
        while !self.shutdown.is_requested() && self.link.is_open() {
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
                self.shutdown.sleep(backoff.next()).await;
            }
        }
        worked
    }

    /// The dead letters do not make readiness red: without them no event waits.
    fn report(&self, error: &Error) {
        let reason = chain(error);
        if !self.dead {
            self.health.down(health::BROKER, reason);
        } else if self.link.is_open() {
            tracing::warn!(queue = self.queue, reason, "the dead letters are not read at present");
        }
    }

    async fn consume(&self, committed: &mut bool) -> Result<Ended, Error> {
        if !self.dead {
            for finding in topology::declare(self.link, &self.settings.topology).await? {
                tracing::warn!("{finding}");
            }
        }
        let channel = self.link.connection.create_channel().await?;
        channel.basic_qos(self.settings.prefetch, BasicQosOptions::default()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer =
            channel.basic_consume(short(self.queue)?, "".into(), options, arguments).await?;
        if !self.dead {
            self.health.up(health::BROKER);
        }
        let mut deliveries = pin!(consumer.peekable());
        let mut check = tokio::time::interval(self.settings.check);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.requested() => break,
                next = deliveries.as_mut().peek() => match next {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.clone().into()),
                    None => return Err(Error::Canceled(self.queue.to_owned())),
                },
                _ = check.tick() => {
                    if !self.link.is_open() || !channel.status().connected() {
                        return Err(Error::Gone);
                    }
                    continue;
                }
            }
            match self.batch(&channel, &mut deliveries, committed).await? {
                Ended::Stopped => {}
                Ended::Broken => return Ok(Ended::Broken),
            }
        }
        // Closing, not only canceling, gives back at once what was sent ahead: with a single active consumer
        // the next one would wait for it.
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
            batch::gather(deliveries, self.settings.batch, |one: &Delivery| one.data.len());
        let Some(last) = arrived.last().map(|delivery| delivery.acker.clone()) else {
            return Ok(Ended::Stopped);
        };
        let now = self.process.now();
        let raws: Vec<Raw> = arrived.into_iter().map(|one| read(one, self.dead, now)).collect();
        let origin = if self.dead { "dead" } else { "intake" };
        // On a broken channel the messages come again: no use in holding them through an outage.
        let worthwhile = || channel.status().connected();
        let done =
            commit(self.process, &raws, origin, self.health, self.shutdown, worthwhile).await;
        if done.is_none() {
            let stopped = self.shutdown.is_requested();
            return Ok(if stopped { Ended::Stopped } else { Ended::Broken });
        }
        *committed = true;
        let acknowledged = last.ack(BasicAckOptions { multiple: true }).await?;
        if !acknowledged {
            tracing::debug!(
                events = raws.len(),
                "the channel was gone before the acknowledgement: they come again, as duplicates"
            );
        }
        Ok(Ended::Stopped)
    }
}

fn read(delivery: Delivery, dead: bool, now: Timestamp) -> Raw {
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    let envelope = Envelope {
        routing_key: delivery.routing_key.as_str().to_owned(),
        headers: headers.into_iter().flatten().map(entry).collect(),
        timestamp: *delivery.properties.timestamp(),
        body: delivery.data.into(),
    };
    if dead { envelope::open_dead(envelope, now) } else { envelope::open(envelope, now) }
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
