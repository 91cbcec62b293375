//! Lists of customers by conditions: what they find, in which order, and what is refused.

use super::Api;
use crate::{
    pipeline::{event, paid, pipeline},
    support::services::{TestDatabase, on_both, postgres},
};
use customer_sync::{
    model::inbound::Raw,
    store::{self, Db, statement::Statement},
};
use serde_json::{Value, json};
use std::time::Duration;

fn recorded(n: u32, user: &str, customer: &Value) -> Raw {
    event(n, "customer.recorded", &json!({"external_id": user, "customer": customer}))
}

fn in_euros(n: u32, user: &str, payment: &str, amount: i64) -> Raw {
    let payment =
        json!({"id": payment, "amount": amount, "currency": "EUR", "status": "succeeded"});
    event(n, "payment.recorded", &json!({"external_id": user, "payment": payment}))
}

/// Ada, Bob and Zoë, in this order, and a guest.
async fn people(db: &Db) {
    let guest = json!([{"provider": "shop", "uid": "g1", "kind": "payment"}]);
    let visit = json!({"id": "p9", "amount": 40, "currency": "USD", "status": "failed"});
    let subscription = json!({"id": "s1", "status": "active"});
    for said in [
        recorded(
            1,
            "ada-1",
            &json!({"name": "Ada Lovelace", "email": "Ada@example.org",
            "phone": "+15555550100", "tags": ["beta", "vip"],
            "metadata": {"plan": "pro", "seats": 3, "on": true}}),
        ),
        recorded(
            2,
            "bob_2",
            &json!({"name": "Bob 50%_Off", "email": "bob@example.com",
            "tags": ["beta"], "metadata": {"plan": "free", "seats": 3.5}}),
        ),
        recorded(3, "zoe\\3", &json!({"name": "ZOË Straße"})),
        event(4, "payment.recorded", &json!({"identities": guest, "payment": visit})),
        paid(5, "ada-1", "p1", 5_000),
        paid(6, "ada-1", "p2", 1_000),
        paid(7, "bob_2", "p3", 700),
        in_euros(8, "zoe\\3", "p4", 9_000),
        event(
            9,
            "subscription.recorded",
            &json!({"external_id": "bob_2", "subscription": subscription}),
        ),
    ] {
        pipeline(db).process(&[said]).await.expect("it commits");
    }
}

/// A query of one parameter.
fn query(name: &str, value: &str) -> String {
    let value = url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
    format!("/v1/customers?{name}={value}")
}

/// The first letters of who is listed, `g` for the guest.
async fn found(api: &Api, path: &str) -> String {
    let names = api.get(path).await.listed("external_id");
    names.iter().map(|name| name.as_str().map_or("g", |name| &name[..1])).collect()
}

#[tokio::test]
async fn filters_find_whom_they_mean() {
    on_both(async |database| {
        people(&database.db).await;
        let api = Api::start(&database).await;
        for (filter, expected) in [
            ("{}", "gzba"),
            (r#"{"external_id": "ada-1"}"#, "a"),
            (r#"{"external_id": "ADA-1"}"#, ""),
            (r#"{"external_id": {"starts_with": "zoe\\"}}"#, "z"),
            (r#"{"external_id": {"contains": "_"}}"#, "b"),
            (r#"{"external_id": {"exists": false}}"#, "g"),
            (r#"{"email": "ADA@example.ORG"}"#, "a"),
            (r#"{"email": {"eq": "ada@example.org", "case_sensitive": true}}"#, ""),
            (r#"{"email": {"ends_with": ".ORG"}}"#, "a"),
            (r#"{"email": {"contains": "example"}}"#, "ba"),
            (r#"{"email": {"exists": true}, "name": {"contains": "o"}}"#, "ba"),
            (r#"{"name": "zoë straße"}"#, "z"),
            (r#"{"name": {"starts_with": "Zoë"}}"#, "z"),
            (r#"{"name": {"starts_with": "Zoë", "case_sensitive": true}}"#, ""),
            (r#"{"name": {"ends_with": "lace", "case_sensitive": true}}"#, "a"),
            (r#"{"name": {"contains": "50%_"}}"#, "b"),
            (r#"{"name": {"contains": "5_%"}}"#, ""),
            (r#"{"name": {"or": [{"starts_with": "ada"}, "zoë straße"]}}"#, "za"),
            (r#"{"phone": "+15555550100"}"#, "a"),
            (r#"{"phone": {"ends_with": "100"}}"#, "a"),
            (r#"{"tags": "beta"}"#, "ba"),
            (r#"{"tags": {"and": ["beta", "vip"]}}"#, "a"),
            (r#"{"tags": "bet"}"#, ""),
            (r#"{"tags": {"exists": false}}"#, "gz"),
            (r#"{"is_anonymous": true}"#, "g"),
            (r#"{"is_anonymous": false}"#, "zba"),
            (r#"{"subscription_status": "active"}"#, "b"),
            (r#"{"subscription_status": {"or": ["none", "active"]}}"#, "gzba"),
            (r#"{"total_spent": {"gte": 700}}"#, "ba"),
            (r#"{"total_spent": 0}"#, "gz"),
            (r#"{"net_spent": {"gt": 700, "lte": 6000}}"#, "a"),
            (r#"{"net_spent": {"lt": 700}}"#, "gz"),
            (r#"{"payment_count": 2}"#, "a"),
            (r#"{"payment_count": {"gte": 1}}"#, "gzba"),
            (r#"{"payment_count": {"lt": 1}}"#, ""),
            (r#"{"last_payment_at": {"exists": true}}"#, "zba"),
            (r#"{"last_payment_at": {"gte": "2026-01-01T00:00:07Z"}}"#, "zb"),
            (r#"{"created_at": {"lte": "2020-01-01T00:00:00Z"}}"#, ""),
            (r#"{"created_at": {"gt": "2020-01-01T00:00:00Z", "exists": true}}"#, "gzba"),
            (r#"{"updated_at": {"lt": "2020-01-01T00:00:00Z"}}"#, ""),
            (r#"{"metadata.plan": "pro"}"#, "a"),
            (r#"{"metadata.seats": 3}"#, "a"),
            (r#"{"metadata.seats": {"eq": 3.5}}"#, "b"),
            (r#"{"metadata.on": true}"#, "a"),
            (r#"{"metadata.on": "true"}"#, ""),
            (r#"{"metadata.plan": {"exists": true}}"#, "ba"),
            (r#"{"metadata.none": {"exists": false}}"#, "gzba"),
            (r#"{"or": [{"name": {"contains": "ada"}}, {"net_spent": {"gte": 700, "lt": 800}}]}"#, "ba"),
            (r#"{"tags": "beta", "and": [{"or": [{"email": "bob@example.com"}, {"name": "x"}]}]}"#, "b"),
        ] {
            assert_eq!(found(&api, &query("filters", filter)).await, expected, "{filter}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn flat_parameters_hold_together_with_each_other_and_with_filters() {
    on_both(async |database| {
        people(&database.db).await;
        let api = Api::start(&database).await;
        for (rest, expected) in [
            ("search=LOVE", "a"),
            ("search=example", "ba"),
            ("search=555555", "a"),
            ("search=50%25_", "b"),
            ("search=nobody", ""),
            ("tags=beta", "ba"),
            ("tags=beta,vip", "a"),
            ("min_spent=700", "ba"),
            ("min_spent=701", "a"),
            ("max_spent=700", "gzb"),
            ("min_spent=1&currency=eur", "z"),
            ("tags=beta&search=bob&max_spent=700", "b"),
            ("tags=beta&filters=%7B%22metadata.plan%22%3A%22pro%22%7D", "a"),
            ("sort_by=total_spent", "abg"),
            ("sort_by=net_spent&currency=EUR", "z"),
            ("sort_by=payment_count", "agb"),
            ("sort_by=created_at", "gzba"),
        ] {
            assert_eq!(found(&api, &format!("/v1/customers?{rest}")).await, expected, "{rest}");
        }
        let all = api.get("/v1/customers").await;
        let id = all.listed("id")[0].as_str().expect("an id").to_owned();
        assert_eq!(found(&api, &query("search", &id)).await, "g");
        assert_eq!(all.ok().get("total"), None);
        for (rest, total) in
            [("include_total=true&limit=1", 4), ("offset=3", 4), ("tags=beta&offset=0", 2)]
        {
            let list = api.get(&format!("/v1/customers?{rest}")).await.ok();
            assert_eq!(
                (&list["total"], &list["total_capped"]),
                (&json!(total), &json!(false)),
                "{rest}"
            );
        }
        let list = api.get("/v1/customers?offset=1&include_total=false").await.ok();
        assert_eq!(list.get("total"), None);
        let other =
            api.get_as(&api.other, &query("filters", r#"{"name": {"contains": "a"}}"#)).await;
        assert_eq!(other.listed("id"), Vec::<Value>::new(), "nothing of another environment");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn filtered_and_sorted_pages_neither_skip_nor_repeat_while_customers_arrive() {
    on_both(async |database| {
        let pipeline = pipeline(&database.db);
        for n in 0..7 {
            let (user, payment) = (format!("u{n}"), format!("p{n}"));
            let events = [
                recorded(2 * n + 1, &user, &json!({"name": format!("Ada {n}")})),
                // Two of them spent the same.
                paid(2 * n + 2, &user, &payment, 100 * (i64::from(n) / 2 + 1)),
            ];
            pipeline.process(&events).await.expect("it commits");
        }
        let api = Api::start(&database).await;
        let mut late = 0;
        for (list, expected) in [
            ("/v1/customers?search=ada&limit=3", "u6 u5 u4 u3 u2 u1 u0"),
            ("/v1/customers?sort_by=net_spent&limit=2&max_spent=1000", "u6 u5 u4 u3 u2 u1 u0"),
        ] {
            let mut seen: Vec<String> = Vec::new();
            let mut next = Some(list.to_owned());
            while let Some(path) = next {
                let page = api.get(&path).await;
                let names = page.listed("external_id");
                seen.extend(names.iter().map(|name| name.as_str().expect("a name").to_owned()));
                late += 1;
                let (user, payment) = (format!("late {late}"), format!("late {late}"));
                let events = [
                    recorded(100 + late, &user, &json!({"name": "Ada too"})),
                    paid(200 + late, &user, &payment, 5_000),
                ];
                pipeline.process(&events).await.expect("it commits");
                let cursor = page.ok()["next_cursor"].as_str().map(ToOwned::to_owned);
                next = cursor.map(|cursor| format!("{list}&starting_after={cursor}"));
            }
            assert_eq!(seen.join(" "), expected, "{list}");
            let last = api.get(&format!("/v1/customers?external_id={}", seen[6])).await;
            let last = last.listed("id")[0].as_str().expect("an id").to_owned();
            let before =
                api.get(&format!("{list}&ending_before={last}")).await.listed("external_id");
            let size = before.len();
            assert_eq!(before, seen[6 - size..6], "{list}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn more_than_ten_thousand_are_not_counted() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let mut tx = database.db.begin().await.expect("a transaction");
        // Differs because each database makes rows and ids in its own way.
        let sql = tx.pick(
            "insert into customers select gen_random_uuid(), 'live', gen_random_uuid(), 1, false, null,
                 now(), now() from generate_series(1, 10000)",
            "with recursive n(x) as (select 1 union all select x + 1 from n where x < 10000)
             insert into customers select printf('00000000-0000-7000-8000-%012d', x), 'live',
                 printf('00000000-0000-7000-9000-%012d', x), 1, false, null,
                 '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z' from n",
        );
        tx.query(sql).execute().await.expect("customers");
        tx.commit().await.expect("committed");
        let total = async || {
            let list = api.get("/v1/customers?limit=1&include_total=true").await.ok();
            (list["total"].clone(), list["total_capped"].clone())
        };
        assert_eq!(total().await, (json!(10_000), json!(false)));
        api.customer(super::records::named("one more")).await;
        assert_eq!(total().await, (json!(10_000), json!(true)));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_and_harms_no_other() {
    on_both(async |TestDatabase { db, .. }| {
        for _ in 0..6 {
            let mut tx = db.snapshot().await.expect("a transaction");
            let mut endless = Statement::new(tx.dialect());
            endless.push(
                "with recursive n(x) as (select 1 union all select x + 1 - 1 from n)
                 select count(*) from n",
            );
            let limit = Some(Duration::from_millis(100));
            let given_up = tx.built::<(i64,)>(endless, limit).await.expect_err("it has no end");
            assert!(matches!(given_up, store::Error::TooBroad), "{given_up:?}");
        }
        // The connections are as good as before, with all the time there is.
        for _ in 0..6 {
            let mut tx = db.snapshot().await.expect("a transaction");
            let sql =
                "with recursive n(x) as (select 1 union all select x + 1 from n where x < 500000)
                select count(*) from n";
            let (count,) = tx.query(sql).one::<(i64,)>().await.expect("a number");
            assert_eq!(count, 500_000);
        }
    })
    .await;
}

/// A table that somebody else has locked stands for one that takes long to read.
#[tokio::test]
async fn a_list_that_takes_too_long_is_too_broad() {
    let database = postgres().await;
    let api = Api::start(&database).await;
    let mut tx = database.db.begin().await.expect("a transaction");
    let sql = "lock table customer_profiles in access exclusive mode";
    tx.query(sql).execute().await.expect("a lock");
    let answer = api.get("/v1/customers?search=ada").await;
    assert_eq!(answer.refused(400), "query_too_broad");
    drop(tx);
    assert_eq!(api.get("/v1/customers?search=ada").await.listed("id"), Vec::<Value>::new());
    api.stop().await;
}
