//! `message list|show|resend|cancel|recover`.

use super::{
    Context, Ending, Usage,
    output::{self, Output, or_dash},
};
use crate::{
    model::{
        id::{EndpointId, MessageId, RecoveryId},
        message::{EventType, MessageStatus},
        time::Timestamp,
    },
    store::{
        self,
        browse::{self, MessageFilter, Page, Position},
        endpoints, messages,
        recoveries::{self, Filter},
    },
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum MessageCommand {
    /// List outgoing messages, newest first
    List(List),
    /// Show one message with its tries and what it says
    Show {
        /// Its id, msg_…
        id: MessageId,
        #[command(flatten)]
        output: Output,
    },
    /// Send one message again, whatever became of it; or all dead ones that a filter names
    Resend {
        /// Its id, msg_…
        #[arg(required_unless_present = "filter", conflicts_with = "filter")]
        id: Option<MessageId>,
        #[command(flatten)]
        dead: Dead,
        #[command(flatten)]
        output: Output,
    },
    /// Call a message off that waits
    Cancel {
        /// Its id, msg_…
        id: MessageId,
        #[command(flatten)]
        output: Output,
    },
    /// Send an endpoint's dead messages of a span of time again; the daemon does it
    Recover {
        /// Whose messages, whe_…
        #[arg(long, value_name = "ID", required_unless_present = "cancel")]
        endpoint: Option<EndpointId>,
        /// Those that were written at this time (RFC 3339) or later
        #[arg(long, value_name = "TIME", value_parser = super::time, required_unless_present = "cancel")]
        since: Option<Timestamp>,
        /// And before this one; now, if that is not said
        #[arg(long, value_name = "TIME", value_parser = super::time)]
        until: Option<Timestamp>,
        /// Call such a job off instead, or one of `resend`, rec_…
        #[arg(long, value_name = "ID", conflicts_with_all = ["endpoint", "since", "until"])]
        cancel: Option<RecoveryId>,
        #[command(flatten)]
        output: Output,
    },
}

/// Which dead messages. All that is given must hold.
#[derive(Debug, Args)]
#[group(id = "filter", multiple = true)]
pub(super) struct Dead {
    /// Dead ones of this environment
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Dead ones to this endpoint, whe_…
    #[arg(long, value_name = "ID")]
    endpoint: Option<EndpointId>,
    /// Dead ones of a type, or of a family like payment.*
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    event_type: Option<String>,
    /// Dead ones that were written at this time (RFC 3339) or later
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    since: Option<Timestamp>,
    /// Dead ones that were written before this time; now, if that is not said
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    until: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Of one environment only
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// To one endpoint only
    #[arg(long, value_name = "ID")]
    endpoint: Option<EndpointId>,
    /// Of one status only: pending, delivered, dead or canceled
    #[arg(long, value_parser = status)]
    status: Option<MessageStatus>,
    /// Written at this time (RFC 3339) or later
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    since: Option<Timestamp>,
    /// Written before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    until: Option<Timestamp>,
    /// So many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Begin after this one
    #[arg(long, value_name = "ID")]
    starting_after: Option<MessageId>,
    #[command(flatten)]
    output: Output,
}

fn event_type(text: &str) -> Result<String, &'static str> {
    let expected = "expected an event type like payment.succeeded, or a family like payment.*";
    EventType::is_pattern(text).then(|| text.to_owned()).ok_or(expected)
}

fn status(text: &str) -> Result<MessageStatus, &'static str> {
    MessageStatus::from_name(text).ok_or("expected pending, delivered, dead or canceled")
}

impl MessageCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Show { id, output } => show(context, id, output).await,
            Self::Resend { id: Some(id), output, .. } => resend(context, id, output).await,
            Self::Resend { id: None, dead, output } => recover(context, dead, output).await,
            Self::Cancel { id, output } => cancel(context, id, output).await,
            Self::Recover { cancel: Some(id), output, .. } => end(context, id, output).await,
            Self::Recover { endpoint, since, until, cancel: None, output } => {
                let dead = Dead { environment: None, endpoint, event_type: None, since, until };
                recover(context, dead, output).await
            }
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let Self { environment, endpoint, status, since, until, limit, starting_after, output } =
            self;
        let filter = MessageFilter { environment, endpoint, status, since, until };
        let position = starting_after.map_or(Position::Offset(0), Position::After);
        let db = context.db().await?;
        let mut tx = db.snapshot().await.map_err(store::Error::from)?;
        let slice = browse::messages(&mut tx, &filter, Page { position, limit }).await?;
        let slice =
            slice.ok_or_else(|| anyhow::anyhow!("--starting-after names no message here"))?;
        let heads = ["ID", "CREATED", "TYPE", "ENDPOINT", "STATUS", "TRIES", "NEXT"];
        output.list(&slice.items, slice.has_more, heads, |message| {
            [
                message.id.to_string(),
                message.created_at.to_millis_text(),
                message.kind.clone(),
                message.endpoint_id.to_string(),
                message.status.clone(),
                message.attempts.to_string(),
                or_dash(message.next_attempt_at.map(Timestamp::to_millis_text)),
            ]
        });
        Ok(Ending::Clean)
    }
}

fn unknown(id: MessageId) -> anyhow::Error {
    anyhow::anyhow!("there is no message {id}")
}

async fn show(context: &Context, id: MessageId, output: Output) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.snapshot().await.map_err(store::Error::from)?;
    let message = browse::message(&mut tx, None, id).await?.ok_or_else(|| unknown(id))?;
    let tries = messages::attempts(&mut tx, id).await?;
    let body = browse::message_body(&mut tx, id).await?.unwrap_or_default();
    let mut shown = json!(message);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("attempts_made".into(), json!(tries));
        fields.insert("payload".into(), serde_json::from_str(&body).unwrap_or(Value::Null));
    }
    output.thing(&shown, |_| {
        let fields = output::fields(&[
            ("id", message.id.to_string()),
            ("environment", message.environment.clone()),
            ("type", message.kind.clone()),
            ("event", message.event_id.to_string()),
            ("endpoint", message.endpoint_id.to_string()),
            ("status", message.status.clone()),
            ("created", message.created_at.to_millis_text()),
            ("next try", or_dash(message.next_attempt_at.map(Timestamp::to_millis_text))),
        ]);
        let sent = tries.last().and_then(|last| last.request_headers.as_ref());
        let sent = sent.into_iter().flatten().map(|(name, value)| format!("    {name}: {value}"));
        let tries: Vec<String> = tries.iter().map(tried).chain(sent).collect();
        format!("{fields}\n\n{}\n\n{body}", tries.join("\n"))
    });
    Ok(Ending::Clean)
}

/// A try in one line.
pub(super) fn tried(attempt: &messages::Attempt) -> String {
    let outcome = attempt.outcome.as_deref().unwrap_or("no result");
    let status =
        attempt.status_code.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
    let took = attempt.duration_ms.map(|took| format!(" in {took} ms")).unwrap_or_default();
    let why = attempt.error.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let at = attempt.started_at.to_millis_text();
    format!("{at}  try {}  {outcome}, {status}{took}{why}", attempt.number)
}

async fn resend(context: &Context, id: MessageId, output: Output) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let message = browse::message(&mut tx, None, id).await?.ok_or_else(|| unknown(id))?;
    if endpoints::get(&mut tx, message.endpoint_id).await?.is_none() {
        anyhow::bail!("{id} cannot be sent again: its endpoint was deleted");
    }
    if message.kind == EventType::WebhookTest.as_str() {
        anyhow::bail!("{id} is a test, which is sent once: make another one by `endpoint test`");
    }
    let now = store::now(&mut tx, context.clock.now()).await?;
    messages::resend(&mut tx, None, id, now).await?;
    tx.commit().await.map_err(store::Error::from)?;
    output.thing(&json!({"id": id, "status": "pending"}), |_| format!("{id} is sent again"));
    Ok(Ending::Clean)
}

async fn cancel(context: &Context, id: MessageId, output: Output) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let message = browse::message(&mut tx, None, id).await?.ok_or_else(|| unknown(id))?;
    let now = store::now(&mut tx, context.clock.now()).await?;
    if !messages::cancel(&mut tx, None, id, now).await? {
        anyhow::bail!("{id} does not wait: it is {}", message.status);
    }
    tx.commit().await.map_err(store::Error::from)?;
    output.thing(&json!({"id": id, "status": "canceled"}), |_| format!("{id} is called off"));
    Ok(Ending::Clean)
}

async fn recover(context: &Context, dead: Dead, output: Output) -> anyhow::Result<Ending> {
    let Dead { environment, endpoint, event_type, since, until } = dead;
    let db = context.db().await?;
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let now = store::now(&mut tx, context.clock.now()).await?;
    let until = until.unwrap_or(now);
    if since.is_some_and(|since| until <= since) {
        return Err(Usage("--until must be later than --since".into()).into());
    }
    let known = match endpoint {
        Some(id) => {
            endpoints::get(&mut tx, id).await?.map(|known| known.spec.environment.to_string())
        }
        None => None,
    };
    let environment = match (endpoint, known, environment) {
        (Some(_), Some(known), said) if said.as_ref().is_none_or(|said| *said == known) => known,
        (Some(endpoint), _, _) => anyhow::bail!("there is no endpoint {endpoint}"),
        (None, _, Some(environment)) => environment,
        (None, _, None) => {
            return Err(Usage("--environment or --endpoint must say where".into()).into());
        }
    };
    let id = RecoveryId(context.clock.new_id());
    let filter = Filter { environment, endpoint, event_type, since, until };
    let recovery = recoveries::create(&mut tx, id, filter, now).await?;
    tx.commit().await.map_err(store::Error::from)?;
    output.thing(&json!(recovery), |_| {
        format!("{id}: the daemon makes them due; `message list --status pending` shows them")
    });
    Ok(Ending::Clean)
}

/// Calls a recovery off.
async fn end(context: &Context, id: RecoveryId, output: Output) -> anyhow::Result<Ending> {
    let unknown = || anyhow::anyhow!("there is no recovery {id}");
    let db = context.db().await?;
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let now = store::now(&mut tx, context.clock.now()).await?;
    let canceled = recoveries::cancel(&mut tx, None, id, now).await?;
    let recovery = recoveries::get(&mut tx, None, id).await?.ok_or_else(unknown)?;
    if !canceled {
        anyhow::bail!("{id} does not run: it is {}", recovery.status);
    }
    tx.commit().await.map_err(store::Error::from)?;
    output.thing(&json!(recovery), |_| format!("{id} is called off; what it made due stays due"));
    Ok(Ending::Clean)
}
