//! What operators are given: the metrics' table, the alerts, the dashboard, the runbook. They name what there is,
//! and nothing else.

use crate::support::services::on_both;
use bytes::Bytes;
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    model::{
        endpoint::{EndpointSpec, SealedSecret},
        id::EndpointId,
        inbound::{Headers, Raw},
        time::Timestamp,
    },
    store::{
        backlog::{Backlog, backlog},
        endpoints,
        inbox::{self, Latest},
        messages::{self, NewEvent, NewMessage},
        queue,
    },
    telemetry::{CATALOGUE, Kind},
};
use std::{
    collections::{BTreeSet, HashMap},
    process::Command,
};

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn operations() -> String {
    read("docs/operations.md")
}

#[test]
fn the_table_of_metrics_is_the_catalogue() {
    let text = operations();
    let documented: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| `customer_sync_")).collect();
    let catalogue: Vec<String> = CATALOGUE
        .iter()
        .map(|metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.text)
        })
        .collect();
    assert_eq!(documented, catalogue);
}

/// The names of our metrics that a text speaks of.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.match_indices("customer_sync_")
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

fn is_measured(name: &str) -> bool {
    CATALOGUE.iter().any(|metric| match name.strip_prefix(metric.name) {
        Some("") => true,
        Some("_bucket" | "_sum" | "_count") => metric.kind == Kind::Histogram,
        _ => false,
    })
}

#[test]
fn alerts_dashboard_and_runbook_name_only_metrics_that_are_measured() {
    for path in ["deploy/alerts.yml", "deploy/grafana/dashboard.json", "docs/operations.md"] {
        let mut named = metrics_in(&read(path));
        assert!(named.len() >= 10, "{path}: {named:?}");
        named.retain(|name| !is_measured(name));
        assert_eq!(named, BTreeSet::new(), "{path}");
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let shown = metrics_in(&read("deploy/grafana/dashboard.json"));
    let is_shown = |name: &str| shown.iter().any(|one| one.starts_with(name));
    let missing: Vec<_> =
        CATALOGUE.iter().map(|metric| metric.name).filter(|name| !is_shown(name)).collect();
    assert_eq!(missing, [] as [&str; 0]);
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_a_test_that_fires_it() {
    let names = |text: &str, before: &str| -> BTreeSet<String> {
        let after = text.lines().filter_map(|line| line.trim_start().strip_prefix(before));
        after.map(str::to_owned).collect()
    };
    let alerts = names(&read("deploy/alerts.yml"), "- alert: ");
    let mut sections = names(&operations(), "### ");
    sections.retain(|section| section.starts_with("CustomerSync"));
    assert_eq!(alerts, sections);
    let tests = read("deploy/alerts.test.yml");
    for alert in &alerts {
        let of_it = format!("alertname: {alert}\n        exp_alerts:");
        let fires = tests.split(&of_it).skip(1).any(|rest| rest.starts_with('\n'));
        assert!(fires, "{alert} fires in no test");
        assert!(tests.contains(&format!("{of_it} []")), "{alert} is silent in no test");
    }
}

#[test]
fn the_containers_settings_are_good_and_hold_no_secret() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (file, variables) in [
        ("deploy/customer-sync.toml", &["APP_SECRET", "RECEIVER_SECRET"][..]),
        ("deploy/receiver.toml", &["RECEIVER_SECRET"]),
    ] {
        let check = |variables: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_customer-sync"));
            let set = variables.iter().map(|name| (name, SECRET));
            command.env_clear().envs(set).args(["--config", file, "config", "check"]);
            command.output().expect("the program runs")
        };
        let good = check(variables);
        assert!(good.status.success(), "{file}: {}", String::from_utf8_lossy(&good.stderr));
        assert_eq!(check(&[]).status.code(), Some(78), "{file} names its secrets, and has none");
        let compose = read("docker-compose.yml");
        assert!(variables.iter().all(|name| compose.contains(&format!("${{{name}-}}"))));
    }
}

#[test]
fn the_runbook_needs_no_sql_and_its_commands_are_commands() {
    let text = operations();
    assert!(!text.contains("```sql"), "there is a command for what is to be done");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_word = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase());
    let named = text.split("`customer-sync ").skip(1).filter_map(|rest| rest.split('`').next());
    let commands: BTreeSet<Vec<&str>> =
        named.map(|command| command.split(' ').take_while(is_word).take(2).collect()).collect();
    assert!(commands.len() >= 15, "{commands:?}");
    for command in commands {
        let mut program = Command::new(env!("CARGO_BIN_EXE_customer-sync"));
        let help = program.args(&command).arg("--help").output().expect("the program runs");
        assert!(help.status.success(), "customer-sync {command:?} is no command");
    }
}

#[tokio::test]
async fn the_backlog_is_what_waits_and_for_how_long_it_has_been_due() {
    on_both(async |database| {
        let clock = Clock::system();
        let mut tx = database.db.begin().await.expect("a transaction");
        let nothing = Backlog { queued: 0, pending: 0, overdue_micros: 0 };
        assert_eq!(backlog(&mut tx, clock.now()).await.expect("read"), nothing);

        let raw = Raw {
            source: "app".into(),
            headers: Headers::default(),
            body: "{}".into(),
            received_at: None,
            queue_id: None,
            dead: None,
        };
        let now = clock.now();
        let entry = || queue::Entry { id: clock.new_id(), received_at: now, raw: &raw };
        queue::push(&mut tx, &[entry(), entry(), entry()]).await.expect("queued");

        // Two of an endpoint that takes messages, one due for an hour and one not yet; one of another that does not.
        let endpoint = async |tx: &mut _, enabled| {
            let id = EndpointId(clock.new_id());
            let spec = EndpointSpec {
                environment: "test".into(),
                url: "https://app.example/".into(),
                ..EndpointSpec::default()
            };
            let sealed = SealedSecret { sealed: "x".into(), until: None };
            let made = endpoints::create(tx, id, &spec, sealed, now).await.expect("made");
            assert!(made.is_some());
            endpoints::set_enabled(tx, id, enabled, None, now).await.expect("set");
            id
        };
        let (on, off) = (endpoint(&mut tx, true).await, endpoint(&mut tx, false).await);
        let event = NewEvent {
            id: clock.new_id(),
            environment: "test".into(),
            kind: "customer.created",
            customer_id: None,
            payment_id: None,
            subscription_id: None,
            version: None,
            body: "{}".into(),
            traceparent: None,
        };
        let message = |endpoint: EndpointId, late: TimeDelta| NewMessage {
            id: clock.new_id(),
            event_id: event.id,
            endpoint_id: endpoint.0,
            environment: "test".into(),
            customer_id: None,
            version: None,
            ordered: false,
            lease: None,
            leased_until: None,
            due_at: now.plus(-late),
            once: false,
        };
        let hour = TimeDelta::hours(1);
        let all = [message(on, hour), message(on, -hour), message(off, hour * 2)];
        messages::write(&mut tx, std::slice::from_ref(&event), &all, now).await.expect("written");
        let found = backlog(&mut tx, clock.now()).await.expect("read");
        assert_eq!((found.queued, found.pending), (3, 3));
        let overdue = TimeDelta::microseconds(found.overdue_micros);
        assert!(
            overdue >= hour - TimeDelta::seconds(5) && overdue < hour + TimeDelta::minutes(5),
            "{overdue}"
        );
    })
    .await;
}

#[tokio::test]
async fn when_sources_were_last_heard_of_is_found_among_the_newest_events() {
    on_both(async |database| {
        let clock = Clock::system();
        let mut tx = database.db.begin().await.expect("a transaction");
        let at = |seconds| Timestamp::from_seconds(1_700_000_000 + seconds).expect("a time");
        let nothing = inbox::latest(&mut tx, 3).await.expect("read");
        assert_eq!(nothing, Latest { received: HashMap::new(), since: None });
        for (second, source, verdict) in [
            (1, "shop", "applied"),
            (2, "app", "applied"),
            (4, "app", "ignored"),
            (3, "app", "applied"),
            (5, "app", "rejected"),
        ] {
            let id = clock.new_id();
            let row = inbox::Record {
                id,
                environment: Some("test".into()),
                source: source.into(),
                provider_event_id: None,
                dedupe_key: id.to_string(),
                kind: None,
                verdict,
                reason: None,
                notes: Vec::new(),
                verified: true,
                headers: Headers::default(),
                occurred_at: None,
                received_at: at(second),
                copies: 1,
                body: Bytes::new(),
            };
            inbox::record(&mut tx, &[row], at(second + 10)).await.expect("recorded");
        }
        let all = inbox::latest(&mut tx, 100).await.expect("read");
        let received = |all: &[(&str, i64)]| -> HashMap<String, Timestamp> {
            all.iter().map(|(source, second)| ((*source).to_owned(), at(*second))).collect()
        };
        assert_eq!(all.received, received(&[("app", 4), ("shop", 1)]));
        assert_eq!(all.since, None, "there are no older ones");
        let newest = inbox::latest(&mut tx, 3).await.expect("read");
        assert_eq!(newest.received, received(&[("app", 4)]));
        assert_eq!(newest.since, Some(at(13)), "what is older was received before that");
        assert!(inbox::knows(&mut tx, "shop").await.expect("read"));
        assert!(!inbox::knows(&mut tx, "clerk").await.expect("read"));
    })
    .await;
}

/// Who stops the containers keeps what they hold, and who starts the machine again has them again.
#[test]
fn containers_come_back_with_their_data() {
    let compose = read("docker-compose.yml");
    let services = compose.split("\nservices:\n").nth(1).expect("services");
    let services = services.split("\nvolumes:\n").next().expect("them alone");
    let mut names = Vec::new();
    for service in services.split("\n\n") {
        names.push(service.trim_start().split(':').next().unwrap_or_default());
        let comes_back =
            service.contains("restart: unless-stopped") || service.contains("*program");
        assert!(comes_back, "{service}");
    }
    let all = ["postgres", "rabbitmq", "daemon", "receiver", "prometheus", "grafana"];
    assert_eq!(names, all);
    let just = read("justfile");
    let down = just.split("\ndown:\n").nth(1).and_then(|rest| rest.lines().next());
    assert_eq!(down, Some("    docker compose down"));
}
