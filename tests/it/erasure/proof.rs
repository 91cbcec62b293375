//! That a deleted person is gone from all that is kept: the bytes of the SQLite file, the output of `pg_dump`, and the
//! log at its most talkative. The person had a long life first, and left traces in every table there is.

use super::user;
use crate::{
    daemon::{ENVIRONMENT, HOOK, Stage},
    history,
    http::client::{Answer, Request},
    support::{
        dump,
        receiver::Reply,
        services::{TestDatabase, on_both},
        wait::eventually,
        world::Daemon,
    },
};
use customer_sync::{
    clock::Clock,
    config::Config,
    keyring::Keyring,
    model::inbound::{Headers, Raw},
    pipeline::{Disposition, Pipeline},
    simulator::{Options, Sender},
    store::Db,
};
use serde_json::{Value, json};

/// What names the person, and nothing else here: each text about the person has one of these in it. The last one is in
/// all of the person's ids, which are told to the endpoints with the deletion itself.
const MARKS: [&str; 3] = ["zephyrine", "zq77", ID];
const ID: &str = "ref88";

/// How far before an id in a body its type stands, at most.
const BODY: usize = 1_000;

const KEY: &str = "a key of this test, long enough to be one";

/// What is counted of the person's traces: each is there before the deletion, and none after it.
const TRACES: &[&str] = &[
    "select count(*) from customer_references where subject like '%ref88%'",
    "select count(*) from customer_profiles where lower(name) like '%zephyrine%'",
    "select count(*) from payments where lower(cast(facts as text)) like '%zq77%'",
    "select count(*) from outgoing_events as e join messages as m on m.event_id = e.id
     where m.status = 'delivered' and lower(e.body) like '%zephyrine%'",
    "select count(*) from outgoing_events as e join messages as m on m.event_id = e.id
     where m.status = 'pending' and lower(e.body) like '%zephyrine%'",
    "select count(*) from outgoing_events as e join messages as m on m.event_id = e.id
     where m.status = 'dead' and lower(e.body) like '%zephyrine%'",
    "select count(*) from attempts where outcome = 'delivered' and lower(response) like '%zephyrine%'",
    "select count(*) from attempts where outcome = 'failed' and lower(response) like '%zephyrine%'",
    "select count(*) from idempotency_keys where lower(answer) like '%zephyrine%'",
    "select count(*) from conflicts where kind = 'reference_moved' and detail like '%ref88%'",
    "select count(*) from inbound_events where verdict = 'applied' and source = 'api' and length(body) > 0",
    "select count(*) from inbound_events where verdict = 'applied' and source = 'clerk' and length(body) > 0",
    "select count(*) from inbound_events where verdict = 'ignored' and length(body) > 0",
    "select count(*) from inbound_events where verdict = 'rejected' and not refused and length(body) > 0",
    "select count(*) from inbound_events where verdict = 'dead' and length(body) > 0",
];

struct Life {
    stage: Stage,
    daemon: Daemon,
    key: String,
}

impl Life {
    async fn begin(database: TestDatabase) -> Self {
        let more = format!("[log]\nlevel = 'debug'\n[secrets]\nkey = '{KEY}'");
        let stage = Stage::new(database, None, &more).await;
        stage.receiver.always(HOOK, Reply::Echo(200));
        stage.receiver.always("/broken", Reply::Echo(400));
        stage.receiver.always("/later", Reply::Echo(503));
        let daemon = stage.world.start().await;
        let create = ["key", "create", "--environment", ENVIRONMENT, "--scope", "admin", "--json"];
        let made = stage.world.run(&create).await;
        let made: Value = serde_json::from_slice(&made.stdout).expect("a key is made");
        let key = made["key"].as_str().expect("a key").to_owned();
        let life = Self { stage, daemon, key };
        for (path, schedule) in [("/broken", json!([1])), ("/later", json!([3_600]))] {
            let endpoint = json!({"url": life.stage.receiver.url(path), "schedule": schedule});
            assert_eq!(life.ask("POST", "/v1/webhook-endpoints", &endpoint).await.status, 201);
        }
        life
    }

    async fn ask(&self, method: &'static str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        Request::with_body(method, path, &body)
            .key(&self.key)
            .header("content-type", "application/json")
            .header("idempotency-key", &format!("{method}-{}", key_of(&body)))
            .send(self.daemon.address)
            .await
    }

    async fn sent(&self, sender: &Sender, id: &str, body: &Value) {
        let (body, now) = (body.to_string(), Clock::system().now());
        let headers = sender.sign(id, body.as_bytes(), now);
        let post = Request::post(&format!("/ingest/{}", sender.name), body.as_bytes())
            .headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        assert_eq!(post.send(self.daemon.address).await.status, 202);
    }

    async fn clerk(&self, id: &str, kind: &str, mut data: Value) {
        let at = Clock::system().now().micros() / 1_000;
        data["updated_at"] = json!(at);
        let body = json!({"object": "event", "type": kind, "timestamp": at, "data": data});
        self.sent(&self.stage.senders.clerk, id, &body).await;
    }

    async fn stripe(&self, id: &str, kind: &str, object: Value) {
        let created = Clock::system().now().seconds();
        let body = json!({"id": id, "object": "event", "type": kind, "created": created,
            "livemode": false, "data": {"object": object}});
        self.sent(&self.stage.senders.stripe, id, &body).await;
    }

    async fn app(&self, id: &str, kind: &str, data: Value) {
        let at = Clock::system().now().to_millis_text();
        let body = json!({"id": id, "type": kind, "occurred_at": at, "data": data});
        self.sent(&self.stage.senders.app, id, &body).await;
    }

    /// What the broker gave up comes in as the intake reads it from the dead letters.
    async fn dead_letter(&self, body: &Value) {
        let options = Options {
            environment: ENVIRONMENT.into(),
            senders: self.stage.senders.clone(),
            ..Options::demo()
        };
        let pipeline = Pipeline {
            keyring: keyring(),
            clock: Clock::system(),
            ..history::pipeline(&self.stage.database, &options)
        };
        let (body, now) = (body.to_string(), Clock::system().now());
        let headers = self.stage.senders.clerk.sign("dead", body.as_bytes(), now);
        let raw = Raw {
            source: "clerk".into(),
            headers: Headers::from_iter(headers),
            body: body.into(),
            received_at: Some(now),
            queue_id: None,
            dead: Some("expired".into()),
        };
        let dispositions = pipeline.process(&[raw]).await.expect("it commits");
        assert_eq!(dispositions.len(), 1, "{dispositions:?}");
        assert_ne!(dispositions[0], Disposition::Duplicate);
    }

    /// A customer of everything. Its id.
    async fn live(&self) -> String {
        let profile = json!({"external_id": "user-ref88", "name": "Zephyrine Quill",
            "email": "zephyrine@example.org", "phone": "+4915550100077", "tags": ["zq77-friend"],
            "metadata": {"nickname": "zq77-zeph", "plan": "pro"}});
        let made = self.ask("POST", "/v1/customers", &profile).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let id = made.json()["id"].as_str().expect("an id").to_owned();
        self.clerk("c1", "user.created", user("user_ref88", Some("user-ref88"))).await;
        let mut named = user("user_ref88", Some("user-ref88"));
        named["first_name"] = json!("Zephyrine");
        named["unsafe_metadata"] = json!({"note": "zq77-note"});
        self.clerk("c2", "user.updated", named).await;
        let mail = json!({"user_id": "user_ref88", "to_email_address": "zephyrine@example.org"});
        self.clerk("c3", "email.created", mail).await;
        self.clerk(
            "c4",
            "user.updated",
            json!({"user_id": "user_ref88", "first_name": "Zephyrine"}),
        )
        .await;
        let intent = json!({"id": "pi_1001", "object": "payment_intent", "amount": 900,
            "amount_received": 900, "currency": "usd", "status": "succeeded", "created": 1_767_225_600,
            "customer": "cus_ref88", "description": "Lessons for Zephyrine Quill",
            "receipt_email": "zephyrine@example.org",
            "metadata": {"user_id": "user-ref88", "gift_to": "zq77-gift"}});
        self.stripe("evt_1001", "payment_intent.succeeded", intent).await;
        let card = json!({"id": "cus_ref88", "object": "customer", "name": "Zephyrine Q",
            "email": "zephyrine@example.org", "phone": "+4915550100077", "metadata": {}});
        self.stripe("evt_1002", "customer.created", card).await;
        let subscription = json!({"id": "sub_1001", "status": "active", "plan": "pro"});
        let data = json!({"external_id": "user-ref88", "subscription": subscription});
        self.app("a1", "subscription.recorded", data).await;
        let payment = json!({"id": "order-1001", "amount": 100, "currency": "USD", "status": "succeeded",
            "description": "for Zephyrine", "metadata": {"to": "zq77-to"}});
        let data = json!({"external_id": "user-ref88", "payment": payment});
        self.app("a2", "payment.recorded", data).await;
        let refund = json!({"id": "re_1001", "payment_id": "order-1001", "amount": 50, "currency": "USD",
            "status": "succeeded"});
        self.app("a3", "refund.recorded", json!({"refund": refund})).await;
        let paying = json!([{"provider": "stripe", "uid": "cus_ref88", "kind": "payment"}]);
        let data = json!({"external_id": "user-ref88", "identities": paying, "customer": {}});
        self.app("a6", "customer.recorded", data).await;
        // Two users claim one login: the claim moves, and is a conflict.
        let login = json!([{"provider": "clerk", "uid": "login_shared", "kind": "auth"}]);
        for (event, user) in [("a4", "user-ref88"), ("a5", "user-other")] {
            let data = json!({"external_id": user, "identities": login, "customer": {}});
            self.app(event, "customer.recorded", data).await;
        }
        let old = json!({"external_id": "old-ref88", "name": "Zephyrine the Elder"});
        let old = self.ask("POST", "/v1/customers", &old).await.json()["id"].clone();
        let merge = json!({"from": old, "keep": "user-ref88"});
        let merged = self.ask("POST", &format!("/v1/customers/{id}/merge"), &merge).await;
        assert_eq!(merged.status, 200, "{}", merged.text);
        let change = json!({"name": "Zephyrine Quill-Moor", "metadata": {"nickname": "zq77-z"}});
        assert_eq!(self.ask("PATCH", &format!("/v1/customers/{id}"), &change).await.status, 200);
        let lost = json!({"object": "event", "type": "user.updated", "timestamp": 1_767_225_600_000_u64,
            "data": {"id": "user_ref88", "object": "user", "first_name": "Zephyrine"}});
        self.dead_letter(&lost).await;
        id
    }

    /// All that the API shows of the person is asked for, so that it could stand in the log.
    async fn is_looked_at(&self, id: &str) {
        for path in ["", "/timeline", "/provenance", "/payments"] {
            self.ask("GET", &format!("/v1/customers/{id}{path}"), &Value::Null).await.ok();
        }
        for query in ["external_id=user-ref88", "provider=clerk&provider_uid=user_ref88"] {
            self.ask("GET", &format!("/v1/customers/lookup?{query}"), &Value::Null).await.ok();
        }
        self.ask("GET", "/v1/customers?search=Zephyrine", &Value::Null).await.ok();
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let mut tx = self.stage.database.db.snapshot().await.expect("a snapshot");
        tx.query(sql).one::<(i64,)>().await.expect(sql).0
    }
}

/// The daemon's own.
fn keyring() -> Keyring {
    let config = Config::parse(&format!("[secrets]\nkey = '{KEY}'")).expect("settings");
    config.key().expect("a key").keyring
}

/// An `Idempotency-Key` of its own for each body.
fn key_of(body: &[u8]) -> String {
    hex::encode(keyring().request_hash("", body).as_bytes())
}

/// All that the database keeps, in bytes: free pages and the log beside the file, too.
async fn kept(database: &TestDatabase) -> Vec<u8> {
    match &database.db {
        Db::Sqlite { writer, .. } => {
            let checkpoint = sqlx::query("pragma wal_checkpoint(truncate)");
            checkpoint.execute(writer).await.expect("it is written back");
            let path = database.url.strip_prefix("sqlite://").expect("a file").to_owned();
            let files = ["", "-wal", "-shm"].map(|end| std::fs::read(format!("{path}{end}")));
            files.into_iter().flatten().flatten().collect()
        }
        Db::Postgres { .. } => {
            let (server, schema) = dump::apart(&database.url);
            dump::run("pg_dump", &["--schema", &schema, server.as_str()])
        }
    }
}

/// Where some bytes tell of the person: as text, and as `pg_dump` writes bytes.
fn found(bytes: &[u8]) -> Vec<String> {
    let text = bytes.to_ascii_lowercase();
    let hex: Vec<String> = ["Zephyrine", "zephyrine", "zq77", ID].map(hex::encode).into();
    let marks = MARKS.into_iter().chain(hex.iter().map(String::as_str)).map(str::as_bytes);
    let mut places = Vec::new();
    for mark in marks {
        let starts = (0..text.len()).filter(|at| text[*at..].starts_with(mark));
        for at in starts {
            let before = &text[at.saturating_sub(BODY)..at];
            let is_told = mark == ID.as_bytes() && contains(before, b"\"customer.deleted\"");
            if !is_told {
                let around = &bytes[at.saturating_sub(200)..bytes.len().min(at + 60)];
                places.push(String::from_utf8_lossy(around).into_owned());
            }
        }
    }
    places
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test]
async fn a_deleted_person_is_nowhere_in_the_database_and_was_never_in_the_log() {
    on_both(async |database| {
        let life = Life::begin(database).await;
        let id = life.live().await;
        for sql in TRACES {
            let count = async || life.count(sql).await;
            eventually(sql, count, |count| *count > 0).await;
        }
        let under_way =
            "select count(*) from messages as m join endpoints as e on e.id = m.endpoint_id
            where m.status = 'pending' and e.url not like '%/later'";
        eventually("tries end", async || life.count(under_way).await, |count| *count == 0).await;
        assert!(
            found(&kept(&life.stage.database).await).len() > 100,
            "the search finds what is there"
        );

        life.is_looked_at(&id).await;
        let gone =
            life.ask("DELETE", &format!("/v1/customers/{id}?payments=erase"), &Value::Null).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
        let told =
            "select count(*) from outgoing_events as e join messages as m on m.event_id = e.id
            where e.kind = 'customer.deleted' and m.status = 'delivered'";
        eventually("it is told", async || life.count(told).await, |count| *count > 0).await;
        let Life { stage, daemon, .. } = life;
        let log = daemon.log();
        assert!(daemon.stop().await.success());

        let left = found(&kept(&stage.database).await);
        assert!(left.is_empty(), "{} traces are left:\n{}", left.len(), left.join("\n---\n"));
        assert!(log.contains("answered a request"), "the log is at debug");
        let logged = found(log.as_bytes());
        assert!(logged.is_empty(), "the log tells of the person:\n{}", logged.join("\n---\n"));
    })
    .await;
}
