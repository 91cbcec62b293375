//! The views that reports are made of: what they are called, what they hold, and that nothing is written through them.

use crate::{
    pipeline::{event, paid, pipeline, recorded, scalar},
    support::services::{TestDatabase, on_both},
};
use customer_sync::store::Db;
use serde_json::json;

/// Names and columns are an interface: people's reports break where one changes.
const VIEWS: [(&str, &str); 5] = [
    (
        "reporting_customers",
        "customer_id environment external_id name email phone is_anonymous subscription_status version created_at
            updated_at",
    ),
    (
        "reporting_days",
        "customer_id environment currency day payment_count total_spent net_spent",
    ),
    (
        "reporting_payments",
        "payment_id environment provider provider_payment_id customer_id status amount currency amount_refunded
            disputed_lost paid_at created_at updated_at",
    ),
    (
        "reporting_spend",
        "customer_id environment currency payment_count successful_payment_count failed_payment_count total_spent
            total_refunded total_disputed_lost net_spent first_payment_at last_payment_at",
    ),
    (
        "reporting_subscriptions",
        "subscription_id environment provider provider_subscription_id customer_id status ends_at created_at
            updated_at",
    ),
];

async fn columns(db: &Db) -> Vec<(String, String)> {
    let mut tx = db.snapshot().await.expect("a transaction");
    // Differs because each database describes itself in tables of its own.
    let sql = tx.pick(
        "select table_name::text, column_name::text from information_schema.columns
         where table_schema = current_schema() and table_name like 'reporting%'
         order by table_name, ordinal_position",
        "select v.name, c.name from sqlite_master v join pragma_table_info(v.name) c
         where v.type = 'view' order by v.name, c.cid",
    );
    tx.query(sql).all().await.expect("columns")
}

#[tokio::test]
async fn the_views_are_called_as_the_documents_say() {
    let documented = include_str!("../../docs/reporting.md");
    on_both(async |TestDatabase { db, .. }| {
        let columns = columns(&db).await;
        let mut seen: Vec<(&str, Vec<&str>)> = Vec::new();
        for (view, column) in &columns {
            match seen.last_mut() {
                Some((known, columns)) if *known == view.as_str() => columns.push(column),
                _ => seen.push((view, vec![column])),
            }
        }
        let expected =
            VIEWS.map(|(view, columns)| (view, columns.split_whitespace().collect::<Vec<_>>()));
        assert_eq!(seen, expected);
        for (view, columns) in expected {
            assert!(documented.contains(&format!("`{view}`")), "{view}");
            assert!(
                columns.iter().all(|column| documented.contains(&format!("`{column}`"))),
                "{view}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn the_views_show_what_is_there_and_take_no_writes() {
    on_both(async |TestDatabase { db, .. }| {
        let refund = json!({"id": "r1", "payment_id": "p1", "amount": 200, "currency": "USD", "status": "succeeded"});
        let ended = json!({"id": "s1", "status": "active", "ends_at": "2026-01-01T00:00:00Z"});
        let events = [
            recorded(1, "ada", "Ada"),
            paid(2, "ada", "p1", 500),
            paid(3, "ada", "p2", 700),
            event(4, "refund.recorded", &json!({"refund": refund})),
            event(5, "subscription.recorded", &json!({"external_id": "ada", "subscription": ended})),
            recorded(6, "bob", "Bob"),
            event(9, "customer.deleted", &json!({"external_id": "bob"})),
        ];
        pipeline(&db).process(&events).await.expect("it commits");
        for (sql, expected) in [
            ("select count(*) from reporting_customers where external_id = 'ada' and name = 'Ada'", 1),
            ("select count(*) from reporting_customers", 1),
            ("select net_spent from reporting_spend where currency = 'USD'", 1_000),
            ("select cast(sum(net_spent) as bigint) from reporting_days where day = '2026-01-01'", 1_000),
            ("select count(*) from reporting_payments p join reporting_customers c on c.customer_id = p.customer_id", 2),
            ("select amount_refunded from reporting_payments where provider_payment_id = 'p1'", 200),
            ("select count(*) from reporting_subscriptions where status = 'canceled'", 1),
        ] {
            assert_eq!(scalar(&db, sql).await, expected, "{sql}");
        }
        for sql in [
            "update reporting_customers set name = 'x'",
            "update reporting_spend set net_spent = 0",
            "delete from reporting_days",
            "delete from reporting_payments",
            "delete from reporting_subscriptions",
        ] {
            let mut tx = db.begin().await.expect("a transaction");
            assert!(tx.query(sql).execute().await.is_err(), "{sql}");
        }
    })
    .await;
}
