//! `config check` and `config show`.

use super::{Context, Ending, output};
use crate::{cli::output::Output, daemon};
use clap::Subcommand;
use serde_json::{Value, json};
use std::fmt::Write as _;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether the settings are good; exit 78 if not
    Check {
        #[command(flatten)]
        output: Output,
    },
    /// Print the settings that count, secrets masked, and what set them
    Show {
        #[command(flatten)]
        output: Output,
    },
}

impl ConfigCommand {
    /// Loading has checked all that the settings say by themselves.
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let config = &context.config;
        daemon::declared_endpoints(config)?;
        match self {
            Self::Check { output } => {
                let (sources, endpoints) = (config.sources.len(), config.endpoints.len());
                let checked = json!({"ok": true, "sources": sources, "endpoints": endpoints});
                output.thing(&checked, |_| {
                    format!(
                        "the settings are good: sources {sources}, declared endpoints {endpoints}"
                    )
                });
            }
            Self::Show { output: Output { json: true } } => {
                let mut shown = config.show().clone();
                shown.insert("origins".into(), json!(config.origins()));
                output::json(&shown);
            }
            Self::Show { .. } => output::line(as_toml(context).trim_end()),
        }
        Ok(Ending::Clean)
    }
}

/// One `key = value` line each under its section; what is no default says what set it.
fn as_toml(context: &Context) -> String {
    let mut text = String::new();
    for (section, value) in context.config.show() {
        match value {
            Value::Object(values) if values.values().all(Value::is_object) => {
                for (name, inner) in values {
                    write_section(&mut text, &format!("{section}.{name}"), inner, context);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let _ = writeln!(text, "[[{section}]]");
                    write_values(&mut text, &format!("{section}[{index}]"), item, context);
                }
            }
            other => write_section(&mut text, section, other, context),
        }
    }
    text
}

fn write_section(text: &mut String, name: &str, value: &Value, context: &Context) {
    let _ = writeln!(text, "[{name}]");
    write_values(text, name, value, context);
}

fn write_values(text: &mut String, section: &str, values: &Value, context: &Context) {
    let values = values.as_object().into_iter().flatten();
    for (key, value) in values {
        let path = format!("{section}.{key}");
        let written =
            toml::Value::try_from(value).map_or_else(|_| value.to_string(), |v| v.to_string());
        let origin = context.config.origin_of(&path);
        let note = if origin == "default" { String::new() } else { format!("  # {origin}") };
        let _ = writeln!(text, "{key} = {written}{note}");
    }
    text.push('\n');
}
