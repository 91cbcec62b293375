//! An example receiver: checks each webhook by the rules of Standard Webhooks and hands it on.
//!
//! Written from the specification (standardwebhooks.com) and sharing nothing with the code that signs, so that it
//! can find that wrong; an app in another language does the same in as many lines.

use super::{Settings, server};
use crate::{clock::Clock, model::secret::Secret, shutdown::Shutdown};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use std::{fmt, sync::Arc};
use tokio::net::TcpListener;

/// A webhook whose signature is good.
#[derive(Clone, PartialEq, Debug)]
pub struct Webhook {
    /// The `webhook-id`: the same on every try.
    pub id: String,
    /// The body.
    pub body: Value,
}

/// What is told of each request: the webhook, or why it is none.
pub type Sink = Arc<dyn Fn(Result<Webhook, String>) + Send + Sync>;

/// What a receiver checks with.
#[derive(Clone)]
pub struct Receiver {
    key: Arc<[u8]>,
    clock: Clock,
    sink: Sink,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

/// How far a webhook's time may be from ours, in seconds: against replays.
const TOLERANCE: i64 = 300;

impl Receiver {
    /// With a secret as it was shown, `whsec_…`; none where it is no such secret.
    pub fn new(secret: &Secret, clock: Clock, sink: Sink) -> Option<Self> {
        let key = STANDARD.decode(secret.expose().strip_prefix("whsec_")?).ok()?;
        Some(Self { key: key.into(), clock, sink })
    }

    /// Takes webhooks at any path until stopping is asked for: 204 for a good one, 401 for any other. `GET /healthz`
    /// says that it lives.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> Result<(), server::Error> {
        let live = get(super::health::live).fallback(receive);
        let routes = Router::new().route("/healthz", live).fallback(receive).with_state(self);
        server::run(listener, routes, Settings::default(), shutdown).await
    }

    fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<Webhook, String> {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| format!("{name} is missing"))
        };
        let (id, at) = (header("webhook-id")?, header("webhook-timestamp")?);
        let seconds: i64 = at.parse().map_err(|_| "webhook-timestamp is no number".to_owned())?;
        if seconds.abs_diff(self.clock.now().seconds()) > TOLERANCE.unsigned_abs() {
            return Err("webhook-timestamp is too far from now".into());
        }
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).map_err(|error| error.to_string())?;
        for part in [id.as_bytes(), b".", at.as_bytes(), b".", body] {
            mac.update(part);
        }
        let good = header("webhook-signature")?
            .split(' ')
            .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok())
            .any(|signature| mac.clone().verify_slice(&signature).is_ok());
        if !good {
            return Err("webhook-signature does not match".into());
        }
        let body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        Ok(Webhook { id: id.to_owned(), body })
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let checked = receiver.check(&headers, &body);
    let status = if checked.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED };
    (receiver.sink)(checked);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    /// The example of the specification's reference implementation: its secret, id, time, body and signature.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn check(at: i64, signature: &str, body: &str, now: i64) -> Result<Webhook, String> {
        let clock = Clock::manual(Timestamp::from_seconds(now).expect("a time"));
        let receiver = Receiver::new(&Secret::new(SECRET), clock, Arc::new(|_| {}));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", ID.to_owned()),
            ("webhook-timestamp", at.to_string()),
            ("webhook-signature", signature.to_owned()),
        ] {
            headers.insert(name, value.parse().expect("a value"));
        }
        receiver.expect("a secret").check(&headers, body.as_bytes())
    }

    #[test]
    fn the_specifications_example_is_good_and_nothing_near_it() {
        assert_eq!(check(AT, SIGNATURE, BODY, AT).map(|webhook| webhook.id), Ok(ID.to_owned()));
        let two = format!("v1,AAAA {SIGNATURE}");
        assert!(check(AT, &two, BODY, AT + TOLERANCE).is_ok(), "one of several, just in time");
        assert!(check(AT, SIGNATURE, BODY, AT + TOLERANCE + 1).is_err());
        assert!(check(AT + 1, SIGNATURE, BODY, AT).is_err());
        assert!(check(AT, SIGNATURE, r#"{"test": 2432232315}"#, AT).is_err());
        assert!(check(AT, "v1,AAAA", BODY, AT).is_err());
        assert!(check(AT, &SIGNATURE.replace("v1", "v2"), BODY, AT).is_err());
    }

    #[test]
    fn what_is_no_secret_makes_no_receiver() {
        let receiver =
            |text: &str| Receiver::new(&Secret::new(text), Clock::system(), Arc::new(|_| {}));
        assert!(receiver("AAAA").is_none() && receiver("whsec_???").is_none());
    }
}
