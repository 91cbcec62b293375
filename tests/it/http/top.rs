//! `/v1/customers/top` over what events made of the state.

use super::Api;
use crate::{
    pipeline::{assert_no_drift, event, paid, pipeline, recorded, scalar},
    support::services::on_both,
};
use customer_sync::{model::inbound::Raw, pipeline::Pipeline};
use serde_json::{Value, json};

/// A payment in a currency, paid on a day (`2026-01-31`).
fn paid_on(n: u32, user: &str, payment: &str, money: (i64, &str), day: &str) -> Raw {
    let payment = json!({"id": payment, "amount": money.0, "currency": money.1,
        "status": "succeeded", "paid_at": format!("{day}T23:30:00Z")});
    event(n, "payment.recorded", &json!({"external_id": user, "payment": payment}))
}

fn refund(n: u32, payment: &str, amount: i64) -> Raw {
    let refund = json!({"id": format!("r{n}"), "payment_id": payment, "amount": amount,
        "currency": "USD", "status": "succeeded"});
    event(n, "refund.recorded", &json!({"refund": refund}))
}

fn failed(n: u32, user: &str, payment: &str) -> Raw {
    let payment = json!({"id": payment, "amount": 1, "currency": "USD", "status": "failed"});
    event(n, "payment.recorded", &json!({"external_id": user, "payment": payment}))
}

/// An API at noon of 2026-03-01, on a database that knows these events.
async fn knowing(
    database: &crate::support::services::TestDatabase,
    events: &[Raw],
) -> (Api, Pipeline) {
    let pipeline = pipeline(&database.db);
    for event in events {
        // What is received must not lie before what is paid: times of the future would be cut.
        let mut event = event.clone();
        event.received_at = customer_sync::model::time::Timestamp::parse("2026-03-01T12:00:00Z");
        pipeline.process(&[event]).await.expect("it commits");
    }
    (Api::start(database).await, pipeline)
}

/// (external_id, value) of each place.
async fn ranked(api: &Api, query: &str) -> Vec<(String, i64)> {
    let list = api.get(&format!("/v1/customers/top?{query}")).await.ok();
    let places = list["data"].as_array().expect("a list").iter();
    places
        .enumerate()
        .map(|(place, customer)| {
            assert_eq!(customer["rank"], place + 1);
            assert_eq!(customer["object"], "customer");
            let name = customer["external_id"].as_str().expect("each has one").to_owned();
            (name, customer["value"].as_i64().expect("a number"))
        })
        .collect()
}

fn places(places: &[(&str, i64)]) -> Vec<(String, i64)> {
    places.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[tokio::test]
async fn customers_are_ranked_by_each_metric_within_one_currency_and_period() {
    on_both(async |database| {
        let events = [
            paid_on(1, "ada", "p1", (5_000, "USD"), "2025-06-01"),
            paid_on(2, "ada", "p2", (100, "USD"), "2026-02-23"),
            refund(3, "p1", 4_500),
            paid_on(4, "bob", "p3", (1_000, "USD"), "2026-02-22"),
            paid_on(5, "cyd", "p4", (700, "USD"), "2026-03-01"),
            failed(6, "cyd", "p5"),
            failed(7, "cyd", "p6"),
            paid_on(8, "dan", "p7", (9_000, "EUR"), "2026-02-28"),
        ];
        let (api, _) = knowing(&database, &events).await;
        let all = ranked(&api, "").await;
        assert_eq!(all, places(&[("bob", 1_000), ("cyd", 700), ("ada", 600)]));
        let spent = ranked(&api, "metric=total_spent").await;
        assert_eq!(spent, places(&[("ada", 5_100), ("bob", 1_000), ("cyd", 700)]));
        let counts = ranked(&api, "metric=payment_count&limit=2").await;
        assert_eq!(counts, places(&[("cyd", 3), ("ada", 2)]));
        assert_eq!(ranked(&api, "currency=eur").await, places(&[("dan", 9_000)]));
        let week = ranked(&api, "period=7d").await;
        assert_eq!(week, places(&[("cyd", 700), ("ada", 100)]), "the 23rd is the seventh day");
        let month = ranked(&api, "period=30d&metric=payment_count").await;
        assert_eq!(month.len(), 3);
        assert!(month.iter().all(|(_, count)| *count == 1), "paid ones alone: {month:?}");
        let quarter = ranked(&api, "period=90d&metric=total_spent").await;
        assert_eq!(quarter, places(&[("bob", 1_000), ("cyd", 700), ("ada", 100)]));
        let list = api.get("/v1/customers/top?period=90d").await.ok();
        assert_eq!(
            (&list["object"], &list["metric"], &list["currency"], &list["period"], &list["as_of"]),
            (
                &json!("list"),
                &json!("net_spent"),
                &json!("USD"),
                &json!("90d"),
                &json!("2026-03-01T12:00:00.000Z")
            )
        );
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_merge_takes_the_days_along_and_a_refund_lowers_the_day_of_its_payment() {
    on_both(async |database| {
        let guest = json!([{"provider": "shop", "uid": "guest_1", "kind": "payment"}]);
        let payment = json!({"id": "p1", "amount": 800, "currency": "USD", "status": "succeeded",
            "paid_at": "2026-02-27T10:00:00Z"});
        let events = [
            event(1, "payment.recorded", &json!({"identities": guest, "payment": payment})),
            paid_on(2, "ada", "p2", (300, "USD"), "2026-02-27"),
        ];
        let (api, pipeline) = knowing(&database, &events).await;
        let before = api.get("/v1/customers/top?period=7d").await.listed("value");
        assert_eq!(before, [json!(800), json!(300)]);
        let joined = json!({"external_id": "ada", "identities": guest, "customer": {}});
        let joined = event(3, "customer.recorded", &joined);
        pipeline.process(&[joined, refund(4, "p1", 150)]).await.expect("it commits");
        let week = ranked(&api, "period=7d").await;
        assert_eq!(week, places(&[("ada", 950)]));
        assert_no_drift(&database.db).await;
        let gone = event(50, "customer.deleted", &json!({"external_id": "ada"}));
        pipeline.process(&[gone]).await.expect("it commits");
        assert_eq!(ranked(&api, "period=7d").await, places(&[]));
        assert_eq!(ranked(&api, "").await, places(&[]));
        let left = "select count(*) from customer_days where customer_id is not null";
        assert_eq!(scalar(&database.db, left).await, 0);
        assert_no_drift(&database.db).await;
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_day_that_drifted_is_found_and_repaired() {
    on_both(async |database| {
        let pipeline = pipeline(&database.db);
        let events =
            [recorded(1, "ada", "Ada"), paid(2, "ada", "p1", 500), paid(3, "bob", "p2", 5)];
        pipeline.process(&events).await.expect("it commits");
        for sql in [
            "update customer_days set net_spent = net_spent + 7",
            "update customer_days set customer_id = (select max(id) from customers
             where id <> customer_days.customer_id)",
            "delete from customer_days where total_spent = 5",
        ] {
            let sql =
                if database.db.is_shared() { sql.replace("max(id)", "id") } else { sql.into() };
            let sql: &'static str = Box::leak(sql.into_boxed_str());
            let mut tx = database.db.begin().await.expect("a transaction");
            tx.query(sql).execute().await.expect("a change behind the daemon's back");
            let drift = customer_sync::store::totals::recount(&mut tx).await.expect("a recount");
            assert!(!drift.is_empty() && drift.iter().all(|drift| drift.holder == "day"), "{sql}");
            let mended = customer_sync::store::days::repair(&mut tx).await.expect("a repair");
            assert_eq!(mended, drift.len());
            tx.commit().await.expect("committed");
            assert_no_drift(&database.db).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_ranking_cannot_be_asked_is_named_and_other_environments_are_not_in_it() {
    on_both(async |database| {
        let (api, pipeline) = knowing(&database, &[]).await;
        let mut other = paid(1, "eve", "p1", 500);
        other.source = "sandbox".into();
        pipeline.process(&[other]).await.expect("it commits");
        assert_eq!(ranked(&api, "").await, places(&[]));
        assert_eq!(ranked(&api, "period=90d").await, places(&[]));
        for (query, param) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("metric=revenue", "metric"),
            ("period=1d", "period"),
            ("currency=%E2%82%AC", "currency"),
            ("offset=3", "offset"),
            ("color=red", "color"),
        ] {
            let (status, _, named) = api.get(&format!("/v1/customers/top?{query}")).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(param)), "{query}");
        }
        let shown = api.get_as(&api.other, "/v1/customers/top").await.listed("external_id");
        assert_eq!(shown, [Value::from("eve")]);
        api.stop().await;
    })
    .await;
}
