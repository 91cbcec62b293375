//! `key create|list|revoke`.

use super::{
    Context, Ending, Usage,
    output::{self, Output, or_dash},
};
use crate::{
    config::is_environment,
    keyring,
    model::{id::KeyId, key::Scope, secret::Secret},
    store::{self, keys},
};
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key; it is shown once
    Create {
        /// The only environment that it will see
        #[arg(long, value_name = "NAME")]
        environment: String,
        /// What it may do: read, write or admin
        #[arg(long, value_parser = scope)]
        scope: Scope,
        /// What to call it
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// List keys, revoked ones too
    List {
        /// Of one environment only
        #[arg(long, value_name = "NAME")]
        environment: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Revoke a key for good
    Revoke {
        /// Its id, key_…
        id: KeyId,
        #[command(flatten)]
        output: Output,
    },
}

fn scope(text: &str) -> Result<Scope, &'static str> {
    Scope::from_name(text).ok_or("expected read, write or admin")
}

impl KeyCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        match self {
            Self::Create { environment, scope, name, output } => {
                create(context, environment, scope, name, output).await
            }
            Self::List { environment, output } => list(context, environment, output).await,
            Self::Revoke { id, output } => revoke(context, id, output).await,
        }
    }
}

async fn create(
    context: &Context,
    environment: String,
    scope: Scope,
    name: Option<String>,
    output: Output,
) -> anyhow::Result<Ending> {
    if !is_environment(&environment) {
        return Err(Usage(format!("`{environment}` cannot name an environment")).into());
    }
    let db = context.db().await?;
    let id = KeyId(context.clock.new_id());
    let created_at = context.clock.now();
    let new = keys::NewKey {
        id,
        environment: environment.clone(),
        scope,
        name: name.clone(),
        token: Secret::new(keyring::new_token()),
        created_at,
    };
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let key = keys::create(&mut tx, new).await?;
    tx.commit().await.map_err(store::Error::from)?;
    let shown = json!({
        "object": "api_key", "id": id, "key": key.expose(), "environment": environment,
        "scope": scope, "name": name, "created_at": created_at.to_millis_text(),
    });
    output.thing(&shown, |_| {
        let fields = output::fields(&[
            ("key", key.expose().into()),
            ("id", id.to_string()),
            ("environment", environment.clone()),
            ("scope", scope.as_str().into()),
            ("name", name.clone().unwrap_or_default()),
        ]);
        format!("{fields}\n\nThe key is shown this once.")
    });
    Ok(Ending::Clean)
}

async fn list(
    context: &Context,
    environment: Option<String>,
    output: Output,
) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.snapshot().await.map_err(store::Error::from)?;
    let all = keys::list(&mut tx, environment.as_deref()).await?;
    let heads = ["ID", "ENVIRONMENT", "SCOPE", "KEY", "NAME", "LAST USED", "STATE"];
    output.list(&all, false, heads, |key| {
        [
            key.id.to_string(),
            key.environment.clone(),
            key.scope.as_str().into(),
            key.hint.clone(),
            or_dash(key.name.as_ref()),
            or_dash(key.last_used_at.map(crate::model::time::Timestamp::to_millis_text)),
            if key.revoked_at.is_some() { "revoked" } else { "good" }.into(),
        ]
    });
    Ok(Ending::Clean)
}

async fn revoke(context: &Context, id: KeyId, output: Output) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let revoked = keys::revoke(&mut tx, id, context.clock.now()).await?;
    tx.commit().await.map_err(store::Error::from)?;
    if !revoked {
        anyhow::bail!("there is no key {id} that could be revoked");
    }
    output.thing(&json!({"id": id, "revoked": true}), |_| format!("{id} is revoked"));
    Ok(Ending::Clean)
}
