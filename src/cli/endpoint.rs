//! `endpoint create|list`.

use super::{
    Context, Ending, Usage,
    output::{self, Output, or_dash},
};
use crate::{
    config::is_environment,
    daemon,
    deliver::{sealed, signature::new_secret, spec},
    model::{endpoint::EndpointSpec, id::EndpointId, secret::Secret},
    store::{self, endpoints},
};
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
    #[command(flatten)]
    output: Output,
}

impl EndpointCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List { environment, output } => list(context, environment, output).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let Self { environment, url, events, name, description, headers, output } = self;
        if !is_environment(&environment) {
            return Err(Usage(format!("`{environment}` cannot name an environment")).into());
        }
        let headers = headers.into_iter().map(|(name, value)| (name, Secret::new(value)));
        let spec = EndpointSpec {
            environment: environment.into(),
            name,
            url,
            description,
            event_types: events,
            headers: headers.collect(),
            ..EndpointSpec::default()
        };
        spec::check(&spec, &daemon::guard(&context.config))
            .map_err(|invalid| Usage(invalid.to_string()))?;
        let db = context.db().await?;
        let keyring = context.keyring(&db).await?;
        let secret = new_secret();
        let id = EndpointId(context.clock.new_id());
        let mut tx = db.begin().await.map_err(store::Error::from)?;
        let now = context.clock.now();
        let made =
            endpoints::create(&mut tx, id, &spec, sealed::seal(&keyring, &secret), now).await?;
        tx.commit().await.map_err(store::Error::from)?;
        let Some(endpoint) = made else {
            let name = spec.name.unwrap_or_default();
            anyhow::bail!(
                "the environment {} has an endpoint named {name} already",
                spec.environment
            );
        };
        let mut shown = json!(endpoint);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("secret".into(), secret.expose().into());
        }
        output.thing(&shown, |_| {
            let fields = output::fields(&[
                ("secret", secret.expose().into()),
                ("id", endpoint.id.to_string()),
                ("environment", endpoint.spec.environment.to_string()),
                ("url", endpoint.spec.url.clone()),
                ("events", endpoint.spec.event_types.join(", ")),
            ]);
            format!("{fields}\n\nThe secret is shown this once.")
        });
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
    let heads = ["ID", "ENVIRONMENT", "NAME", "URL", "EVENTS", "STATE"];
    output.list(&all, false, heads, |endpoint| {
        let state = match (&endpoint.disabled_reason, endpoint.enabled) {
            (_, true) => "enabled".to_owned(),
            (Some(reason), false) => format!("disabled: {reason}"),
            (None, false) => "disabled".to_owned(),
        };
        [
            endpoint.id.to_string(),
            endpoint.spec.environment.to_string(),
            or_dash(endpoint.spec.name.as_ref()),
            endpoint.spec.url.clone(),
            endpoint.spec.event_types.join(","),
            state,
        ]
    });
    Ok(Ending::Clean)
}
