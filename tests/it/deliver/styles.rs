//! How deliveries are signed: the styles, and a rotation.

use super::{Setup, requests, settings};
use crate::support::{receiver::Receiver, services::on_both};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use customer_sync::{
    deliver::{sealed, signature},
    model::{
        endpoint::{EndpointSettings, SignatureStyle},
        id::EndpointId,
        message::EventType,
        secret::Secret,
    },
    store::endpoints,
};
use hmac::{Hmac, KeyInit as _, Mac as _};

/// HMAC-SHA256 with the secret as it is shown, in hex: what the other styles sign with.
fn hex_mac(secret: &Secret, parts: &[&[u8]]) -> String {
    let mut mac =
        Hmac::<sha2::Sha256>::new_from_slice(secret.expose().as_bytes()).expect("any length");
    for part in parts {
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn an_endpoint_is_signed_in_the_style_that_it_asks_for() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let style = |signature_style, header: &str| EndpointSettings {
            signature_style,
            signature_header: Some(header.to_owned()),
            ..EndpointSettings::default()
        };
        let timestamped = style(SignatureStyle::Timestamped, "Stripe-Signature");
        let (_, first) = setup.endpoint_with(&receiver.url("/t"), &["*"], timestamped).await;
        let sha256 = style(SignatureStyle::Sha256, "X-Hub-Signature-256");
        let (_, second) = setup.endpoint_with(&receiver.url("/s"), &["*"], sha256).await;
        let both = EndpointSettings { ed25519: true, ..EndpointSettings::default() };
        let (_, third) = setup.endpoint_with(&receiver.url("/e"), &["*"], both).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;

        let request = &requests(&receiver, "/t", 1).await[0];
        let stamp = request.header("webhook-timestamp");
        let mac = hex_mac(&first, &[stamp.as_bytes(), b".", &request.body]);
        assert_eq!(request.header("stripe-signature"), format!("t={stamp},v1={mac}"));
        assert!(request.header("webhook-id").starts_with("msg_"));
        assert_eq!(request.header("webhook-signature"), "");

        let request = &requests(&receiver, "/s", 1).await[0];
        let mac = hex_mac(&second, &[&request.body]);
        assert_eq!(request.header("x-hub-signature-256"), format!("sha256={mac}"));

        let request = &requests(&receiver, "/e", 1).await[0];
        assert!(request.is_signed_with(third.expose()));
        let (_, signature) = request.header("webhook-signature").split_once(" v1a,").expect("v1a");
        let public = signature::PrivateKey::of(&setup.keyring, &third).expect("a key").public();
        let public = STANDARD.decode(public.strip_prefix("whpk_").expect("whpk_")).expect("base64");
        let signed = [
            request.header("webhook-id").as_bytes(),
            b".",
            request.header("webhook-timestamp").as_bytes(),
            b".",
            &request.body,
        ]
        .concat();
        let signature = STANDARD.decode(signature).expect("base64");
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public)
            .verify(&signed, &signature)
            .expect("the public key verifies it");
        running.stop().await;
    })
    .await;
}

async fn rotate(setup: &Setup, endpoint: EndpointId, overlap: TimeDelta) -> Secret {
    let new = signature::new_secret();
    let now = setup.clock.now();
    let mut tx = setup.database.db.begin().await.expect("begins");
    let (_, kept) = endpoints::lock(&mut tx, None, endpoint).await.expect("read").expect("there");
    let secrets =
        sealed::rotated(&setup.keyring, &kept, &new, overlap, now).expect("there is room");
    endpoints::set_secrets(&mut tx, endpoint, &secrets, now).await.expect("written");
    tx.commit().await.expect("commits");
    new
}

#[tokio::test]
async fn a_new_secret_signs_beside_the_old_one_until_that_ends() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let (endpoint, old) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let new = rotate(&setup, endpoint, TimeDelta::hours(24)).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        let request = &requests(&receiver, "/", 1).await[0];
        assert!(request.is_signed_with(old.expose()) && request.is_signed_with(new.expose()));
        let ends: Vec<_> =
            setup.standing(endpoint).await.secrets.iter().map(|term| term.expires_at).collect();
        let [None, Some(end)] = ends[..] else { panic!("the new one first: {ends:?}") };
        let left = end.seconds() - setup.clock.now().seconds();
        assert!((86_300..=86_400).contains(&left), "{left} s");
        running.stop().await;

        let newest = rotate(&setup, endpoint, TimeDelta::zero()).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerUpdated, Some(&running.handover)).await;
        let request = &requests(&receiver, "/", 2).await[1];
        assert!(request.is_signed_with(newest.expose()));
        assert!(!request.is_signed_with(old.expose()) && !request.is_signed_with(new.expose()));
        running.stop().await;
    })
    .await;
}
