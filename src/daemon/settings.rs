//! From the configuration's words to what each room is set up with.

use super::housekeeping::Retention;
use crate::{
    config::{self, Config},
    deliver::{self, breaker::Policy, guard::Guard, schedule::Schedule, spec},
    intake::{self, batch},
    model::{
        endpoint::{EndpointSettings, EndpointSpec},
        secret::Secret,
    },
    pipeline::Sources,
    store::Limits,
    telemetry::trace,
};
use std::sync::Arc;

/// The configured sources by name.
///
/// # Errors
/// When one of them cannot be used.
pub fn sources(config: &Config) -> Result<Sources, config::Error> {
    Ok(config.sources()?.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect())
}

/// An endpoint as the configuration declares it.
#[derive(Clone, Debug)]
pub struct DeclaredEndpoint {
    /// What it is.
    pub spec: EndpointSpec,
    /// What signs, where that is said.
    pub secret: Option<Secret>,
    /// Whether it is sent anything, where that is said.
    pub enabled: Option<bool>,
}

/// The declared endpoints, each checked as one that is made by the API is.
///
/// # Errors
/// When one of them cannot be used.
pub fn declared_endpoints(config: &Config) -> Result<Vec<DeclaredEndpoint>, config::Error> {
    let guard = guard(config);
    let mut declared = Vec::with_capacity(config.endpoints.len());
    for (index, entry) in config.endpoints.iter().enumerate() {
        let refuse = |field: &str, reason: String| {
            config.refuse(&format!("endpoints[{index}].{field}"), reason)
        };
        let spec = EndpointSpec {
            environment: entry.environment.as_str().into(),
            name: Some(entry.name.clone()),
            url: entry.url.clone(),
            description: entry.description.clone(),
            event_types: entry.event_types.clone(),
            headers: entry.headers.clone(),
            settings: EndpointSettings {
                timeout_ms: entry
                    .timeout
                    .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
                schedule: entry
                    .schedule
                    .as_ref()
                    .map(|waits| waits.iter().map(std::time::Duration::as_secs).collect()),
                rate_limit: entry.rate_limit,
                ordered: entry.ordered,
                signature_style: entry.signature_style,
                signature_header: entry.signature_header.clone(),
                ed25519: entry.ed25519,
            },
        };
        spec::check(&spec, &guard).map_err(|invalid| {
            let field = if invalid.param == "timeout_ms" { "timeout" } else { invalid.param };
            refuse(field, invalid.why)
        })?;
        if let Some(secret) = &entry.secret {
            spec::check_secret(secret).map_err(|invalid| refuse(invalid.param, invalid.why))?;
        }
        declared.push(DeclaredEndpoint {
            spec,
            secret: entry.secret.clone(),
            enabled: entry.enabled,
        });
    }
    Ok(declared)
}

/// How long rows are kept.
pub fn retention(config: &Config) -> Retention {
    let kept = |span: std::time::Duration| {
        Some(span)
            .filter(|span| !span.is_zero())
            .and_then(|span| chrono::TimeDelta::from_std(span).ok())
    };
    let config::Retention { messages, attempts, inbox } = config.retention;
    Retention { messages: kept(messages), attempts: kept(attempts), inbox: kept(inbox) }
}

/// Which addresses webhooks may be sent to.
pub fn guard(config: &Config) -> Guard {
    Guard {
        allow_http: config.webhooks.allow_http,
        allow_networks: config.webhooks.allow_networks.clone(),
    }
}

/// How the database is used.
pub fn database_limits(config: &Config) -> Limits {
    let config::Database { connections, statement_timeout, .. } = config.database;
    Limits { connections, statement_timeout }
}

/// How webhooks go out.
pub fn deliver_settings(config: &Config) -> deliver::Settings {
    let webhooks = &config.webhooks;
    deliver::Settings {
        lease: webhooks.lease,
        timeout: webhooks.timeout,
        schedule: Schedule::new(webhooks.schedule.clone()),
        per_endpoint: webhooks.concurrency_per_endpoint,
        total: webhooks.concurrency,
        breaker: Policy {
            window: webhooks.breaker_window,
            tries: webhooks.breaker_tries,
            percent: webhooks.breaker_percent,
            pause: webhooks.breaker_pause,
            longest_pause: webhooks.breaker_longest_pause.max(webhooks.breaker_pause),
            slow: webhooks.slow_pause,
            longest_slow: webhooks.slow_longest_pause.max(webhooks.slow_pause),
            disable_after: Some(webhooks.disable_after)
                .filter(|after| !after.is_zero())
                .and_then(|after| chrono::TimeDelta::from_std(after).ok()),
        },
        guard: guard(config),
        grace: config.shutdown.grace / 2,
        ..deliver::Settings::default()
    }
}

fn batch(config: &Config) -> batch::Limits {
    batch::Limits { events: config.intake.batch_events, bytes: config.intake.batch_bytes }
}

/// How the embedded queue is read.
pub(super) fn embedded(config: &Config) -> intake::embedded::Settings {
    intake::embedded::Settings { batch: batch(config), ..intake::embedded::Settings::default() }
}

fn topology(config: &Config) -> intake::topology::Settings {
    let amqp = &config.amqp;
    intake::topology::Settings {
        exchange: amqp.exchange.clone(),
        queue: amqp.queue.clone(),
        dead_exchange: amqp.dead_exchange.clone(),
        dead_queue: amqp.dead_queue.clone(),
        declare: amqp.declare,
    }
}

/// How the broker is consumed, where one is set.
pub fn consumer_settings(config: &Config) -> Option<intake::rabbitmq::Settings> {
    let url = config.amqp_url()?;
    Some(intake::rabbitmq::Settings {
        topology: topology(config),
        prefetch: config.amqp.prefetch,
        batch: batch(config),
        ..intake::rabbitmq::Settings::new(url)
    })
}

/// How events are published, where a broker is set.
pub fn publisher_settings(config: &Config) -> Option<intake::publisher::Settings> {
    let url = config.amqp_url()?;
    Some(intake::publisher::Settings {
        topology: topology(config),
        ..intake::publisher::Settings::new(url)
    })
}

/// Where traces go.
pub fn trace_settings(config: &Config) -> trace::Settings {
    let traces = &config.traces;
    let headers = traces.headers.iter();
    trace::Settings {
        url: traces.url.clone(),
        headers: headers.map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
        sample_ratio: traces.sample_ratio,
    }
}
