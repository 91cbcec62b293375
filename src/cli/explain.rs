//! `explain`: what one body would assert. Nothing is kept.

use super::{
    Context, Ending, Usage,
    output::{self, Output},
};
use crate::{
    model::{
        inbound::{Headers, Raw},
        reference::{Kind, Scope},
        time::Timestamp,
    },
    normalize::{Part, describe, describe_rejection, normalize},
    provider::{self, Source},
    verify::verify,
};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::{io::Read as _, path::PathBuf, sync::Arc};

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A configured source, or a provider's name
    source: String,
    /// The body; `-` reads standard input
    file: PathBuf,
    /// A header that came with it, may be given again
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = super::pair)]
    headers: Vec<(String, String)>,
    /// When it was received (RFC 3339); without it the signature's age is not judged
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    received_at: Option<Timestamp>,
    /// Skip verification
    #[arg(long)]
    unsigned: bool,
    #[command(flatten)]
    output: Output,
}

impl Explain {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let body = read(&self.file)?;
        let source = Arc::new(source(context, &self.source, self.unsigned)?);
        let raw = Raw {
            source: source.name.clone(),
            headers: Headers::from_iter(self.headers),
            body: body.into(),
            received_at: self.received_at,
            queue_id: None,
            dead: None,
        };
        let events = explain(&source, &raw, context.clock.now());
        let rejected = events.iter().any(|event| event["verdict"] == "rejected");
        if let ([event], true) = (events.as_slice(), self.output.json) {
            output::json(event);
        } else {
            self.output
                .thing(&events, |events| events.iter().map(text).collect::<Vec<_>>().join("\n\n"));
        }
        Ok(Ending::clean_if(!rejected))
    }
}

/// Reads a file, or standard input for `-`.
pub(super) fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).context("standard input cannot be read")?;
        return Ok(body);
    }
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// The configured source, else one of that provider for this once; it takes both modes.
fn source(context: &Context, name: &str, unsigned: bool) -> anyhow::Result<Source> {
    let configured = context.config.sources()?.into_iter().find(|source| &*source.name == name);
    let Some(mut source) = configured.or_else(|| throwaway(name)) else {
        let known: Vec<_> = provider::ALL.iter().map(|provider| provider.name).collect();
        let text = format!(
            "{name} is neither a configured source nor a provider; providers are {}",
            known.join(", ")
        );
        return Err(Usage(text).into());
    };
    if unsigned {
        source.secrets.clear();
        source.unsigned = true;
    } else if source.secrets.is_empty() && !source.unsigned {
        let text = format!(
            "{name} is no configured source and has no secret to verify with: configure it under [[sources]], or give --unsigned to skip verification"
        );
        return Err(Usage(text).into());
    }
    Ok(source)
}

fn throwaway(name: &str) -> Option<Source> {
    let provider = provider::find(name)?;
    Some(Source {
        name: name.into(),
        provider: provider.into(),
        mapping: None,
        environment: "live".into(),
        test_environment: Some("test".into()),
        namespace: name.into(),
        secrets: Vec::new(),
        tolerance: None,
        url: None,
        subject_is_external_id: false,
        places: provider.places.to_vec(),
        authority: std::collections::BTreeMap::new(),
        on_delete: if provider.kind == Kind::Payment { Scope::Identity } else { Scope::Auto },
        match_email: false,
        manual_capture: false,
        unsigned: false,
    })
}

/// One description for each event of the body, or one of its rejection.
fn explain(source: &Arc<Source>, raw: &Raw, now: Timestamp) -> Vec<Value> {
    let received_at = raw.received_at.unwrap_or(now);
    let verified = match verify(source, raw, now) {
        Ok(verified) => verified,
        Err(rejection) => {
            return vec![describe_rejection(source, received_at, false, &rejection.to_string())];
        }
    };
    let parts = normalize(&verified).into_iter();
    let tell = |part: Part| match part.read {
        Ok(event) => describe(&event, source.provider.name),
        Err(unread) => describe_rejection(source, received_at, unread.verified, &unread.why),
    };
    parts.map(tell).collect()
}

/// A description for people: what it is, then each fact with its fields.
fn text(event: &Value) -> String {
    let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let verified = if event["verified"] == json!(true) { "yes" } else { "no" };
    let notes: Vec<_> = event["notes"].as_array().into_iter().flatten().map(plain).collect();
    let mut text = output::fields(&[
        ("verdict", word("verdict")),
        ("reason", word("reason")),
        ("source", word("source")),
        ("provider", word("provider")),
        ("environment", word("environment")),
        ("event", word("event_id")),
        ("type", word("type")),
        ("occurred", word("occurred_at")),
        ("verified", verified.into()),
        ("notes", notes.join("; ")),
    ]);
    for fact in event["facts"].as_array().into_iter().flatten() {
        let fields = fact.as_object().into_iter().flatten().filter(|(name, _)| *name != "kind");
        let lines: Vec<_> =
            fields.map(|(name, value)| (format!("  {name}"), plain(value))).collect();
        let lines: Vec<_> =
            lines.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        text = format!("{text}\n\n{}\n{}", plain(&fact["kind"]), output::fields(&lines));
    }
    text
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
