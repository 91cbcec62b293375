//! Payments that name nobody, shown at the only customer whose verified address is the payer's (semantics 3).

use crate::{
    pipeline::{assert_no_drift, event, listen, pipeline, raw, scalar, stripe},
    support::services::{TestDatabase, on_both, postgres},
};
use customer_sync::{
    model::inbound::Raw,
    pipeline::{Pipeline, Sources},
    provider::Source,
    store::Db,
};
use serde_json::json;
use std::sync::Arc;

/// The pipeline of the other tests, with a Stripe source that matches by address.
fn matching(db: &Db) -> Pipeline {
    let pipeline = pipeline(db);
    let matching = |source: &Arc<Source>| {
        Arc::new(Source { match_email: &*source.name == "stripe", ..Source::clone(source) })
    };
    let sources: Sources =
        pipeline.sources.iter().map(|(name, source)| (name.clone(), matching(source))).collect();
    Pipeline { sources: Arc::new(sources), ..pipeline }
}

/// What a guest paid, in the `n`-th second.
fn guest(n: u32, payment: &str, address: &str) -> Raw {
    stripe(
        n,
        "charge.succeeded",
        &json!({"id": format!("ch_{payment}"), "object": "charge", "amount": 500, "amount_captured": 500,
            "amount_refunded": 0, "currency": "usd", "customer": null, "captured": true, "paid": true,
            "status": "succeeded", "payment_intent": format!("pi_{payment}"), "created": 1_767_225_600 + n,
            "billing_details": {"email": address}, "description": format!("a gift by {address}")}),
    )
}

/// A user of Clerk with an address, in the `n`-th second.
fn user(n: u32, uid: &str, address: &str, verified: bool) -> Raw {
    let status = if verified { "verified" } else { "unverified" };
    let at = (1_767_225_600 + i64::from(n)) * 1_000;
    let body = json!({"type": "user.created", "object": "event", "timestamp": at, "data": {
        "id": uid, "object": "user", "created_at": at, "updated_at": at,
        "primary_email_address_id": "idn_1",
        "email_addresses": [{"id": "idn_1", "object": "email_address", "email_address": address,
            "verification": {"status": status, "strategy": "email_code"}}]}});
    raw("clerk", body.to_string())
}

fn gone(n: u32, uid: &str) -> Raw {
    let at = (1_767_225_600 + i64::from(n)) * 1_000;
    let body = json!({"type": "user.deleted", "object": "event", "timestamp": at,
        "data": {"id": uid, "object": "user", "deleted": true}});
    raw("clerk", body.to_string())
}

async fn take(pipeline: &Pipeline, batches: &[&[Raw]]) {
    for batch in batches {
        pipeline.process(batch).await.expect("it commits");
    }
    assert_no_drift(&pipeline.db).await;
}

const SPENT: &str = "select cast(coalesce(sum(total_spent), 0) as bigint) from customer_totals";
const LINKED: &str =
    "select count(*) from payments as p join customer_references as r on r.id = p.owner_id
     where r.customer_id is not null";
const TOLD_LINKED: &str = "select count(*) from outgoing_events where kind = 'payment.linked'";

#[tokio::test]
async fn a_guests_payment_is_counted_at_the_only_customer_who_verified_the_address_whichever_came_first()
 {
    let paid = [guest(1, "a", "Ada@Example.org"), guest(2, "b", "ada@example.org")];
    let ada = [user(3, "uid_ada", "ada@example.ORG", true)];
    for batches in [[&paid[..], &ada[..]], [&ada[..], &paid[..]]] {
        on_both(async |TestDatabase { db, .. }| {
            listen(&db).await;
            take(&matching(&db), &batches).await;
            assert_eq!(scalar(&db, SPENT).await, 1_000);
            assert_eq!(scalar(&db, LINKED).await, 2);
            let told = if batches[0].len() == 2 { 2 } else { 0 };
            assert_eq!(scalar(&db, TOLD_LINKED).await, told);
        })
        .await;
    }
}

#[tokio::test]
async fn all_of_it_in_one_batch_gives_the_same() {
    on_both(async |TestDatabase { db, .. }| {
        let batch = [
            guest(1, "a", "ada@example.org"),
            user(3, "uid_ada", "ada@example.org", true),
            guest(2, "b", "ada@example.org"),
        ];
        take(&matching(&db), &[&batch]).await;
        assert_eq!(scalar(&db, SPENT).await, 1_000);
    })
    .await;
}

#[tokio::test]
async fn an_address_that_nobody_proved_or_that_two_hold_links_nothing() {
    on_both(async |TestDatabase { db, .. }| {
        listen(&db).await;
        let pipeline = matching(&db);
        let paid = [guest(1, "a", "ada@example.org"), guest(2, "b", "eve@example.org")];
        let unproved = [user(3, "uid_eve", "eve@example.org", false)];
        let by_stripe = stripe(
            4,
            "customer.created",
            &json!({"id": "cus_1", "object": "customer",
            "email": "eve@example.org", "created": 1_767_225_600}),
        );
        take(&pipeline, &[&paid, &unproved, &[by_stripe]]).await;
        assert_eq!(scalar(&db, LINKED).await, 0);
        take(&pipeline, &[&[user(5, "uid_1", "ada@example.org", true)]]).await;
        assert_eq!((scalar(&db, LINKED).await, scalar(&db, SPENT).await), (1, 500));
        take(&pipeline, &[&[user(6, "uid_2", "ada@example.org", true)]]).await;
        assert_eq!((scalar(&db, LINKED).await, scalar(&db, SPENT).await), (0, 0));
        assert_eq!(scalar(&db, TOLD_LINKED).await, 2, "it came, it went");
        take(&pipeline, &[&[guest(7, "c", "ada@example.org")]]).await;
        assert_eq!(scalar(&db, LINKED).await, 0);
        take(&pipeline, &[&[gone(8, "uid_1")]]).await;
        assert_eq!((scalar(&db, LINKED).await, scalar(&db, SPENT).await), (2, 1_000));
    })
    .await;
}

#[tokio::test]
async fn two_holders_who_turn_out_to_be_one_customer_get_the_payment() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = matching(&db);
        let two = [
            guest(1, "a", "ada@example.org"),
            user(2, "uid_1", "ada@example.org", true),
            user(3, "uid_2", "ada@example.org", true),
        ];
        take(&pipeline, &[&two]).await;
        assert_eq!(scalar(&db, LINKED).await, 0);
        let one = event(
            10,
            "customer.recorded",
            &json!({"external_id": "u1", "customer": {},
            "identities": [{"provider": "clerk", "uid": "uid_1", "kind": "auth"},
                {"provider": "clerk", "uid": "uid_2", "kind": "auth"}]}),
        );
        take(&pipeline, &[&[one]]).await;
        assert_eq!((scalar(&db, LINKED).await, scalar(&db, SPENT).await), (1, 500));
    })
    .await;
}

#[tokio::test]
async fn a_payment_goes_where_it_is_said_to_hang_as_soon_as_that_is_known() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = matching(&db);
        let matched = [guest(1, "a", "ada@example.org"), user(2, "uid_1", "ada@example.org", true)];
        take(&pipeline, &[&matched]).await;
        let named = stripe(
            3,
            "payment_intent.succeeded",
            &json!({"id": "pi_a", "object": "payment_intent",
            "amount": 500, "amount_received": 500, "currency": "usd", "status": "succeeded",
            "customer": "cus_9", "created": 1_767_225_600}),
        );
        take(&pipeline, &[&[named]]).await;
        let there =
            "select count(*) from payments as p join customer_references as r on r.id = p.owner_id
             where r.subject = 'cus_9' and p.payer_address is null";
        assert_eq!(scalar(&db, there).await, 1);
        assert_eq!(scalar(&db, SPENT).await, 500);
    })
    .await;
}

#[tokio::test]
async fn a_refund_of_a_matched_payment_lowers_the_holders_totals() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = matching(&db);
        let matched = [guest(1, "a", "ada@example.org"), user(2, "uid_1", "ada@example.org", true)];
        take(&pipeline, &[&matched]).await;
        let back = stripe(
            3,
            "refund.created",
            &json!({"id": "re_1", "object": "refund", "amount": 200,
            "currency": "usd", "status": "succeeded", "payment_intent": "pi_a", "charge": "ch_a",
            "created": 1_767_225_603}),
        );
        take(&pipeline, &[&[back]]).await;
        let net = "select net_spent from customer_totals";
        assert_eq!(scalar(&db, net).await, 300);
    })
    .await;
}

#[tokio::test]
async fn when_the_holder_is_deleted_nothing_of_the_payment_says_who_it_was() {
    on_both(async |TestDatabase { db, .. }| {
        listen(&db).await;
        let pipeline = matching(&db);
        let matched = [guest(1, "a", "ada@example.org"), user(2, "uid_1", "ada@example.org", true)];
        take(&pipeline, &[&matched, &[gone(5, "uid_1")]]).await;
        assert_eq!(scalar(&db, LINKED).await, 0);
        assert_eq!(scalar(&db, "select count(*) from payments").await, 1);
        // What is said of the payment later brings nothing back.
        take(&pipeline, &[&[guest(9, "a", "ada@example.org")]]).await;
        for (place, sql) in [
            ("payments", "select count(*) from payments where cast(facts as text) like '%example.org%'"),
            ("references", "select count(*) from customer_references where cast(facts as text) like '%example.org%'"),
            ("inbox", "select count(*) from inbound_events where length(body) > 0"),
            ("outgoing", "select count(*) from outgoing_events where body like '%example.org%'"),
        ] {
            assert_eq!(scalar(&db, sql).await, 0, "{place}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_the_setting_no_address_is_kept_and_nothing_is_matched() {
    on_both(async |TestDatabase { db, .. }| {
        let both = [guest(1, "a", "ada@example.org"), user(2, "uid_1", "ada@example.org", true)];
        take(&pipeline(&db), &[&both]).await;
        assert_eq!(scalar(&db, LINKED).await, 0);
        let kept = "select count(*) from payments where payer_address is not null";
        assert_eq!(scalar(&db, kept).await, 0);
    })
    .await;
}

/// A generated history of few people, few addresses and many guests.
fn history(seed: u32) -> Vec<Raw> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = move |bound: u32| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 33).unwrap_or(0) % bound
    };
    (0..60)
        .map(|n| {
            let address = format!("p{}@example.org", below(4));
            match below(20) {
                0..=9 => guest(n, &below(30).to_string(), &address),
                10..=18 => user(n, &format!("uid_{}", below(6)), &address, below(4) > 0),
                _ => gone(n, &format!("uid_{}", below(6))),
            }
        })
        .collect()
}

/// Where every payment is counted, and every reference's totals.
async fn state(db: &Db) -> Vec<String> {
    let mut tx = db.snapshot().await.expect("a snapshot");
    let sql =
        "select k.provider_payment_id || ' ' || p.status || ' ' || coalesce(r.subject, '-') || ' '
             || cast(coalesce(t.total_spent, 0) as text)
         from payment_keys as k join payments as p on p.id = k.payment_id
         left join customer_references as r on r.id = p.owner_id
         left join customer_totals as t on t.customer_id = r.customer_id order by 1";
    let rows = tx.query(sql).all::<(String,)>().await.expect("rows");
    rows.into_iter().map(|(row,)| row).collect()
}

/// Pain point 28 (laravel/cashier-stripe#1678): what was updated before it was created stood twice, or went back.
#[tokio::test]
async fn the_order_of_events_and_the_number_of_workers_do_not_matter() {
    for seed in 0..4 {
        let events = history(seed);
        let alone = crate::support::services::sqlite().await;
        take(&matching(&alone.db), &[&events]).await;
        let expected = state(&alone.db).await;
        assert!(expected.iter().any(|row| row.contains("uid_")), "seed {seed} matches something");

        let shared = postgres().await;
        let pipeline = matching(&shared.db);
        let mut shuffled = events;
        shuffled
            .sort_by_key(|raw| (raw.body.iter().map(|b| u64::from(*b)).sum::<u64>() * 7_919) % 101);
        let workers = shuffled.chunks(20).map(|part| {
            let pipeline = &pipeline;
            async move {
                for batch in part.chunks(3) {
                    pipeline.process(batch).await.expect("it commits");
                }
            }
        });
        futures_util::future::join_all(workers).await;
        assert_no_drift(&shared.db).await;
        assert_eq!(state(&shared.db).await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn a_deletion_finds_matched_payments_when_the_setting_is_off_by_then() {
    on_both(async |TestDatabase { db, .. }| {
        let matched = [guest(1, "a", "ada@example.org"), user(2, "uid_1", "ada@example.org", true)];
        take(&matching(&db), &[&matched]).await;
        take(&pipeline(&db), &[&[gone(5, "uid_1")]]).await;
        assert_eq!(
            scalar(&db, "select count(*) from payments where owner_id is not null").await,
            0
        );
        assert_eq!(scalar(&db, PERSONAL).await, 0);
        assert_eq!(scalar(&db, BODIES).await, 0);
    })
    .await;
}

const PERSONAL: &str =
    "select count(*) from payments where cast(facts as text) like '%example.org%'";
const BODIES: &str = "select count(*) from inbound_events where length(body) > 0";

#[tokio::test]
async fn nothing_more_is_kept_of_a_payment_whose_holder_was_deleted() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = matching(&db);
        let matched = [guest(1, "a", "ada@example.org"), user(2, "uid_1", "ada@example.org", true)];
        take(&pipeline, &[&matched, &[gone(5, "uid_1")]]).await;
        let session = stripe(9, "checkout.session.completed", &json!({"id": "cs_1", "object": "checkout.session",
            "payment_intent": "pi_a", "payment_status": "paid", "mode": "payment", "status": "complete",
            "amount_total": 500, "currency": "usd", "customer": null, "created": 1_767_225_609,
            "customer_details": {"name": "Ada Lovelace", "email": "ada@example.org"}}));
        take(&pipeline, &[&[session]]).await;
        assert_eq!(scalar(&db, BODIES).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_payment_from_before_a_deletion_comes_to_the_holder_who_returned_without_its_person() {
    on_both(async |TestDatabase { db, .. }| {
        listen(&db).await;
        let pipeline = matching(&db);
        let recorded = |n: u32| {
            let customer = json!({"email": "ada@example.org", "email_verified": true});
            event(n, "customer.recorded", &json!({"external_id": "u1", "customer": customer}))
        };
        let erased = event(5, "customer.deleted", &json!({"external_id": "u1"}));
        take(
            &pipeline,
            &[&[recorded(1)], &[erased], &[recorded(6)], &[guest(2, "a", "ada@example.org")]],
        )
        .await;
        assert_eq!(scalar(&db, LINKED).await, 1);
        assert_eq!(scalar(&db, PERSONAL).await, 0);
        let told = "select count(*) from outgoing_events where body like '%a gift by%'";
        assert_eq!(scalar(&db, told).await, 0);
    })
    .await;
}

#[tokio::test]
async fn when_one_of_two_identities_with_the_address_goes_nothing_is_told_of_the_payment() {
    on_both(async |TestDatabase { db, .. }| {
        listen(&db).await;
        let pipeline = matching(&db);
        let one = event(
            1,
            "customer.recorded",
            &json!({"external_id": "u1", "customer": {},
            "identities": [{"provider": "clerk", "uid": "uid_1", "kind": "auth"},
                {"provider": "clerk", "uid": "uid_2", "kind": "auth"}]}),
        );
        let both = [
            user(2, "uid_1", "ada@example.org", true),
            user(3, "uid_2", "ada@example.org", true),
            guest(4, "a", "ada@example.org"),
        ];
        take(&pipeline, &[&[one], &both]).await;
        assert_eq!(scalar(&db, LINKED).await, 1);
        take(&pipeline, &[&[gone(8, "uid_2")]]).await;
        assert_eq!((scalar(&db, LINKED).await, scalar(&db, SPENT).await), (1, 500));
        assert_eq!(scalar(&db, TOLD_LINKED).await, 0);
    })
    .await;
}
