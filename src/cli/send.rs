//! `send`: signs one body and sends it, as the provider would.

use super::{
    Context, Ending, Usage, explain,
    output::Output,
    via::{Sender, Via},
};
use crate::{
    model::{inbound::Raw, secret::Secret, time::Timestamp},
    provider::Source,
    verify::scheme,
};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use url::Url;

#[derive(Debug, Args)]
pub(super) struct Send {
    /// A configured source
    source: String,
    /// The body; `-` reads standard input
    file: PathBuf,
    /// The way in: amqp, or http; without it RabbitMQ where amqp.url is set
    #[arg(long)]
    via: Option<Via>,
    /// Where the daemon's ingress is; without it at http.listen
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// The event id that the signature names, where it names one; without it a new one
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Send {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let body = explain::read(&self.file)?;
        let sources = context.config.sources()?;
        let known = sources.iter().find(|source| *source.name == *self.source);
        let source = known.ok_or_else(|| {
            let names: Vec<_> = sources.iter().map(|source| &*source.name).collect();
            let name = &self.source;
            Usage(format!("{name} is no configured source; configured are: {}", names.join(", ")))
        })?;
        let now = context.clock.now();
        let id = self.id.unwrap_or_else(|| format!("evt_{}", context.clock.new_id().simple()));
        let raw = signed(source, body, &id, now)?;
        let sender = Sender::new(context, self.via, self.url)?;
        let result = sender.send(raw).await;
        sender.close().await;
        result?;
        let shown = json!({"source": source.name, "id": id, "sent": true, "via": sender.via()});
        self.output.thing(&shown, |_| format!("sent to {} by {}", source.name, sender.via()));
        Ok(Ending::Clean)
    }
}

/// A body with the headers that its source's scheme wants, by the secret that holds now.
fn signed(source: &Source, body: Vec<u8>, id: &str, now: Timestamp) -> anyhow::Result<Raw> {
    let secret = secret(source, now);
    let headers = match (&source.provider.scheme, secret) {
        (Some(scheme), Some(secret)) => {
            scheme::sign(scheme, secret, &body, id, now, source.url.as_deref())?
        }
        _ if source.unsigned => crate::model::inbound::Headers::default(),
        _ => anyhow::bail!("no secret of source {} holds now", source.name),
    };
    Ok(Raw {
        source: source.name.clone(),
        headers,
        body: body.into(),
        received_at: Some(now),
        queue_id: None,
        dead: None,
    })
}

/// The last secret that holds: the newest, where they are listed in order of rotation.
fn secret(source: &Source, now: Timestamp) -> Option<&Secret> {
    let holds = |secret: &&crate::provider::SourceSecret| {
        secret.from.is_none_or(|from| from <= now) && secret.until.is_none_or(|until| now <= until)
    };
    source.secrets.iter().rfind(holds).map(|secret| &secret.value)
}
