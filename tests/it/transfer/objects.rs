//! `import --source`: a provider's history as the objects of its API tell it, beside its webhooks.

use super::{ENVIRONMENT, import, json};
use crate::{
    history,
    support::{
        services::{TestDatabase, on_both, sqlite},
        world::World,
    },
};
use customer_sync::{
    pipeline::Pipeline,
    simulator::{Delivery, History, Options, Snapshot, differences},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What Stripe tells of one seed's history: its webhooks, and its objects as they stand in the end.
struct Stripe {
    options: Options,
    webhooks: Vec<Delivery>,
    objects: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Stripe {
    /// Without deletions: of an object that is gone the API says nothing more.
    fn play(seed: u64) -> Self {
        let environment = ENVIRONMENT.into();
        let options =
            Options { seed, events: 700, duplicates: 0.0, environment, ..Options::demo() };
        let mut objects: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        let mut webhooks = Vec::new();
        let mut failed: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        for delivery in History::generate(&options).deliveries {
            let event: Value = serde_json::from_slice(&delivery.body).unwrap_or_default();
            let is_ours = &*delivery.source == "stripe" && event["livemode"] == false;
            if !is_ours || event["type"] == "customer.deleted" {
                continue;
            }
            let object = &event["data"]["object"];
            let word = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
            match word("object").as_str() {
                "charge" => drop(failed.remove(&word("id"))),
                "refund" if ["failed", "canceled"].contains(&word("status").as_str()) => {
                    let amount = object["amount"].as_i64().expect("an amount");
                    failed.entry(word("charge")).or_default().insert(word("id"), amount);
                }
                _ => {}
            }
            objects.entry(word("object")).or_default().insert(word("id"), object.clone());
            webhooks.push(delivery);
        }
        // No event tells of a charge again when its refund comes to nothing; the API's charge leaves it out.
        let charges = objects.entry("charge".into()).or_default();
        for (id, refunds) in failed {
            let Some(charge) = charges.get_mut(&id) else { continue };
            let refunded = charge["amount_refunded"].as_i64().expect("a sum");
            charge["amount_refunded"] = json!(refunded - refunds.values().sum::<i64>());
        }
        Self { options, webhooks, objects }
    }

    /// As a person keeps them: a list of each kind, one file.
    fn lists(&self, folder: &Path) -> Vec<PathBuf> {
        let list = |(kind, objects): (&String, &BTreeMap<String, Value>)| {
            let data: Vec<&Value> = objects.values().collect();
            let list = json!({"object": "list", "url": "/v1/x", "has_more": false, "data": data});
            let path = folder.join(format!("{kind}.json"));
            // Over many lines, as the API writes it.
            let text = serde_json::to_string_pretty(&list).expect("JSON");
            std::fs::write(&path, text).expect("the file is written");
            path
        };
        self.objects.iter().map(list).collect()
    }

    fn config(&self) -> String {
        self.options.senders.toml(ENVIRONMENT)
    }
}

async fn take_objects(database: &TestDatabase, stripe: &Stripe, more: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("[secrets]\nkey = 'a key of the tests, long enough'\n{}", stripe.config());
    let world = World::new(database, &config);
    for file in stripe.lists(folder.path()) {
        let arguments = [&["--source", "stripe", "--mode", "test"], more].concat();
        let taken = json(&import(&world, &file, &arguments).await);
        assert_eq!((&taken["rejected"], &taken["has_more"]), (&json!(0), &json!([])), "{taken}");
        assert_eq!(taken["environment"], ENVIRONMENT);
        assert!(taken["read"].as_u64() > Some(0), "{taken}");
    }
}

async fn take_webhooks(pipeline: &Pipeline, stripe: &Stripe) {
    history::process(pipeline, &stripe.webhooks, 3).await;
}

/// Payments, subscriptions and who has spent what: of people the API knows only how they stand now.
fn money(mut snapshot: Snapshot) -> Snapshot {
    snapshot.customers.retain(|_, customer| customer["payment_count"] != 0);
    for customer in snapshot.customers.values_mut() {
        let fields = customer.as_object_mut().expect("an object");
        fields.retain(|field, _| {
            field == "spend" || field.ends_with("_count") || field.ends_with("_at")
        });
    }
    snapshot
}

/// Without the times of payments: an object does not say when it was paid.
fn timeless(mut snapshot: Snapshot) -> Snapshot {
    for form in snapshot.payments.values_mut().chain(snapshot.customers.values_mut()) {
        let fields = form.as_object_mut().expect("an object");
        fields.retain(|field, _| !field.ends_with("_at"));
    }
    snapshot
}

#[track_caller]
fn no_difference(wanted: &Snapshot, found: &Snapshot, what: &str) {
    let wrong = differences(wanted, found);
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// By its webhooks alone, by its objects alone, by both in either order.
async fn however_it_is_told(seed: u64, database: impl AsyncFn() -> TestDatabase, more: &[&str]) {
    let stripe = Stripe::play(seed);
    let look = async |database: &TestDatabase| {
        let now = history::pipeline(database, &stripe.options).clock.now();
        history::shown(database, ENVIRONMENT, now).await
    };
    let by_webhooks = database().await;
    take_webhooks(&history::pipeline(&by_webhooks, &stripe.options), &stripe).await;
    let truth = look(&by_webhooks).await;
    assert!(truth.payments.len() > 50 && truth.subscriptions.len() > 5, "{truth:?}");

    let by_objects = database().await;
    take_objects(&by_objects, &stripe, more).await;
    let (wanted, found) = (money(truth.clone()), money(look(&by_objects).await));
    no_difference(&timeless(wanted.clone()), &timeless(found), "by objects alone");

    take_webhooks(&history::pipeline(&by_objects, &stripe.options), &stripe).await;
    take_objects(&by_webhooks, &stripe, more).await;
    for (database, order) in [(by_objects, "objects first"), (by_webhooks, "webhooks first")] {
        let found = look(&database).await;
        no_difference(&wanted, &money(found.clone()), order);
        // Snapshots move nothing that an event said, of people neither.
        if more.is_empty() {
            no_difference(&truth, &found, order);
        }
    }
}

#[tokio::test]
async fn a_history_ends_the_same_by_objects_by_webhooks_and_by_both() {
    however_it_is_told(31, sqlite, &[]).await;
}

#[tokio::test]
async fn a_history_ends_the_same_where_it_is_known_when_the_objects_were_fetched() {
    // After the whole history, which begins in January 2025 and lasts some months.
    let fetched = ["--as-of", "2026-03-01T00:00:00Z"];
    however_it_is_told(32, crate::support::services::postgres, &fetched).await;
}

fn customer(email: &str) -> Value {
    json!({"id": "cus_1", "object": "customer", "created": 1_700_000_000, "email": email, "livemode": false})
}

fn charge(refunded: i64) -> Value {
    json!({
        "id": "ch_1", "object": "charge", "amount": 1_000, "amount_captured": 1_000,
        "amount_refunded": refunded, "captured": true, "created": 1_700_000_100, "currency": "usd",
        "customer": "cus_1", "livemode": false, "paid": true, "payment_intent": null,
        "refunded": false, "status": "succeeded",
    })
}

fn event(second: i64, kind: &str, object: &Value, previous: Option<Value>) -> Value {
    let mut data = json!({"object": object});
    if let Some(previous) = previous {
        data["previous_attributes"] = previous;
    }
    json!({"id": format!("evt_{second}"), "object": "event", "type": kind, "created": second,
        "livemode": false, "data": data})
}

/// Objects that were fetched at a known time stand between the events of before and of after.
#[tokio::test]
async fn objects_of_a_known_time_mend_what_was_missed_and_yield_to_what_came_later() {
    on_both(async |database| {
        let stripe = Stripe::play(33);
        let world = World::new(&database, &stripe.config());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("objects.ndjson");
        let take = async |objects: &[Value], more: &[&str]| {
            let lines: Vec<String> = objects.iter().map(Value::to_string).collect();
            std::fs::write(&file, lines.join("\n")).expect("written");
            json(&import(&world, &file, &[&["--source", "stripe"], more].concat()).await)
        };
        let shown = async || {
            let all = super::exported(&world).await;
            (all[0]["email"].clone(), all[1]["amount_refunded"].clone(), all[1]["paid_at"].clone())
        };
        let before = [
            event(1_700_000_000, "customer.created", &customer("a@example.com"), None),
            event(1_700_000_105, "charge.succeeded", &charge(0), None),
        ];
        take(&before, &[]).await;
        // The events of two changes were missed. Without a time the objects repeat softly, and move nothing that an
        // event said; the sum of refunds is a fact that no event has told better.
        let missed = [customer("b@example.com"), charge(400)];
        take(&missed, &[]).await;
        assert_eq!(shown().await.0, "a@example.com");
        take(&missed, &["--as-of", "2023-11-14T23:00:00Z"]).await;
        let paid_at = json!("2023-11-14T22:15:05.000Z");
        assert_eq!(shown().await, (json!("b@example.com"), json!(400), paid_at.clone()));
        let after = [
            event(
                1_700_010_000,
                "customer.updated",
                &customer("c@example.com"),
                Some(json!({"email": "b@example.com"})),
            ),
            event(
                1_700_010_001,
                "charge.refunded",
                &charge(700),
                Some(json!({"amount_refunded": 400})),
            ),
        ];
        take(&after, &[]).await;
        take(&missed, &["--as-of", "2023-11-14T23:00:00Z"]).await;
        assert_eq!(shown().await, (json!("c@example.com"), json!(700), paid_at));
    })
    .await;
}

fn refund() -> Value {
    json!({"id": "re_1", "object": "refund", "amount": 400, "charge": "ch_1", "created": 1_700_000_200,
        "currency": "usd", "payment_intent": null, "status": "succeeded"})
}

/// A refund of a test does not say so, and must not come among the money that is real.
#[tokio::test]
async fn a_refund_is_of_the_mode_that_whoever_fetched_it_says_and_refused_without() {
    on_both(async |database| {
        let config = "[[sources]]\nname = 'stripe'\nprovider = 'stripe'\nenvironment = 'live'
            test_environment = 'test'\nsecrets = ['whsec_0123456789abcdef']";
        let world = World::new(&database, config);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("objects.json");
        let list = json!([charge(0), refund()]);
        std::fs::write(&file, list.to_string()).expect("written");
        let shown = async || {
            let all = super::exported(&world).await;
            let live = world.run(&["export", "--environment", "live"]).await;
            assert_eq!(String::from_utf8_lossy(&live.stdout), "", "{}", super::text(&live));
            let payment = all.iter().find(|record| record["object"] == "payment");
            payment.expect("it is in its environment")["amount_refunded"].clone()
        };

        let output = import(&world, &file, &["--source", "stripe"]).await;
        let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(output.status.code(), Some(1), "{summary}");
        assert_eq!((&summary["applied"], &summary["rejected"]), (&json!(1), &json!(1)));
        let error = &summary["errors"][0];
        assert_eq!(error["reason"], "it does not say whether its mode is live or test");
        assert!(error["cure"].as_str().is_some_and(|cure| cure.contains("--mode test")), "{error}");
        assert_eq!(shown().await, 0);

        let test = import(&world, &file, &["--source", "stripe", "--mode", "test"]).await;
        assert_eq!(json(&test)["applied"], 2, "{}", super::text(&test));
        assert_eq!(shown().await, 400);
    })
    .await;
}

/// Pain points 24, 26 and 27 (stripe/sync-engine#280 and #111, dj-stripe#2127): lists were cut, a back-fill that was not
/// whole said that all was well, and one that a provider's rate limit had ended could not go on from there.
#[tokio::test]
async fn a_list_that_has_more_than_the_file_is_told_and_its_pages_may_stand_in_one_file() {
    let database = sqlite().await;
    let stripe = Stripe::play(35);
    let world = World::new(&database, &stripe.config());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("charges.json");
    let page = |ids: [&str; 2], has_more: bool| {
        let data = ids.map(|id| {
            let mut charge = charge(0);
            charge["id"] = json!(id);
            charge
        });
        json!({"object": "list", "data": data, "has_more": has_more, "url": "/v1/charges"})
    };
    let pages = [page(["ch_1", "ch_2"], true), page(["ch_3", "ch_4"], true)];
    let last = page(["ch_5", "ch_6"], false);
    let take = async |text: String, more: &[&str]| {
        std::fs::write(&file, text).expect("written");
        let path = file.display().to_string();
        let output = world.run(&[&["import", &path, "--source", "stripe"], more].concat()).await;
        assert!(output.status.success(), "{}", super::text(&output));
        output
    };
    // Over many lines, as the API writes it, and as jq does.
    let pretty = pages.iter().map(|page| serde_json::to_string_pretty(page).expect("JSON"));
    let pretty = pretty.collect::<Vec<_>>().join("\n");
    let compact = pages.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    for text in [&pretty, &compact] {
        let taken = json(&take(text.clone(), &["--json"]).await);
        assert_eq!(taken["read"], 4, "{taken}");
        let next = json!([{"url": "/v1/charges", "next": "starting_after=ch_4"}]);
        assert_eq!(taken["has_more"], next, "{taken}");
        let told = super::text(&take(text.clone(), &[]).await);
        assert!(told.contains("/v1/charges has more than this file"), "{told}");
        assert!(told.contains("fetch starting_after=ch_4"), "{told}");
    }
    let whole = json(&take(format!("{pretty}\n{last:#}\n"), &["--json"]).await);
    assert_eq!((&whole["read"], &whole["has_more"]), (&json!(6), &json!([])), "{whole}");
    assert_eq!((&whole["applied"], &whole["unchanged"]), (&json!(2), &json!(4)), "{whole}");
}

#[tokio::test]
async fn what_is_no_object_is_rejected_and_what_is_not_mapped_is_counted() {
    let database = sqlite().await;
    let stripe = Stripe::play(34);
    let world = World::new(&database, &stripe.config());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("objects.ndjson");
    let live = json!({"id": "ch_9", "object": "charge", "amount": 5, "currency": "usd", "created": 1,
        "status": "succeeded", "livemode": true});
    let lines = [
        json!({"id": "price_1", "object": "price", "livemode": false}).to_string(),
        json!({"id": "cus_1", "object": "customer", "deleted": true}).to_string(),
        live.to_string(),
        json!({"id": "ch_1", "object": "charge", "amount": "5"}).to_string(),
        "7".into(),
    ];
    std::fs::write(&file, lines.join("\n")).expect("written");
    let output = import(&world, &file, &["--source", "stripe"]).await;
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &summary["rejected"]), (Some(1), &json!(2)), "{summary}");
    assert_eq!(summary["ignored"].as_object().map(serde_json::Map::len), Some(3), "{summary}");
    assert_eq!(summary["applied"], 0);
    for (source, why) in [("clerk", "its API's objects are not read"), ("nobody", "configured are")]
    {
        let output = import(&world, &file, &["--source", source]).await;
        assert_eq!(output.status.code(), Some(2), "{}", super::text(&output));
        assert!(super::text(&output).contains(why), "{}", super::text(&output));
    }
}
