//! Exchanges and queues: declared where they are missing and we may, looked at where we may not.
//!
//! Nothing here stops the daemon: what differs from what we would declare is a [`Finding`], and the daemon
//! goes on with what there is.

use super::{
    chain,
    rabbitmq::{Error, Link, short},
};
use crate::model::secret::Secret;
use lapin::{
    Channel, ErrorKind, ExchangeKind, Queue,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};
use std::fmt;

/// The names of exchanges and queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The topic exchange that senders publish to.
    pub exchange: String,
    /// The quorum queue that is consumed, bound with `#`.
    pub queue: String,
    /// The exchange for dead letters.
    pub dead_exchange: String,
    /// The quorum queue of dead letters.
    pub dead_queue: String,
    /// Whether to declare what is missing.
    pub declare: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exchange: "customer-sync.events".into(),
            queue: "customer-sync.intake".into(),
            dead_exchange: "customer-sync.dead".into(),
            dead_queue: "customer-sync.dead".into(),
            declare: true,
        }
    }
}

/// Something about the broker that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The exchange, the queue, the broker.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.subject, self.problem, self.cure)
    }
}

/// One thing that is declared.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Exchange { name: &'a str, topic: bool },
    Queue { name: &'a str, dead_exchange: Option<&'a str> },
    Binding { queue: &'a str, exchange: &'a str },
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange { name, .. } => write!(f, "exchange {name}"),
            Self::Queue { name, .. } => write!(f, "queue {name}"),
            Self::Binding { queue, exchange } => {
                write!(f, "binding of queue {queue} to exchange {exchange}")
            }
        }
    }
}

/// All of it, in an order in which each finds what it needs.
fn parts(settings: &Settings) -> [Part<'_>; 6] {
    let Settings { exchange, queue, dead_exchange, .. } = settings;
    let [exchange_of_dead, queue_of_dead, binding_of_dead] = dead_parts(settings);
    [
        exchange_of_dead,
        queue_of_dead,
        binding_of_dead,
        Part::Exchange { name: exchange, topic: true },
        Part::Queue { name: queue, dead_exchange: Some(dead_exchange) },
        Part::Binding { queue, exchange },
    ]
}

/// What the dead letters need.
fn dead_parts(settings: &Settings) -> [Part<'_>; 3] {
    let Settings { dead_exchange, dead_queue, .. } = settings;
    [
        Part::Exchange { name: dead_exchange, topic: false },
        Part::Queue { name: dead_queue, dead_exchange: None },
        Part::Binding { queue: dead_queue, exchange: dead_exchange },
    ]
}

/// What a queue is declared with. The type is always said: a broker's default may be another.
fn arguments(dead_exchange: Option<&str>, version: Option<&str>) -> FieldTable {
    let mut table = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    table.insert("x-queue-type".into(), text("quorum"));
    if let Some(exchange) = dead_exchange {
        table.insert("x-dead-letter-exchange".into(), text(exchange));
        // At-least-once needs both; without them a dead letter may be lost on its way.
        table.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        table.insert("x-overflow".into(), text("reject-publish"));
    }
    if has_default_limit(version) {
        table.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(-1));
    }
    table
}

/// Since 4.0 a queue without a delivery limit has one of 20, which would bury good events of a consumer that
/// was killed often enough; -1 lifts it. On 3.x there is none, and -1 would bury them at once.
fn has_default_limit(version: Option<&str>) -> bool {
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= 4)
}

/// Declares what is missing, unless `declare` is off.
///
/// # Errors
/// When the connection is gone or a name cannot be used; all else is a finding.
pub(super) async fn declare(link: &Link, settings: &Settings) -> Result<Vec<Finding>, Error> {
    declare_parts(link, settings, &parts(settings)).await
}

/// Declares what the dead letters need and is missing, unless `declare` is off.
///
/// # Errors
/// As [`declare`].
pub(super) async fn declare_dead(link: &Link, settings: &Settings) -> Result<Vec<Finding>, Error> {
    declare_parts(link, settings, &dead_parts(settings)).await
}

async fn declare_parts(
    link: &Link,
    settings: &Settings,
    parts: &[Part<'_>],
) -> Result<Vec<Finding>, Error> {
    if !settings.declare {
        return Ok(Vec::new());
    }
    let mut probe = Probe { link, channel: None };
    let mut findings = Vec::new();
    for part in parts.iter().copied() {
        let refusal = probe.declare(part).await?;
        let existing = match (refusal, part) {
            (None, _) => continue,
            // Then it is there, or cannot be there at all.
            (Some(Refusal::Differs), Part::Queue { .. }) => probe.find(part).await?,
            _ => None,
        };
        findings.extend(refusal.map(|refusal| finding(part, refusal, existing)));
    }
    Ok(findings)
}

/// What the broker has, compared with what the daemon would declare; nothing is made. Bindings cannot be looked
/// at through AMQP.
pub async fn inspect(url: &Secret, settings: &Settings) -> Vec<Finding> {
    let link = match Link::open(url, "doctor").await {
        Ok(link) => link,
        Err(error) => return vec![unreachable(&error)],
    };
    let inspected = inspect_link(&link, settings).await;
    link.close().await;
    inspected.unwrap_or_else(|error| vec![unreachable(&error)])
}

async fn inspect_link(link: &Link, settings: &Settings) -> Result<Vec<Finding>, Error> {
    let mut probe = Probe { link, channel: None };
    let mut findings = Vec::new();
    for part in parts(settings) {
        match probe.find(part).await? {
            Some(Found::Missing) => findings.push(finding(part, Refusal::Missing, None)),
            Some(Found::There { waiting, consumers }) => {
                if let Some(refusal) = probe.declare(part).await?.filter(|refusal| {
                    // That we may not declare is no fault where it exists.
                    !matches!(refusal, Refusal::Forbidden)
                }) {
                    findings.push(finding(part, refusal, None));
                }
                if waiting > 0 && consumers == 0 {
                    findings.push(Finding {
                        subject: part.to_string(),
                        problem: format!("{waiting} messages wait and nobody consumes them"),
                        cure: "start `customer-sync run` with the role intake".into(),
                    });
                }
            }
            Some(Found::Unknown) | None => {}
        }
    }
    Ok(findings)
}

fn unreachable(error: &Error) -> Finding {
    Finding {
        subject: "broker".into(),
        problem: chain(error),
        cure: "check amqp.url, and that the broker runs and lets this user in".into(),
    }
}

/// Asks how many messages wait, on a channel of its own.
pub(super) struct Waiting<'a>(Probe<'a>);

impl<'a> Waiting<'a> {
    pub(super) fn new(link: &'a Link) -> Self {
        Self(Probe { link, channel: None })
    }

    /// How many wait in a queue; none where it does not exist or may not be looked at.
    ///
    /// # Errors
    /// When the connection is gone or the name cannot be used.
    pub(super) async fn of(&mut self, name: &str) -> Result<Option<u32>, Error> {
        let found = self.0.find(Part::Queue { name, dead_exchange: None }).await?;
        Ok(found.and_then(|found| match found {
            Found::There { waiting, .. } => Some(waiting),
            Found::Missing | Found::Unknown => None,
        }))
    }
}

/// Why the broker would not declare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    /// It exists with other properties.
    Differs,
    /// This user may not.
    Forbidden,
    /// What it refers to does not exist.
    Missing,
}

/// What looking showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    There {
        waiting: u32,
        consumers: u32,
    },
    Missing,
    /// This user may not look.
    Unknown,
}

fn finding(part: Part<'_>, refusal: Refusal, existing: Option<Found>) -> Finding {
    let (problem, cure) = match refusal {
        Refusal::Differs if existing == Some(Found::Missing) => (
            "the broker does not take the arguments it would be declared with",
            "declare it by hand as a durable quorum queue and set amqp.declare = false",
        ),
        Refusal::Differs => (
            "it exists with other arguments than the daemon declares, and is used as it is",
            "see that it is durable, has a dead-letter exchange, and since RabbitMQ 4 a delivery-limit of -1 \
             by policy; or delete it and let the daemon declare it",
        ),
        Refusal::Forbidden => (
            "this user may not declare it",
            "declare it by hand and set amqp.declare = false, or grant the permission `configure`",
        ),
        Refusal::Missing => (
            "it does not exist",
            "let the daemon declare it (amqp.declare = true), or declare it by hand",
        ),
    };
    Finding { subject: part.to_string(), problem: problem.into(), cure: cure.into() }
}

/// Declares and looks. A refusal closes the channel, so that the next try takes a new one.
struct Probe<'a> {
    link: &'a Link,
    channel: Option<Channel>,
}

impl Probe<'_> {
    async fn channel(&mut self) -> Result<Channel, Error> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let channel = self.link.connection.create_channel().await?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    async fn declare(&mut self, part: Part<'_>) -> Result<Option<Refusal>, Error> {
        let channel = self.channel().await?;
        let none = FieldTable::default;
        let declared = match part {
            Part::Exchange { name, topic } => {
                let kind = if topic { ExchangeKind::Topic } else { ExchangeKind::Fanout };
                let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
                channel.exchange_declare(short(name)?, kind, options, none()).await
            }
            Part::Queue { name, dead_exchange } => {
                let arguments = arguments(dead_exchange, self.link.seen.version());
                let options = QueueDeclareOptions { durable: true, ..Default::default() };
                channel.queue_declare(short(name)?, options, arguments).await.map(|_| ())
            }
            Part::Binding { queue, exchange } => {
                let options = QueueBindOptions::default();
                channel
                    .queue_bind(short(queue)?, short(exchange)?, "#".into(), options, none())
                    .await
            }
        };
        match declared {
            Ok(()) => Ok(None),
            Err(error) => {
                self.channel = None;
                refusal(&error).map(Some).ok_or(Error::Broker(error))
            }
        }
    }

    /// Looks whether it exists; `None` for what cannot be looked at.
    async fn find(&mut self, part: Part<'_>) -> Result<Option<Found>, Error> {
        let channel = self.channel().await?;
        let looked = match part {
            Part::Exchange { name, topic } => {
                let kind = if topic { ExchangeKind::Topic } else { ExchangeKind::Fanout };
                let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
                let arguments = FieldTable::default();
                channel
                    .exchange_declare(short(name)?, kind, options, arguments)
                    .await
                    .map(|()| (0, 0))
            }
            Part::Queue { name, .. } => {
                let options = QueueDeclareOptions { passive: true, ..Default::default() };
                let counts = |queue: Queue| (queue.message_count(), queue.consumer_count());
                channel
                    .queue_declare(short(name)?, options, FieldTable::default())
                    .await
                    .map(counts)
            }
            Part::Binding { .. } => return Ok(None),
        };
        match looked {
            Ok((waiting, consumers)) => Ok(Some(Found::There { waiting, consumers })),
            Err(error) => {
                self.channel = None;
                match refusal(&error) {
                    Some(Refusal::Missing) => Ok(Some(Found::Missing)),
                    Some(_) => Ok(Some(Found::Unknown)),
                    None => Err(Error::Broker(error)),
                }
            }
        }
    }
}

/// What the broker's answer means, where it is about the declaration and not about the connection.
fn refusal(error: &lapin::Error) -> Option<Refusal> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => Some(Refusal::Differs),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Some(Refusal::Forbidden),
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Some(Refusal::Missing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delivery_limit_follows_the_server() {
        let limit =
            |version| arguments(Some("dead"), version).inner().get("x-delivery-limit").cloned();
        assert_eq!(limit(Some("3.10.8")), None);
        assert_eq!(limit(None), None);
        assert_eq!(limit(Some("4.0.1")), Some(AMQPValue::LongLongInt(-1)));
        assert_eq!(limit(Some("4.3.0-rc.1")), Some(AMQPValue::LongLongInt(-1)));
    }
}
