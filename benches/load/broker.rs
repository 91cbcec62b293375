//! The broker past the program: its floor, and tidying up.

use crate::stage::{BATCH, PREFETCH, Stage};
use anyhow::Context as _;
use customer_sync::intake::topology;
use futures_util::StreamExt as _;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeleteOptions,
        QueueDeleteOptions, QueuePurgeOptions,
    },
    types::FieldTable,
};
use std::time::Instant;

/// A connection with one channel.
pub(crate) struct Line {
    /// Held: the channel ends with it.
    connection: Connection,
    /// What is spoken on.
    pub(crate) channel: Channel,
}

impl Line {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok(Self { connection, channel })
    }

    pub(crate) async fn close(self) -> anyhow::Result<()> {
        Ok(self.connection.close(200, "done".into()).await?)
    }
}

/// Floor B: takes so many messages from the queue with the program's prefetch, acknowledges every batch at once,
/// and does nothing with them. In seconds.
pub(crate) async fn drain(stage: &Stage, count: usize) -> anyhow::Result<f64> {
    let line = Line::open(&stage.servers.amqp).await?;
    line.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let begun = Instant::now();
    let queue = stage.topology().queue;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer =
        line.channel.basic_consume(queue.as_str().into(), "".into(), options, arguments).await?;
    for taken in 1..=count {
        let delivery = consumer.next().await.context("the broker ended the consumer")??;
        if taken % BATCH == 0 || taken == count {
            delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    line.close().await?;
    Ok(took)
}

/// Empties the queue, where there is one.
pub(crate) async fn empty(stage: &Stage) -> anyhow::Result<()> {
    let line = Line::open(&stage.servers.amqp).await?;
    let queue = stage.topology().queue;
    // Fails where there is no such queue: then it is empty.
    let _ = line.channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await;
    line.close().await
}

/// Deletes exchanges and queues.
pub(crate) async fn remove(url: &str, names: &topology::Settings) -> anyhow::Result<()> {
    let line = Line::open(url).await?;
    for queue in [&names.queue, &names.dead_queue] {
        line.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in [&names.exchange, &names.dead_exchange] {
        let options = ExchangeDeleteOptions::default();
        line.channel.exchange_delete(exchange.as_str().into(), options).await?;
    }
    line.close().await
}
