//! A source's secret is rotated while its events flow.

use super::{
    ENVIRONMENT,
    garbage::{publish, signed},
    text,
};
use crate::{
    http::client::Request,
    support::{
        services::{TestBroker, TestDatabase, broker, on_both},
        wait::eventually,
        world::World,
    },
};
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    model::time::Timestamp,
    simulator::{Sender, Senders},
};
use lapin::{Connection, ConnectionProperties};
use serde_json::Value;
use std::{collections::BTreeSet, net::SocketAddr};

/// An app's event as a gateway would put it into the queue: signed and received at this time.
struct Event<'s> {
    id: &'s str,
    sender: &'s Sender,
    at: Timestamp,
}

impl Event<'_> {
    fn body(&self) -> Vec<u8> {
        format!(
            r#"{{"id": "{0}", "type": "customer.recorded", "occurred_at": "{1}",
                "data": {{"external_id": "{0}", "customer": {{"name": "{0}"}}}}}}"#,
            self.id,
            self.at.to_millis_text()
        )
        .into_bytes()
    }
}

/// What became of the events that have come in: the ids of those that were applied, the reasons of the others.
async fn verdicts(world: &World) -> (BTreeSet<String>, Vec<String>) {
    let list = ["event", "list", "--limit", "1000", "--json"];
    let listed = world.run(&list).await;
    assert!(listed.status.success(), "{}", text(&listed));
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let (mut applied, mut reasons) = (BTreeSet::new(), Vec::new());
    for event in listed["data"].as_array().expect("a list") {
        let word = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        if word("verdict") == "applied" {
            applied.insert(word("event_id"));
        } else {
            reasons.push(word("reason"));
        }
    }
    (applied, reasons)
}

/// Both secrets are configured, each with the time in which it holds. What waits in the queue is judged by when it
/// was received, not by when it is read.
#[tokio::test]
async fn what_the_old_secret_signed_before_the_rotation_is_taken_from_the_backlog_after_it() {
    on_both(async |database| is_taken_after_the_rotation(&database).await).await;
}

/// A source that knows these secrets, and its surroundings.
fn world(database: &TestDatabase, names: &TestBroker, sender: &Sender, secrets: &str) -> World {
    let Sender { name, provider, namespace, .. } = sender;
    let config = format!(
        "[secrets]\nkey = 'the key of this test, long enough to be one'\n\
         [[sources]]\nname = {name:?}\nprovider = {provider:?}\nnamespace = {namespace:?}\n\
         environment = '{ENVIRONMENT}'\nsecrets = [{secrets}]\n"
    );
    World::new(database, &config).with_broker(names)
}

async fn is_taken_after_the_rotation(database: &TestDatabase) {
    let names = broker();
    let old = Senders::generated(7).app;
    let new = Sender { secret: Senders::generated(8).app.secret, ..old.clone() };
    let rotated = Clock::system().now().plus(-TimeDelta::minutes(30));
    let config = |secrets: String| world(database, &names, &old, &secrets);
    let connection = Connection::connect(&names.url, ConnectionProperties::default()).await;
    let connection = connection.expect("the broker answers");
    let channel = connection.create_channel().await.expect("a channel");
    let put_in = async |event: Event<'_>| {
        let message = signed(event.sender, event.id, &event.body(), event.at);
        publish(&channel, &names, &message).await;
    };
    let at = |minutes| rotated.plus(TimeDelta::minutes(minutes));

    let before = config(format!("{:?}", old.secret.expose()));
    let daemon = before.start().await;
    put_in(Event { id: "flows", sender: &old, at: at(-20) }).await;
    eventually("it flows", async || verdicts(&before).await, |seen| seen.0.len() == 1).await;
    assert_eq!(daemon.stop().await.code(), Some(0));

    for event in [
        Event { id: "backlog", sender: &old, at: at(-10) },
        Event { id: "first of the new", sender: &new, at: at(1) },
        Event { id: "last of the old", sender: &old, at: at(0) },
        Event { id: "old, too late", sender: &old, at: at(5) },
        Event { id: "new, too early", sender: &new, at: at(-5) },
        Event { id: "new", sender: &new, at: at(20) },
    ] {
        put_in(event).await;
    }
    let after = config(format!(
        "{{ value = {:?}, until = '{until}' }}, {{ value = {:?}, from = '{until}' }}",
        old.secret.expose(),
        new.secret.expose(),
        until = rotated.to_millis_text(),
    ));
    let daemon = after.start().await;
    let look = async || verdicts(&after).await;
    let (applied, reasons) = eventually("the backlog is read", look, |(applied, reasons)| {
        applied.len() + reasons.len() == 7
    })
    .await;
    let good = ["backlog", "first of the new", "flows", "last of the old", "new"];
    assert_eq!(applied, good.map(str::to_owned).into());
    let unmatched = |reason: &String| reason.contains("matches no secret of the source");
    assert!(reasons.iter().all(unmatched), "{reasons:?}");
    assert_eq!(daemon.stop().await.code(), Some(0));
    connection.close(200, "done".into()).await.expect("it closes");
}

/// What the ingress answers to an event that comes now.
async fn posted(address: SocketAddr, event: &Event<'_>) -> u16 {
    let Event { id, sender, .. } = event;
    let body = event.body();
    let headers = sender.sign(id, &body, Clock::system().now());
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let path = format!("/ingest/{}", sender.name);
    Request::post(&path, &body).headers(headers).send(address).await.status
}

/// How many events come by each of the three stages of a rotation.
const EACH: usize = 20;

/// Both are valid for a while, as at providers that sign with either of two: the sender changes from one to the other
/// while events flow, and signs some a second time that were on their way.
#[tokio::test]
async fn no_event_is_lost_while_the_sender_goes_over_from_one_valid_secret_to_the_other() {
    on_both(async |database| {
        let names = broker();
        let old = Senders::generated(7).app;
        let other = |seed| Sender { secret: Senders::generated(seed).app.secret, ..old.clone() };
        let (new, stranger) = (other(8), other(9));
        let secrets = format!("{:?}, {:?}", old.secret.expose(), new.secret.expose());
        let world = world(&database, &names, &old, &secrets);
        let daemon = world.start().await;
        let at = Clock::system().now();
        let post = async |id: &str, sender: &Sender| {
            posted(daemon.address, &Event { id, sender, at }).await
        };
        let ids: Vec<String> = (0..3 * EACH).map(|number| format!("event {number}")).collect();
        for (number, id) in ids.iter().enumerate() {
            let is_new = match number / EACH {
                0 => false,
                1 => number % 2 == 0,
                _ => true,
            };
            let sender = if is_new { &new } else { &old };
            assert_eq!(post(id, sender).await, 202, "{id}");
            if number / EACH == 1 {
                assert_eq!(post(id, &new).await, 202, "{id} once more");
            }
            let forged = format!("forged {number}");
            assert_eq!(post(&forged, &stranger).await, 401);
        }
        let look = async || verdicts(&world).await;
        let enough = |seen: &(BTreeSet<String>, Vec<String>)| seen.0.len() >= ids.len();
        let (applied, reasons) = eventually("all is applied", look, enough).await;
        assert_eq!(applied, ids.into_iter().collect());
        let refused = |reason: &String| reason.contains("matches no secret of the source");
        assert!(reasons.iter().all(refused), "{reasons:?}");
        assert_eq!(daemon.stop().await.code(), Some(0));
    })
    .await;
}
