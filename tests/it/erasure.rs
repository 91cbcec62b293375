//! What deletions leave behind on both databases: nothing that was said before them (semantics 4, law 7).

use crate::{
    pipeline::{assert_no_drift, event, listen, paid, pipeline, raw, recorded, scalar},
    support::services::{TestDatabase, on_both},
};
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    model::{id::AttemptId, inbound::Raw, message::Leased},
    store::messages::{self, Next, Settled, Wanted},
};
use serde_json::{Value, json};

mod proof;

/// What Clerk says, in the `n`-th second.
fn clerk(n: u32, kind: &str, user: &Value) -> Raw {
    let mut data = user.clone();
    let at = 1_767_225_600_000_u64 + u64::from(n) * 1_000;
    data["updated_at"] = json!(at);
    let body = json!({"object": "event", "type": kind, "timestamp": at, "data": data});
    raw("clerk", body.to_string())
}

fn user(uid: &str, external_id: Option<&str>) -> Value {
    json!({"id": uid, "object": "user", "first_name": "Ada", "last_name": "Lovelace",
        "external_id": external_id, "primary_email_address_id": "idn_1",
        "email_addresses": [{"id": "idn_1", "email_address": format!("{uid}@example.org"),
            "verification": {"status": "verified"}}]})
}

fn deleted(n: u32, user: &str) -> Raw {
    event(n, "customer.deleted", &json!({"external_id": user}))
}

fn identified(n: u32, user: &str, uid: &str) -> Raw {
    let identities = json!([{"provider": "clerk", "uid": uid, "kind": "auth"}]);
    let data = json!({"external_id": user, "identities": identities, "customer": {}});
    event(n, "customer.recorded", &data)
}

#[tokio::test]
async fn what_was_told_of_a_customer_that_went_into_the_deleted_one_is_erased_too() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        listen(&db).await;
        let batch = [recorded(1, "u1", "Ada"), clerk(2, "user.created", &user("uid_1", None))];
        pipeline.process(&batch).await.expect("it commits");
        pipeline.process(&[identified(3, "u1", "uid_1")]).await.expect("it commits");
        pipeline.process(&[deleted(5, "u1")]).await.expect("it commits");
        let left = "select count(*) from outgoing_events where body like '%Lovelace%'";
        assert_eq!(scalar(&db, left).await, 0);
    })
    .await;
}

/// A receiver may answer with what it was sent, and take longer to do so than the deletion takes.
#[tokio::test]
async fn an_answer_that_comes_behind_the_deletion_is_not_kept() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        listen(&db).await;
        let clock = Clock::system();
        pipeline
            .process(&[recorded(1, "u1", "Lovelace"), recorded(2, "u2", "Byron")])
            .await
            .expect("done");
        let endpoint_id = "01890000-0000-7000-8000-000000000001".parse().expect("an id");
        let wanted = [Wanted { endpoint_id, most: 9 }];
        let now = clock.now();
        let mut tx = db.begin().await.expect("begins");
        let until = now.plus(TimeDelta::seconds(60));
        let lease = || AttemptId(clock.new_id());
        let sent = messages::claim(&mut tx, &wanted, lease, now, until).await.expect("claimed");
        tx.commit().await.expect("it commits");
        assert_eq!(sent.len(), 2);
        pipeline.process(&[deleted(5, "u1")]).await.expect("it commits");
        let answered = |leased: &Leased| Settled {
            message_id: leased.id,
            lease: leased.lease,
            next: Next::Delivered,
            outcome: "delivered",
            status_code: Some(200),
            error: None,
            request_headers: None,
            response: Some(leased.body.to_string()),
            duration_ms: Some(1),
        };
        let answers: Vec<Settled> = sent.iter().map(answered).collect();
        let mut tx = db.begin().await.expect("begins");
        messages::settle(&mut tx, &answers, [], now).await.expect("settled");
        tx.commit().await.expect("it commits");
        let erased = "select count(*) from attempts where response like '%Lovelace%'";
        let kept = "select count(*) from attempts where response like '%Byron%'";
        assert_eq!((scalar(&db, erased).await, scalar(&db, kept).await), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn a_conflict_does_not_keep_the_name_of_a_deleted_customer() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        listen(&db).await;
        let batch = [
            recorded(1, "user_one", "Ada"),
            identified(2, "user_one", "uid_1"),
            recorded(3, "user_two", "Bob"),
            identified(4, "user_two", "uid_1"),
        ];
        pipeline.process(&batch).await.expect("it commits");
        let conflicts = "select count(*) from conflicts where detail like '%user_one%'";
        assert_eq!(scalar(&db, conflicts).await, 1);
        pipeline.process(&[deleted(5, "user_one")]).await.expect("it commits");
        assert_eq!(scalar(&db, conflicts).await, 0);
        let told = "select count(*) from outgoing_events
            where kind <> 'customer.deleted' and body like '%user_one%'";
        assert_eq!(scalar(&db, told).await, 0);
        let kept = "select count(*) from outgoing_events where body like '%Bob%'";
        assert!(scalar(&db, kept).await > 0, "what was told of another customer stays");
    })
    .await;
}

#[tokio::test]
async fn a_late_event_about_a_reopened_customer_keeps_no_body() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        for said in [recorded(1, "u1", "Ada Lovelace"), deleted(5, "u1"), recorded(9, "u1", "B")] {
            pipeline.process(&[said]).await.expect("it commits");
        }
        pipeline.process(&[recorded(3, "u1", "Ada Lovelace")]).await.expect("it commits");
        let bodies = "select count(*) from inbound_events
            where kind = 'customer.recorded' and length(body) > 0";
        assert_eq!(scalar(&db, bodies).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_identity_leaves_nothing_of_itself_with_the_customer_that_lives_on() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        listen(&db).await;
        let batch = [
            clerk(1, "user.created", &user("uid_2", Some("u1"))),
            clerk(2, "user.created", &user("uid_1", Some("u1"))),
            paid(3, "u1", "p1", 500),
        ];
        pipeline.process(&batch).await.expect("it commits");
        let gone = json!({"id": "uid_1", "object": "user", "deleted": true});
        pipeline.process(&[clerk(5, "user.deleted", &gone)]).await.expect("it commits");
        let live = "select count(*) from customers where not deleted";
        assert_eq!(scalar(&db, live).await, 1);
        let left = "select count(*) from outgoing_events where body like '%uid_1%'
            and body not like '%\"event_id\":\"uid_1%'";
        assert_eq!(scalar(&db, left).await, 0);
        let kept = "select count(*) from outgoing_events
            where kind = 'payment.succeeded' and body like '%\"payment\"%' and body like '%p1%'";
        assert_eq!(scalar(&db, kept).await, 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_told_of_a_payment_after_its_customer_went_stays_to_be_delivered() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        listen(&db).await;
        let refund = json!({"id": "r1", "payment_id": "p1", "amount": 200, "currency": "USD", "status": "succeeded"});
        let dispute = json!({"id": "d1", "payment_id": "p1", "amount": 100, "currency": "USD", "status": "open"});
        for said in [
            recorded(1, "u1", "Ada"),
            paid(2, "u1", "p1", 500),
            deleted(5, "u1"),
            event(6, "refund.recorded", &json!({"refund": refund})),
            event(7, "dispute.recorded", &json!({"dispute": dispute})),
        ] {
            pipeline.process(&[said]).await.expect("it commits");
        }
        let told = "select count(*) from outgoing_events where body like '%\"payment_id\"%'
            and kind in ('payment.refunded', 'payment.disputed')";
        assert_eq!(scalar(&db, told).await, 2);
        assert_no_drift(&db).await;
    })
    .await;
}

#[tokio::test]
async fn a_payment_that_turns_out_to_be_a_deleted_persons_tells_no_more_of_what_it_was_for() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        listen(&db).await;
        let about = |n: u32, key: &str| {
            let payment = json!({"id": key, "amount": 500, "currency": "USD",
                "status": "succeeded", "description": "For Ada Lovelace"});
            let refund = json!({"id": "r1", "payment_id": key, "amount": 200, "currency": "USD",
                "status": "succeeded"});
            [
                event(n, "payment.recorded", &json!({"payment": payment})),
                event(n + 1, "refund.recorded", &json!({"external_id": "u1", "refund": refund})),
            ]
        };
        // In one batch with the deletion, and after it.
        let ([first, refunded], [later, also]) = (about(1, "p1"), about(3, "p2"));
        pipeline.process(&[first, refunded, deleted(9, "u1")]).await.expect("it commits");
        pipeline.process(&[later]).await.expect("it commits");
        pipeline.process(&[also]).await.expect("it commits");
        let left = "select count(*) from outgoing_events where body like '%Lovelace%'";
        assert_eq!(scalar(&db, left).await, 0);
        let told = "select count(*) from outgoing_events where kind = 'payment.refunded'";
        assert_eq!(scalar(&db, told).await, 2);
    })
    .await;
}

#[tokio::test]
async fn an_identity_that_comes_back_goes_on_from_the_version_of_its_deleted_customer() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let batch = [recorded(1, "u1", "Ada"), identified(2, "u1", "uid_1"), deleted(5, "u1")];
        pipeline.process(&batch).await.expect("it commits");
        let versions = scalar(&db, "select max(version) from customers").await;
        let identities = json!([{"provider": "clerk", "uid": "uid_1", "kind": "auth"}]);
        let data = json!({"identities": identities, "customer": {"name": "Eve"}});
        pipeline.process(&[event(9, "customer.recorded", &data)]).await.expect("it commits");
        let version = "select version from customers where not deleted";
        assert_eq!(scalar(&db, version).await, versions + 1);
    })
    .await;
}

#[tokio::test]
async fn bodies_that_assert_nothing_lose_the_deleted_person_too_whenever_they_came() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let sent = |n: u32| {
            let mail = json!({"user_id": "uid_1", "to_email_address": "lovelace@example.org"});
            clerk(n, "email.created", &mail)
        };
        let unusable =
            clerk(3, "user.updated", &json!({"user_id": "uid_1", "last_name": "Lovelace"}));
        let other = clerk(
            4,
            "email.created",
            &json!({"user_id": "uid_2", "to_email_address": "b@example.org"}),
        );
        let user = clerk(2, "user.created", &user("uid_1", None));
        pipeline.process(&[sent(1), user, unusable, other]).await.expect("it commits");
        let gone = json!({"id": "uid_1", "object": "user", "deleted": true});
        pipeline.process(&[clerk(5, "user.deleted", &gone)]).await.expect("it commits");
        pipeline.process(&[sent(6)]).await.expect("it commits");
        let kept = "select count(*) from inbound_events where length(body) > 0
            and kind in ('email.created', 'user.updated', 'user.created')";
        assert_eq!(scalar(&db, kept).await, 1, "that of uid_2");
        let verdicts =
            "select count(*) from inbound_events where verdict in ('ignored', 'rejected')";
        assert_eq!(scalar(&db, verdicts).await, 4);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_uid_is_not_listened_to_though_the_external_id_that_it_names_is_open() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let batch = [
            clerk(1, "user.created", &user("uid_1", Some("u1"))),
            clerk(2, "user.created", &user("uid_2", Some("u1"))),
        ];
        pipeline.process(&batch).await.expect("it commits");
        let gone = json!({"id": "uid_1", "object": "user", "deleted": true});
        pipeline.process(&[clerk(5, "user.deleted", &gone)]).await.expect("it commits");
        pipeline.process(&[clerk(6, "user.updated", &user("uid_1", Some("u1")))]).await.expect("it commits");
        let ignored = "select count(*) from inbound_events where kind = 'user.updated' and verdict = 'ignored'";
        assert_eq!(scalar(&db, ignored).await, 1);
        assert_eq!(scalar(&db, "select count(*) from customers where not deleted").await, 1);
    })
    .await;
}

#[tokio::test]
async fn what_was_told_of_an_earlier_owner_of_a_deleted_identity_is_erased_too() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        listen(&db).await;
        for said in [
            clerk(1, "user.created", &user("uid_1", None)),
            recorded(2, "u1", "Bob"),
            identified(3, "u1", "uid_1"),
            recorded(4, "u2", "Eve"),
            identified(5, "u2", "uid_1"),
        ] {
            pipeline.process(&[said]).await.expect("it commits");
        }
        let told = "select count(*) from outgoing_events where body like '%uid_1@example.org%'";
        assert!(scalar(&db, told).await > 1);
        let erase = event(9, "customer.deleted", &json!({"external_id": "u2"}));
        pipeline.process(&[erase]).await.expect("it commits");
        assert_eq!(scalar(&db, told).await, 0);
        let other = "select count(*) from customers as c join customer_profiles as p on p.customer_id = c.id
            where p.name = 'Bob' and not c.deleted";
        assert_eq!(scalar(&db, other).await, 1);
    })
    .await;
}
