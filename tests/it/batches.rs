//! Bodies of several events on both databases: each is believed, kept, erased and processed again without its
//! neighbours (semantics 1 and 4).

use crate::{
    pipeline::{assert_no_drift, event, pipeline, raw, scalar, source},
    support::services::{TestDatabase, on_both},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use customer_sync::{
    model::{
        id::InboundId,
        inbound::{Headers, Raw},
        secret::Secret,
        time::Timestamp,
    },
    pipeline::{Disposition, Pipeline},
    provider::{Source, SourceSecret},
    store::Db,
    verify::{presets, scheme::sign},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::Arc;

const SECRET: &str = "00ff00ff00ff00ff00ff00ff00ff00ff";

/// A pipeline whose batches come from sources that check what is signed.
fn checked(db: &Db) -> Pipeline {
    let mut pipeline = pipeline(db);
    let mut sources = pipeline.sources.as_ref().clone();
    for name in ["adyen", "gocardless"] {
        let source = Source {
            secrets: vec![SourceSecret { value: Secret::new(SECRET), from: None, until: None }],
            unsigned: false,
            ..source(name, name, "live").as_ref().clone()
        };
        sources.insert(name.into(), Arc::new(source));
    }
    pipeline.sources = Arc::new(sources);
    pipeline
}

/// One payment of a user, signed over its eight fields with a secret.
fn authorised(payment: &str, user: &str, secret: &str) -> Value {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&hex::decode(secret).expect("hex")).expect("a key");
    mac.update(format!("{payment}::Merchant:order:2000:EUR:AUTHORISATION:true").as_bytes());
    json!({"NotificationRequestItem": {
        "additionalData": {
            "hmacSignature": STANDARD.encode(mac.finalize().into_bytes()),
            "shopperReference": user,
        },
        "amount": {"value": 2000, "currency": "EUR"},
        "eventCode": "AUTHORISATION", "eventDate": "2026-01-01T00:00:05Z",
        "merchantAccountCode": "Merchant", "merchantReference": "order", "pspReference": payment,
        "success": "true",
    }})
}

fn adyen(items: &[Value]) -> Raw {
    raw("adyen", json!({"live": "true", "notificationItems": items}).to_string())
}

/// One event of a customer's payment, which asserts something or is of a type that is not mapped.
fn confirmed(id: &str, resource: &str, customer: &str) -> Value {
    json!({"id": id, "created_at": "2026-01-01T00:00:05Z", "resource_type": resource,
        "action": "confirmed", "links": {"payment": format!("PM-{id}"), "customer": customer}})
}

fn gocardless(events: &[Value]) -> Raw {
    let body = json!({"events": events, "meta": {"webhook_id": "WB1"}}).to_string();
    let at = Timestamp::parse("2026-01-02T00:00:00Z").expect("a time");
    let secret = Secret::new(SECRET);
    let headers = sign(&presets::GOCARDLESS, &secret, body.as_bytes(), "", at, None);
    Raw { headers: headers.expect("signed"), ..raw("gocardless", body) }
}

async fn bodies(db: &Db) -> Vec<(InboundId, String, String)> {
    let mut tx = db.begin().await.expect("a transaction");
    let rows: Vec<(InboundId, String, Vec<u8>)> = tx
        .query("select id, verdict, body from inbound_events order by id")
        .all()
        .await
        .expect("rows");
    let text = |body| String::from_utf8(body).expect("text");
    rows.into_iter().map(|(id, verdict, body)| (id, verdict, text(body))).collect()
}

#[tokio::test]
async fn a_bad_item_is_one_rejected_event_and_its_neighbours_apply() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = checked(&db);
        let batch = adyen(&[
            authorised("PSP1", "u1", SECRET),
            authorised("PSP2", "u2", "ff"),
            authorised("PSP3", "u3", SECRET),
        ]);
        assert_eq!(pipeline.process(&[batch]).await.expect("it commits"), [Disposition::Applied]);
        assert_eq!(scalar(&db, "select count(*) from payments").await, 2);
        let all = bodies(&db).await;
        let verdicts: Vec<_> = all.iter().map(|(_, verdict, _)| verdict.as_str()).collect();
        assert_eq!(verdicts, ["applied", "rejected", "applied"]);
        for ((_, _, body), payment) in all.iter().zip(["PSP1", "PSP2", "PSP3"]) {
            let body: Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(body["live"], "true");
            let items = body["notificationItems"].as_array().expect("a list");
            assert_eq!(items.len(), 1);
            assert_eq!(items[0]["NotificationRequestItem"]["pspReference"], payment);
        }
        let unverified = "select count(*) from inbound_events where not verified
            and verdict = 'rejected' and reason like '%matches no secret%'";
        assert_eq!(scalar(&db, unverified).await, 1);
        // Its secret is added, and it is processed again.
        let mut mended = checked(&db);
        let mut sources = mended.sources.as_ref().clone();
        let mut source = sources["adyen"].as_ref().clone();
        source.secrets.push(SourceSecret { value: Secret::new("ff"), from: None, until: None });
        sources.insert("adyen".into(), Arc::new(source));
        mended.sources = Arc::new(sources);
        let replayed =
            |pipeline: Pipeline, id| async move { pipeline.replay(id).await.expect("it commits") };
        let again = replayed(pipeline.clone(), all[1].0).await.expect("it is replayable");
        assert!(matches!(again, Disposition::Rejected(_)), "{again:?}");
        let (id, ..) = bodies(&db).await.into_iter().find(|row| row.1 == "rejected").expect("it");
        assert_eq!(replayed(mended, id).await, Some(Disposition::Applied));
        assert_eq!(scalar(&db, "select count(*) from payments").await, 3);
        assert_no_drift(&db).await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_believed_is_one_rejected_event_that_keeps_it_whole() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = checked(&db);
        let batch = adyen(&[authorised("PSP1", "u1", "ff"), authorised("PSP2", "u2", "ff")]);
        let all = pipeline.process(std::slice::from_ref(&batch)).await.expect("it commits");
        let [Disposition::Rejected(why)] = all.as_slice() else { panic!("{all:?}") };
        assert!(why.starts_with("item 1: "), "{why}");
        let kept = bodies(&db).await;
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].2.as_bytes(), batch.body.as_ref());
    })
    .await;
}

/// Names lose their U+0000 before they are read: a list that was never checked could take the place of the signed one.
#[tokio::test]
async fn what_is_read_is_what_was_signed_whatever_names_a_body_uses() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = checked(&db);
        let (good, forged) = (authorised("PSP1", "u1", SECRET), authorised("PSP2", "u2", "ff"));
        let mut inner = good.clone();
        inner["NotificationRequestItem"]["amount"]["value\u{0}"] = json!(999_999);
        let mut named = good.clone();
        named["NotificationRequestItem\u{0}"] = forged["NotificationRequestItem"].clone();
        let lists = json!({"notificationItems": [&good], "notificationItems\u{0}": [&forged]});
        for raw in [raw("adyen", lists.to_string()), adyen(&[inner]), adyen(&[named])] {
            let done = pipeline.process(&[raw]).await.expect("it commits");
            assert!(matches!(done.as_slice(), [Disposition::Rejected(_)]), "{done:?}");
        }
        assert_eq!(scalar(&db, "select count(*) from payments").await, 0);
    })
    .await;
}

/// An event stays in the environment that it was received in, whatever its source is for by now.
#[tokio::test]
async fn an_event_of_a_source_that_moved_to_another_environment_is_not_processed_again() {
    on_both(async |TestDatabase { db, .. }| {
        let mut pipeline = checked(&db);
        let batch = adyen(&[authorised("PSP1", "u1", "ff")]);
        let done = pipeline.process(&[batch]).await.expect("it commits");
        assert!(matches!(done.as_slice(), [Disposition::Rejected(_)]), "{done:?}");
        let (id, ..) = bodies(&db).await.pop().expect("it is kept");
        let mut sources = pipeline.sources.as_ref().clone();
        let moved = Source { environment: "test".into(), ..sources["adyen"].as_ref().clone() };
        sources.insert("adyen".into(), Arc::new(moved));
        pipeline.sources = Arc::new(sources);
        assert_eq!(pipeline.replay(id).await.expect("it is looked for"), None);
        assert_eq!(bodies(&db).await.len(), 1, "it stays as it was");
    })
    .await;
}

/// GoCardless names no amounts: such payments have times all the same.
#[tokio::test]
async fn payments_without_a_currency_keep_their_first_and_last_time() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = checked(&db);
        let paid = |id: &str, payment: &str, action: &str, day: u32| {
            gocardless(&[json!({"id": id, "created_at": format!("2026-01-0{day}T00:00:05Z"),
                "resource_type": "payments", "action": action, "links": {"payment": payment},
                "resource_metadata": {"external_id": "u1"}})])
        };
        for batch in [
            [paid("EV1", "PM1", "confirmed", 1), paid("EV2", "PM2", "confirmed", 5)],
            [paid("EV3", "PM1", "paid_out", 7), paid("EV3", "PM1", "paid_out", 7)],
            [paid("EV4", "PM2", "paid_out", 8), paid("EV1", "PM1", "confirmed", 1)],
        ] {
            pipeline.process(&batch).await.expect("it commits");
            assert_no_drift(&db).await;
        }
        assert_eq!(scalar(&db, "select count(*) from payments").await, 2);
    })
    .await;
}

#[tokio::test]
async fn items_that_come_again_in_another_batch_are_duplicates() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = checked(&db);
        let [one, two, three] = ["a", "b", "c"].map(|id| confirmed(id, "payments", "CU1"));
        let first = gocardless(&[one.clone(), two.clone(), three.clone()]);
        pipeline.process(&[first]).await.expect("it commits");
        let again = [gocardless(&[three, one]), gocardless(&[two])];
        let dispositions = pipeline.process(&again).await.expect("it commits");
        assert_eq!(dispositions, vec![Disposition::Duplicate; 2]);
        assert_eq!(scalar(&db, "select count(*) from inbound_events").await, 3);
        assert_eq!(scalar(&db, "select cast(sum(copies) as bigint) from inbound_events").await, 6);
        let resent = "select count(*) from inbound_events where resent_changed";
        assert_eq!(scalar(&db, resent).await, 0);
        let [x, y] = ["PSP1", "PSP2"].map(|id| authorised(id, "u1", SECRET));
        let batches = [adyen(&[x.clone(), y.clone()]), adyen(&[y]), adyen(&[x])];
        let dispositions = pipeline.process(&batches).await.expect("it commits");
        let [applied, duplicates @ ..] = dispositions.as_slice() else { panic!("three") };
        assert_eq!(applied, &Disposition::Applied);
        assert_eq!(duplicates, [Disposition::Duplicate, Disposition::Duplicate]);
    })
    .await;
}

#[tokio::test]
async fn a_deletion_erases_the_item_of_one_person_and_keeps_the_neighbours() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = checked(&db);
        let batch =
            adyen(&["u1", "u2"].map(|user| authorised(&format!("PSP-{user}"), user, SECRET)));
        // Of a type that is not mapped: no fact follows, and the body names somebody all the same.
        let thin = gocardless(&["u1", "u2"].map(|user| {
            let mut event = confirmed(user, "mandates", "CU1");
            event["links"] = json!({"user_id": user});
            event
        }));
        pipeline.process(&[batch, thin]).await.expect("it commits");
        let gone = event(9, "customer.deleted", &json!({"external_id": "u1"}));
        pipeline.process(&[gone]).await.expect("it commits");
        let all = bodies(&db).await;
        let items: Vec<_> = all.iter().take(4).map(|(_, _, body)| body.as_str()).collect();
        let [ada, bob, ada_thin, bob_thin] = items.as_slice() else { panic!("four: {items:?}") };
        assert_eq!((*ada, *ada_thin), ("", ""));
        assert!(bob.contains("PSP-u2") && bob_thin.contains("\"u2\""), "{items:?}");
        assert!(items.iter().all(|body| !body.contains("u1")), "{items:?}");
    })
    .await;
}

#[tokio::test]
async fn an_item_is_processed_again_from_what_is_kept_of_it() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = checked(&db);
        let ignored = confirmed("a", "mandates", "CU1");
        let batch = gocardless(&[ignored, confirmed("b", "payments", "CU1"), json!({"id": "c"})]);
        pipeline.process(&[batch]).await.expect("it commits");
        let before = bodies(&db).await;
        let verdicts: Vec<_> = before.iter().map(|(_, verdict, _)| verdict.as_str()).collect();
        assert_eq!(verdicts, ["ignored", "applied", "rejected"]);
        let keys = "select count(distinct dedupe_key) from inbound_events where verified";
        assert_eq!(scalar(&db, keys).await, 3);
        // The signature was over the whole batch, and the secret is another one by now.
        let mut later = checked(&db);
        let mut sources = later.sources.as_ref().clone();
        let mut source = sources["gocardless"].as_ref().clone();
        source.secrets[0].value = Secret::new("quite another one");
        sources.insert("gocardless".into(), Arc::new(source));
        later.sources = Arc::new(sources);
        let again = later.replay(before[0].0).await.expect("it commits");
        assert!(matches!(again, Some(Disposition::Ignored(_))), "{again:?}");
        let again = later.replay(before[2].0).await.expect("it commits");
        let Some(Disposition::Rejected(why)) = again else { panic!("{again:?}") };
        assert_eq!(why, "events[0]: resource_type: is missing");
        let after = bodies(&db).await;
        assert_eq!(after.len(), 3);
        for (_, verdict, body) in &before {
            assert!(after.iter().any(|row| (&row.1, &row.2) == (verdict, body)), "{body}");
        }
        assert_eq!(scalar(&db, keys).await, 3);
        // Its key is what it was: a late copy in another batch is known.
        let copy = gocardless(&[confirmed("a", "mandates", "CU1")]);
        let dispositions = pipeline.process(&[copy]).await.expect("it commits");
        assert_eq!(dispositions, [Disposition::Duplicate]);
        // What nobody checked is checked when it is processed again.
        let forged =
            Raw { headers: Headers::default(), ..gocardless(&[confirmed("d", "payments", "CU1")]) };
        pipeline.process(&[forged]).await.expect("it commits");
        let unbelieved =
            bodies(&db).await.into_iter().find(|row| row.2.contains("PM-d")).expect("it");
        let again = pipeline.replay(unbelieved.0).await.expect("it commits");
        assert!(matches!(again, Some(Disposition::Rejected(_))), "{again:?}");
    })
    .await;
}

#[tokio::test]
async fn a_batch_without_events_is_kept_and_ignored() {
    on_both(async |TestDatabase { db, .. }| {
        let dispositions = checked(&db).process(&[gocardless(&[])]).await.expect("it commits");
        assert_eq!(dispositions, [Disposition::Ignored("the list of events is empty".into())]);
        assert_eq!(bodies(&db).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_large_batch_costs_what_was_sent_and_one_of_too_many_events_is_rejected_whole() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = checked(&db);
        let many = |count: usize| -> Vec<Value> {
            (0..count).map(|n| confirmed(&format!("EV{n}"), "payouts", "CU1")).collect()
        };
        let large = gocardless(&many(3_000));
        let sent = i64::try_from(large.body.len()).expect("a number");
        let taken = pipeline.process(&[large]).await.expect("it commits");
        assert!(matches!(taken.as_slice(), [Disposition::Ignored(_)]), "{taken:?}");
        assert_eq!(scalar(&db, "select count(*) from inbound_events").await, 3_000);
        let kept = "select cast(sum(length(body)) as bigint) from inbound_events";
        // Each has an envelope of its own.
        let envelopes = 3_000 * i64::try_from(r#"{"events":[]}"#.len()).expect("a number");
        assert!(scalar(&db, kept).await < sent + envelopes, "{sent}");
        let small: Vec<Value> = (0..10_001).map(|n| json!({"id": n.to_string()})).collect();
        let taken = pipeline.process(&[gocardless(&small)]).await.expect("it commits");
        let [Disposition::Rejected(why)] = taken.as_slice() else { panic!("{taken:?}") };
        assert!(why.contains("10001 events"), "{why}");
        assert_eq!(scalar(&db, "select count(*) from inbound_events").await, 3_001);
    })
    .await;
}
