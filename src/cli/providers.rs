//! `providers`: whose webhooks can be read, from the code itself.

use super::{
    Ending, Usage,
    output::{self, Output},
};
use crate::provider::about::{self, Row};
use clap::Args;
use serde_json::Value;

#[derive(Debug, Args)]
pub(super) struct Providers {
    /// The one provider to tell all of
    name: Option<String>,
    #[command(flatten)]
    output: Output,
    /// Print the table of docs/events.md
    #[arg(long, conflicts_with_all = ["name", "json"])]
    markdown: bool,
}

impl Providers {
    pub(super) fn run(self) -> anyhow::Result<Ending> {
        if self.markdown {
            output::line(about::markdown().trim_end());
            return Ok(Ending::Clean);
        }
        let all = about::all();
        let Some(name) = self.name else {
            let rows: Vec<Value> = all.iter().map(Row::json).collect();
            let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
            self.output.list(&rows, false, ["NAME", "KIND", "PROOF"], |row| {
                [word(row, "name"), word(row, "kind"), word(row, "proof").replace('`', "")]
            });
            return Ok(Ending::Clean);
        };
        let Some(row) = all.iter().find(|row| row.name == name) else {
            let known: Vec<_> = all.iter().map(|row| row.name).collect();
            let text = format!("{name} is no provider; known are {}", known.join(", "));
            return Err(Usage(text).into());
        };
        self.output.thing(&row.json(), |_| text(row));
        Ok(Ending::Clean)
    }
}

fn text(row: &Row) -> String {
    let mut fields = vec![
        ("provider", row.name.to_owned()),
        ("kind", row.kind().to_owned()),
        ("proof", row.proof()),
        ("event id", row.id().to_owned()),
        ("time", row.time().to_owned()),
        ("user id", row.places()),
        ("setup", row.setup().to_owned()),
    ];
    for (_, value) in &mut fields {
        *value = value.replace('`', "");
    }
    let types = row.types().iter().map(|(types, asserts)| format!("{types}\n    {asserts}"));
    let types: Vec<_> = types.collect();
    format!("{}\n\n{}", output::fields(&fields), types.join("\n")).replace('`', "")
}
