//! Floor H: the program's own client to the same receiver, as many requests at once as it makes, and nothing
//! recorded.

use crate::{receiver::SECRET, stage::Stage};
use anyhow::ensure;
use customer_sync::{
    deliver::{
        client::{Client, Request},
        guard::Guard,
        names::Names,
        signature::Signer,
    },
    model::{id::MessageId, secret::Secret},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The default of `webhooks.concurrency_per_endpoint`.
const AT_ONCE: usize = 16;

/// The program's client, free to reach this machine, with so many connections kept open.
pub(crate) fn client(kept: usize) -> anyhow::Result<Client> {
    let guard = Guard { allow_http: true, allow_networks: vec!["127.0.0.0/8".parse()?] };
    Ok(Client::new(guard, Names::default(), 16 * 1024, kept)?)
}

/// Posts one message, signed.
pub(crate) async fn post(
    stage: &Stage,
    client: &Client,
    url: &str,
    body: Arc<str>,
) -> anyhow::Result<()> {
    let id = MessageId(stage.clock.new_id()).to_string();
    let signer = Signer { secrets: vec![Secret::new(SECRET)], ..Signer::default() };
    let signature = signer.headers(&id, stage.clock.now(), body.as_bytes())?;
    let request = Request { url, headers: Vec::new(), ours: &signature, body, again: false };
    let answer = client.post(request, Duration::from_secs(15)).await?;
    ensure!(answer.status == 200, "the receiver answered {}", answer.status);
    Ok(())
}

/// Posts all bodies; in seconds.
pub(crate) async fn measure(stage: &Stage, bodies: &[Arc<str>]) -> anyhow::Result<f64> {
    stage.receiver.forget();
    let client = client(AT_ONCE)?;
    let begun = Instant::now();
    stream::iter(bodies)
        .map(|body| post(stage, &client, &stage.receiver.url, body.clone()))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let took = begun.elapsed().as_secs_f64();
    let seen = stage.receiver.seen();
    ensure!(seen.verified.len() == bodies.len(), "some requests are missing");
    Ok(took)
}
