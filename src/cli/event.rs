//! `event list|show|replay`.

use super::{
    Context, Ending,
    output::{self, Output, or_dash},
};
use crate::{
    model::{id::InboundId, inbound::Verdict, time::Timestamp},
    pipeline::Disposition,
    store::{
        self,
        browse::{self, InboundFilter, Page, Position},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Debug, Subcommand)]
pub(super) enum EventCommand {
    /// List inbound events with their verdicts, newest first
    List {
        /// Of one environment only; events of unknown sources belong to none
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        /// Of one verdict only: applied, ignored, rejected or dead
        #[arg(long, value_parser = verdict)]
        verdict: Option<Verdict>,
        /// Of one source only
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// Received at this time (RFC 3339) or later
        #[arg(long, value_name = "TIME", value_parser = super::time)]
        since: Option<Timestamp>,
        /// Received before this time (RFC 3339)
        #[arg(long, value_name = "TIME", value_parser = super::time)]
        until: Option<Timestamp>,
        /// So many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Begin after this one
        #[arg(long, value_name = "ID")]
        starting_after: Option<InboundId>,
        #[command(flatten)]
        output: Output,
    },
    /// Show one inbound event with its headers and body
    Show {
        /// Its id, inb_…
        id: InboundId,
        #[command(flatten)]
        output: Output,
    },
    /// Take an inbound event, or all that a filter names, through verification, reading and applying again
    Replay(Replay),
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Its id, inb_…
    #[arg(required_unless_present = "verdict",
        conflicts_with_all = ["verdict", "environment", "source", "since", "until"])]
    id: Option<InboundId>,
    /// All of this verdict: rejected, ignored or dead
    #[arg(long, value_parser = replayable)]
    verdict: Option<Verdict>,
    /// Of one environment only
    #[arg(long, value_name = "NAME", requires = "verdict")]
    environment: Option<String>,
    /// Of one source only
    #[arg(long, value_name = "NAME", requires = "verdict")]
    source: Option<String>,
    /// Received at this time (RFC 3339) or later
    #[arg(long, value_name = "TIME", value_parser = super::time, requires = "verdict")]
    since: Option<Timestamp>,
    /// Received before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = super::time, requires = "verdict")]
    until: Option<Timestamp>,
    #[command(flatten)]
    output: Output,
}

fn replayable(text: &str) -> Result<Verdict, &'static str> {
    Verdict::from_name(text)
        .filter(|verdict| !matches!(verdict, Verdict::Applied | Verdict::Duplicate))
        .ok_or("expected rejected, ignored or dead")
}

fn verdict(text: &str) -> Result<Verdict, &'static str> {
    Verdict::from_name(text).ok_or("expected applied, ignored, rejected or dead")
}

impl EventCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        match self {
            Self::List {
                environment,
                verdict,
                source,
                since,
                until,
                limit,
                starting_after,
                output,
            } => {
                let filter = InboundFilter { environment, verdict, source, since, until };
                let position = starting_after.map_or(Position::Offset(0), Position::After);
                list(context, &filter, Page { position, limit }, output).await
            }
            Self::Show { id, output } => show(context, id, output).await,
            Self::Replay(Replay { id: Some(id), output, .. }) => replay(context, id, output).await,
            Self::Replay(replay) => replay.run(context).await,
        }
    }
}

async fn list(
    context: &Context,
    filter: &InboundFilter,
    page: Page<InboundId>,
    output: Output,
) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.snapshot().await.map_err(store::Error::from)?;
    let slice = browse::inbound_events(&mut tx, filter, page).await?;
    let slice = slice.ok_or_else(|| anyhow::anyhow!("--starting-after names no event here"))?;
    let heads = ["ID", "RECEIVED", "SOURCE", "TYPE", "EVENT", "VERDICT", "COPIES", "REASON"];
    output.list(&slice.items, slice.has_more, heads, |event| {
        [
            event.id.to_string(),
            event.received_at.to_millis_text(),
            event.source.clone(),
            or_dash(event.kind.as_ref()),
            or_dash(event.event_id.as_ref()),
            event.verdict.as_str().into(),
            event.copies.to_string(),
            event.reason.clone().unwrap_or_default(),
        ]
    });
    Ok(Ending::Clean)
}

async fn show(context: &Context, id: InboundId, output: Output) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.snapshot().await.map_err(store::Error::from)?;
    let event = browse::inbound_event(&mut tx, None, id).await?;
    let event = event.ok_or_else(|| anyhow::anyhow!("there is no inbound event {id}"))?;
    let (headers, body) = browse::inbound_body(&mut tx, id).await?.unwrap_or_default();
    let text = String::from_utf8(body.clone()).ok();
    let mut shown = json!(event);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("headers".into(), json!(headers.iter().collect::<Vec<_>>()));
        fields.insert("body".into(), json!(text));
        fields.insert("body_base64".into(), json!(STANDARD.encode(&body)));
    }
    output.thing(&shown, |_| {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let fields = output::fields(&[
            ("id", event.id.to_string()),
            ("environment", or_dash(event.environment.as_ref())),
            ("source", event.source.clone()),
            ("type", or_dash(event.kind.as_ref())),
            ("event", or_dash(event.event_id.as_ref())),
            ("verdict", event.verdict.as_str().into()),
            ("reason", event.reason.clone().unwrap_or_default()),
            ("notes", event.notes.join("; ")),
            ("verified", event.verified.to_string()),
            ("copies", event.copies.to_string()),
            ("occurred", or_dash(event.occurred_at.map(Timestamp::to_millis_text))),
            ("received", event.received_at.to_millis_text()),
            ("recorded", event.recorded_at.to_millis_text()),
        ]);
        let body = text.as_deref().map_or_else(|| STANDARD.encode(&body), str::to_owned);
        format!("{fields}\n\n{}\n\n{body}", headers.join("\n"))
    });
    Ok(Ending::Clean)
}

/// How many events are looked up at a time.
const PAGE: u32 = 500;

impl Replay {
    /// What the filter names, the newest first. One that is rejected again is not met twice.
    async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let Self { verdict, environment, source, since, until, output, .. } = self;
        let filter = InboundFilter { environment, verdict, source, since, until };
        let db = context.db().await?;
        let pipeline = context.pipeline(&db).await?;
        let mut verdicts: BTreeMap<&str, u64> = BTreeMap::new();
        let mut page = Page::newest(PAGE);
        loop {
            let mut tx = db.snapshot().await.map_err(store::Error::from)?;
            let slice = browse::inbound_events_from(&mut tx, &filter, page).await?;
            drop(tx);
            let last = slice.items.last().map(|event| event.id);
            for event in slice.items {
                if let Some(disposition) = pipeline.replay(event.id).await? {
                    *verdicts.entry(told(disposition).0.as_str()).or_default() += 1;
                }
            }
            match last {
                Some(last) if slice.has_more => page.position = Position::After(last),
                _ => break,
            }
        }
        let replayed: u64 = verdicts.values().sum();
        output.thing(&json!({"replayed": replayed, "verdicts": verdicts}), |_| {
            let counts = verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}"));
            format!("{replayed} replayed: {}", counts.collect::<Vec<_>>().join(", "))
        });
        Ok(Ending::clean_if(!verdicts.contains_key(Verdict::Rejected.as_str())))
    }
}

fn told(disposition: Disposition) -> (Verdict, Option<String>) {
    match disposition {
        Disposition::Applied => (Verdict::Applied, None),
        Disposition::Duplicate => (Verdict::Duplicate, None),
        Disposition::Ignored(why) => (Verdict::Ignored, Some(why)),
        Disposition::Rejected(why) => (Verdict::Rejected, Some(why)),
    }
}

async fn replay(context: &Context, id: InboundId, output: Output) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.snapshot().await.map_err(store::Error::from)?;
    let event = browse::inbound_event(&mut tx, None, id).await?;
    let event = event.ok_or_else(|| anyhow::anyhow!("there is no inbound event {id}"))?;
    if event.refused {
        anyhow::bail!("{id} is a sample of a refused request, cut short: its sender repeats it");
    }
    drop(tx);
    let Some(disposition) = context.pipeline(&db).await?.replay(id).await? else {
        anyhow::bail!(
            "{id} cannot be replayed: it was applied, or nothing is left of it, or {} is no configured source (what \
             was imported comes by importing its file again)",
            event.source
        );
    };
    let (verdict, reason) = told(disposition);
    let shown = json!({"id": id, "verdict": verdict, "reason": reason});
    output.thing(&shown, |_| match &reason {
        Some(reason) => format!("{}: {reason}", verdict.as_str()),
        None => verdict.as_str().into(),
    });
    Ok(Ending::clean_if(verdict != Verdict::Rejected))
}
