//! `migrate`.

use super::{Context, Ending, output::Output};
use crate::{daemon, store::Db};
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    output: Output,
}

impl Migrate {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let config = &context.config;
        let db = Db::open_within(&config.database_url(), daemon::database_limits(config)).await?;
        db.migrate().await?;
        db.close().await;
        self.output.thing(&json!({"migrated": true}), |_| "the schema is up to date".into());
        Ok(Ending::Clean)
    }
}
