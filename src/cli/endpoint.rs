//! `endpoint create|list|rotate|test|enable|disable|delete`.

use super::{
    Context, Ending, Usage, message,
    output::{self, Output, or_dash},
};
use crate::{
    config::is_environment,
    daemon,
    deliver::{
        manage::{self, Refused},
        sealed::OVERLAP,
        trial::Tester,
    },
    model::{
        endpoint::{Endpoint, EndpointSettings, EndpointSpec, SignatureStyle},
        id::EndpointId,
        secret::Secret,
        time::Timestamp,
    },
    store::{self, Tx, endpoints},
};
use chrono::TimeDelta;
use clap::{Args, Subcommand};
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum EndpointCommand {
    /// Make an endpoint; its secret is shown once
    Create(Create),
    /// List endpoints
    List {
        /// Of one environment only
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Give an endpoint a new secret, which is shown once; the old one signs beside it for a while
    Rotate {
        /// Its id, whe_…
        id: EndpointId,
        /// For how many hours the old one signs on: 0 to 168
        #[arg(long, value_name = "HOURS", default_value_t = OVERLAP.num_hours(),
            value_parser = clap::value_parser!(i64).range(0..=168))]
        overlap: i64,
        #[command(flatten)]
        output: Output,
    },
    /// Send an endpoint a `webhook.test`, and show what came of it
    Test {
        /// Its id, whe_…
        id: EndpointId,
        #[command(flatten)]
        output: Output,
    },
    /// Switch an endpoint on: what waited for it goes out
    Enable {
        /// Its id, whe_…
        id: EndpointId,
        #[command(flatten)]
        output: Output,
    },
    /// Switch an endpoint off: what waits for it goes on waiting, and nothing is added
    Disable {
        /// Its id, whe_…
        id: EndpointId,
        /// Why, for whoever looks at it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Delete an endpoint for good: what waits for it is called off
    Delete {
        /// Its id, whe_…
        id: EndpointId,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Whose events it is sent
    #[arg(long, value_name = "NAME")]
    environment: String,
    /// Where to
    #[arg(long)]
    url: String,
    /// The types it is sent: `*`, `payment.*`, or exact ones
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', default_value = "*")]
    events: Vec<String>,
    /// What to call it; its environment has one of a name
    #[arg(long)]
    name: Option<String>,
    /// A text for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A further header, may be given again
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = super::pair)]
    headers: Vec<(String, String)>,
    /// How many requests a second it is sent at most
    #[arg(long, value_name = "COUNT")]
    rate_limit: Option<u32>,
    /// Keep each customer's messages in the order of its versions
    #[arg(long)]
    ordered: bool,
    /// How it is signed: standard, timestamped or sha256
    #[arg(long, value_name = "STYLE", default_value = "standard", value_parser = style)]
    signature_style: SignatureStyle,
    /// The header that the latter two sign in
    #[arg(long, value_name = "NAME")]
    signature_header: Option<String>,
    /// Sign by ed25519 too
    #[arg(long)]
    ed25519: bool,
    #[command(flatten)]
    output: Output,
}

fn style(text: &str) -> Result<SignatureStyle, &'static str> {
    SignatureStyle::from_name(text).ok_or("expected standard, timestamped or sha256")
}

impl EndpointCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List { environment, output } => list(context, environment, output).await,
            Self::Rotate { id, overlap, output } => {
                rotate(context, id, TimeDelta::hours(overlap), output).await
            }
            Self::Test { id, output } => test(context, id, output).await,
            Self::Enable { id, output } => switch(context, id, (true, None), output).await,
            Self::Disable { id, reason, output } => {
                switch(context, id, (false, reason.as_deref()), output).await
            }
            Self::Delete { id, output } => delete(context, id, output).await,
        }
    }
}

/// What an endpoint's owner asks for wrongly is a wrong call.
fn told(refused: Refused) -> anyhow::Error {
    match refused {
        Refused::Invalid(invalid) => Usage(invalid.to_string()).into(),
        refused => refused.into(),
    }
}

/// The database's time, which ends and due times compare with.
async fn now(context: &Context, tx: &mut Tx) -> anyhow::Result<Timestamp> {
    Ok(store::now(tx, context.clock.now()).await?)
}

fn state(endpoint: &Endpoint) -> String {
    match (&endpoint.disabled_reason, endpoint.enabled) {
        (_, true) => "enabled".to_owned(),
        (Some(reason), false) => format!("disabled: {reason}"),
        (None, false) => "disabled".to_owned(),
    }
}

/// An endpoint with its secret, which is shown this once.
fn show_secret(endpoint: &Endpoint, secret: &Secret, output: Output) {
    let mut shown = json!(endpoint);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("secret".into(), secret.expose().into());
    }
    output.thing(&shown, |_| {
        let keys = endpoint.secrets.iter().filter_map(|term| term.public_key.clone());
        let fields = output::fields(&[
            ("secret", secret.expose().into()),
            ("public keys", keys.collect::<Vec<_>>().join(", ")),
            ("id", endpoint.id.to_string()),
            ("environment", endpoint.spec.environment.to_string()),
            ("url", endpoint.spec.url.clone()),
            ("events", endpoint.spec.event_types.join(", ")),
        ]);
        format!("{fields}\n\nThe secret is shown this once.")
    });
}

async fn rotate(
    context: &Context,
    id: EndpointId,
    overlap: TimeDelta,
    output: Output,
) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let keyring = context.keyring(&db).await?;
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let now = now(context, &mut tx).await?;
    let rotated = manage::rotate(&mut tx, &keyring, (None, id), (None, overlap), now).await;
    let (endpoint, secret) = rotated.map_err(told)?;
    tx.commit().await.map_err(store::Error::from)?;
    show_secret(&endpoint, &secret, output);
    Ok(Ending::Clean)
}

async fn test(context: &Context, id: EndpointId, output: Output) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let keyring = context.keyring(&db).await?;
    let settings = daemon::deliver_settings(&context.config);
    let tester = Tester::new(db, keyring, context.clock.clone(), settings)?;
    let (id, attempt) = tester.send(None, id, None).await?;
    let good = attempt.outcome.as_deref() == Some("delivered");
    let shown = json!({"message_id": id, "attempt": attempt});
    output.thing(&shown, |_| format!("{id}  {}", message::tried(&attempt)));
    Ok(Ending::clean_if(good))
}

async fn switch(
    context: &Context,
    id: EndpointId,
    (enabled, reason): (bool, Option<&str>),
    output: Output,
) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let keyring = context.keyring(&db).await?;
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let now = now(context, &mut tx).await?;
    let switched = manage::set_enabled(&mut tx, &keyring, (None, id), (enabled, reason), now).await;
    let endpoint = switched.map_err(told)?;
    tx.commit().await.map_err(store::Error::from)?;
    output.thing(&json!(endpoint), |_| format!("{id} is {}", state(&endpoint)));
    Ok(Ending::Clean)
}

async fn delete(context: &Context, id: EndpointId, output: Output) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let now = now(context, &mut tx).await?;
    manage::delete(&mut tx, (None, id), now).await.map_err(told)?;
    tx.commit().await.map_err(store::Error::from)?;
    let shown = json!({"object": "webhook_endpoint", "id": id, "deleted": true});
    output.thing(&shown, |_| format!("{id} is deleted; what waited for it is called off"));
    Ok(Ending::Clean)
}

impl Create {
    async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        if !is_environment(&self.environment) {
            let environment = &self.environment;
            return Err(Usage(format!("`{environment}` cannot name an environment")).into());
        }
        let headers = self.headers.into_iter().map(|(name, value)| (name, Secret::new(value)));
        let spec = EndpointSpec {
            environment: self.environment.into(),
            name: self.name,
            url: self.url,
            description: self.description,
            event_types: self.events,
            headers: headers.collect(),
            settings: EndpointSettings {
                rate_limit: self.rate_limit,
                ordered: self.ordered,
                signature_style: self.signature_style,
                signature_header: self.signature_header,
                ed25519: self.ed25519,
                ..EndpointSettings::default()
            },
        };
        let guard = daemon::guard(&context.config);
        let db = context.db().await?;
        let keyring = context.keyring(&db).await?;
        let id = EndpointId(context.clock.new_id());
        let mut tx = db.begin().await.map_err(store::Error::from)?;
        let now = context.clock.now();
        let made = manage::create(&mut tx, (&keyring, &guard), id, &spec, None, now).await;
        let (endpoint, secret) = made.map_err(|refused| match refused {
            Refused::NameTaken => anyhow::anyhow!(
                "the environment {} has an endpoint named {} already",
                spec.environment,
                spec.name.clone().unwrap_or_default()
            ),
            refused => told(refused),
        })?;
        tx.commit().await.map_err(store::Error::from)?;
        show_secret(&endpoint, &secret, self.output);
        Ok(Ending::Clean)
    }
}

async fn list(
    context: &Context,
    environment: Option<String>,
    output: Output,
) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.snapshot().await.map_err(store::Error::from)?;
    let all = endpoints::list(&mut tx, environment.as_deref()).await?;
    let now = now(context, &mut tx).await?;
    let heads = ["ID", "ENVIRONMENT", "NAME", "URL", "EVENTS", "STATE"];
    output.list(&all, false, heads, |endpoint| {
        [
            endpoint.id.to_string(),
            endpoint.spec.environment.to_string(),
            or_dash(endpoint.spec.name.as_ref()),
            endpoint.spec.url.clone(),
            endpoint.spec.event_types.join(","),
            if endpoint.enabled && endpoint.standing.is_held(now) {
                format!("left alone ({})", endpoint.standing.breaker.as_str())
            } else {
                state(endpoint)
            },
        ]
    });
    Ok(Ending::Clean)
}
