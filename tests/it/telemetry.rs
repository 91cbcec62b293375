//! The metrics' catalogue against what the code measures.

use crate::{
    http::client::Request,
    support::{
        receiver::Receiver,
        services::{broker, postgres, sqlite},
        wait::eventually,
        world::World,
    },
};
use customer_sync::telemetry::CATALOGUE;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn every_metric_that_is_measured_is_in_the_catalogue_and_the_other_way_round() {
    let mut measured = BTreeSet::new();
    for file in files(Path::new("src")) {
        if file.ends_with("catalogue.rs") {
            continue;
        }
        let text = std::fs::read_to_string(file).expect("a source file can be read");
        for metric in ["counter!(", "gauge!(", "histogram!("] {
            for (_, rest) in text.split(metric).skip(1).filter_map(|rest| rest.split_once('"')) {
                let name = rest.split('"').next().unwrap_or_default();
                measured.extend(name.starts_with("customer_sync_").then(|| name.to_owned()));
            }
        }
    }
    let described: BTreeSet<_> = CATALOGUE.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(measured, described);
    assert_eq!(described.len(), CATALOGUE.len(), "none twice");
}

const SETTINGS: &str = r#"
    [http]
    metrics_public = true
    [[sources]]
    name = "app"
    provider = "canonical"
    environment = "test"
    secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    [[sources]]
    name = "paystack"
    provider = "stripe"
    environment = "test"
    secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    [webhooks]
    allow_http = true
    allow_networks = ["127.0.0.0/8"]
    [[endpoints]]
    name = "app"
    environment = "test"
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"#;

const CUSTOMER: &str = r#"{"id": "evt_1", "type": "customer.recorded", "occurred_at": "2026-01-01T00:00:00Z",
    "data": {"external_id": "ada", "customer": {"name": "Ada"}}}"#;

/// The value of one series, given as Prometheus writes it.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(&format!("{series} ")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn a_daemon_measures_what_passes_through_it() {
    for broker in [None, Some(broker())] {
        let database = if broker.is_some() { postgres().await } else { sqlite().await };
        let receiver = Receiver::start().await;
        let settings = format!("{SETTINGS}url = '{}'\n", receiver.url("/hook"));
        let world = World::new(&database, &settings);
        let world = match &broker {
            Some(broker) => world.with_broker(broker),
            None => world,
        };
        let mut daemon = world.start().await;
        let body = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(body.path(), CUSTOMER).expect("written");
        let (path, url) = (body.path().display().to_string(), daemon.url("/"));
        let sent = world.run(&["send", "app", &path, "--via", "http", "--url", &url]).await;
        assert!(sent.status.success(), "{sent:?}");
        for path in ["/ingest/app", "/ingest/nobody"] {
            assert!(Request::post(path, b"{}").send(daemon.address).await.status >= 400);
        }
        let rendered = async || {
            let answer = Request::get("/metrics").send(daemon.address).await;
            assert_eq!(answer.status, 200);
            answer.text
        };
        let queue = if broker.is_some() { "intake" } else { "embedded" };
        let delivered = |text: &String| {
            // At a broker it is measured once it has been declared.
            text.contains(&format!("customer_sync_queue_events{{queue=\"{queue}\"}}"))
                && text.lines().any(|line| {
                    line.starts_with("customer_sync_deliveries_total{endpoint=\"whe_")
                        && line.ends_with("outcome=\"delivered\"} 1")
                })
        };
        let text = eventually("it is delivered and measured", rendered, delivered).await;
        for (series, expected) in [
            (r#"customer_sync_events_total{source="app",verdict="applied"}"#.to_owned(), 1.0),
            (r#"customer_sync_events_total{source="paystack",verdict="dead"}"#.to_owned(), 0.0),
            (r#"customer_sync_event_lag_seconds_count{source="app"}"#.to_owned(), 1.0),
            (r#"customer_sync_ingest_requests_total{outcome="accepted",source="app"}"#.to_owned(), 1.0),
            (r#"customer_sync_ingest_requests_total{outcome="unverified",source="app"}"#.to_owned(), 1.0),
            (r#"customer_sync_ingest_requests_total{outcome="unknown_source",source="unknown source"}"#.to_owned(), 1.0),
            (r#"customer_sync_http_requests_total{method="POST",route="/ingest/{source}",status="202"}"#.to_owned(), 1.0),
            (format!("customer_sync_intake_commit_duration_seconds_count{{queue=\"{queue}\"}}"), 1.0),
            (format!("customer_sync_queue_events{{queue=\"{queue}\"}}"), 0.0),
            ("customer_sync_outbox_oldest_due_seconds".to_owned(), 0.0),
            (r#"customer_sync_dependency_up{dependency="database"}"#.to_owned(), 1.0),
        ] {
            assert_eq!(value(&text, &series), Some(expected), "{series}\n{text}");
        }
        let now = customer_sync::clock::Clock::system().now().seconds();
        let last = |text: &str, source: &str| {
            let series =
                format!("customer_sync_last_event_timestamp_seconds{{source=\"{source}\"}}");
            value(text, &series).map_or(0, |last| format!("{last:.0}").parse().expect("whole"))
        };
        let heard = last(&text, "app");
        assert!((0..60).contains(&(now - heard)), "{text}");
        // Nothing came from it since the process began.
        let silent = last(&text, "paystack");
        assert!((0..600).contains(&(now - silent)), "{text}");
        for asked in asked_for(&["deploy/alerts.yml", "deploy/grafana/dashboard.json"]) {
            let is_here = broker.is_some() || !asked.metric.starts_with("customer_sync_broker");
            assert!(asked.is_in(&text) || !is_here, "no series has {asked:?}\n{text}");
        }
        daemon.signal("TERM");
        assert_eq!(daemon.ended().await.code(), Some(0));
        // RabbitMQ's client calls the end of every channel an error.
        let errors = daemon.log().lines().filter(|line| line.contains("ERROR")).count();
        assert_eq!(errors, 0, "{}", daemon.log());

        // A restart does not forget: an alarm on silence would begin anew with each.
        let daemon = world.start().await;
        let text = Request::get("/metrics").send(daemon.address).await.text;
        assert_eq!(last(&text, "app"), heard, "{text}");
        assert!(last(&text, "paystack") >= silent, "{text}");
        assert_eq!(daemon.stop().await.code(), Some(0));
    }
}

/// A value of a metric's label that somebody asks for in PromQL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Asked {
    metric: String,
    label: String,
    value: String,
}

impl Asked {
    fn is_in(&self, text: &str) -> bool {
        let Self { metric, label, value } = self;
        let pair = format!("{label}=\"{value}\"");
        text.lines().any(|line| {
            let of_it = line.strip_prefix(metric.as_str()).and_then(|rest| rest.strip_prefix('{'));
            of_it
                .and_then(|rest| rest.split_once('}'))
                .is_some_and(|(labels, _)| labels.split(',').any(|one| one == pair))
        })
    }
}

/// What files ask for. Codes of HTTP by a pattern (`5..`) are left out: which come is up to what happens.
fn asked_for(files: &[&str]) -> BTreeSet<Asked> {
    let mut all = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("it can be read").replace("\\\"", "\"");
        for (at, _) in text.match_indices("customer_sync_") {
            let Some((metric, rest)) = text[at..].split_once('{') else { continue };
            if !metric.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                continue;
            }
            let (matchers, _) = rest.split_once('}').expect("it is closed");
            for matcher in matchers.split(',') {
                let (left, value) = matcher.trim().split_once('"').expect("a value");
                let label = left.trim_end_matches(['=', '~', '!']);
                let value = value.strip_suffix('"').expect("its end");
                for value in value.split('|').filter(|value| !value.contains('.')) {
                    let (metric, label, value) = (metric.into(), label.into(), value.into());
                    all.insert(Asked { metric, label, value });
                }
            }
        }
    }
    assert!(all.len() >= 8, "{all:?}");
    all
}

/// Alerts and dashboard group and choose by labels that there are; that their values are told is looked at above.
#[test]
fn alerts_and_dashboard_ask_for_labels_that_their_metrics_have() {
    let files = ["deploy/alerts.yml", "deploy/grafana/dashboard.json"];
    for Asked { metric, label, .. } in asked_for(&files) {
        let known = CATALOGUE.iter().find(|one| metric.starts_with(one.name)).expect("a metric");
        assert!(known.labels.contains(&label.as_str()), "{metric} has no {label}");
    }
    let known: BTreeSet<&str> = CATALOGUE
        .iter()
        .flat_map(|metric| metric.labels.iter().copied())
        .chain(["instance", "le"])
        .collect();
    for file in files {
        let text = std::fs::read_to_string(file).expect("it can be read");
        let mut groups = 0;
        for group in text.split("by (").skip(1).filter_map(|rest| rest.split(')').next()) {
            groups += 1;
            assert!(group.split(", ").all(|label| known.contains(label)), "{file}: by ({group})");
        }
        assert!(groups >= 10, "{file}");
    }
}
