//! What one key, one page and one connection may do: rates, origins, sizes, and clients that do not read.

use super::{Answer, Api, Request};
use crate::support::{services::on_both, wait::eventually};
use customer_sync::http::Settings;
use std::{net::SocketAddr, num::NonZeroU32, time::Duration};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_again() {
    on_both(async |database| {
        let rate_limit = NonZeroU32::new(3);
        let api = Api::start_with(&database, Settings { rate_limit, ..Settings::default() }).await;
        for _ in 0..3 {
            api.get("/v1/customers").await.ok();
        }
        let (status, code, _) = {
            let refused = api.get("/v1/customers").await;
            assert_eq!(refused.header("retry-after"), Some("1"));
            assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
            refused.error()
        };
        assert_eq!((status, code.as_str()), (429, "rate_limited"));
        let one = "/v1/customers/cus_00000000000000000000000000";
        assert_eq!(api.get(one).await.refused(429), "rate_limited");
        // Each key for itself, and by each path.
        let body = br#"{"name": "Ada"}"#;
        let write = || {
            let post = Request::post("/v1/customers", body).key(&api.write);
            post.header("content-type", "application/json")
        };
        for _ in 0..3 {
            assert_eq!(write().send(api.address).await.status, 201);
        }
        assert_eq!(write().send(api.address).await.refused(429), "rate_limited");
        api.clock.advance(chrono::TimeDelta::seconds(1));
        let made = api.get("/v1/customers").await.listed("name");
        assert_eq!(made.len(), 3, "what was refused was not done");
        // What needs no key has no rate.
        for _ in 0..10 {
            assert_eq!(Request::get("/healthz").send(api.address).await.status, 200);
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn there_is_no_rate_unless_one_is_set() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for _ in 0..300 {
            api.get("/v1/payments").await.ok();
        }
        api.stop().await;
    })
    .await;
}

async fn preflight(address: SocketAddr, origin: &str, path: &str) -> Answer {
    Request::new("OPTIONS", path)
        .header("origin", origin)
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "authorization,idempotency-key")
        .send(address)
        .await
}

const ALLOWED: &str = "access-control-allow-origin";

#[tokio::test]
async fn no_page_may_use_the_api_unless_its_origin_is_set() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let asked = preflight(api.address, "https://app.example.com", "/v1/customers").await;
        assert_eq!(
            (asked.refused(405).as_str(), asked.header(ALLOWED)),
            ("method_not_allowed", None)
        );
        let from = |origin| Request::get("/v1/customers").key(&api.read).header("origin", origin);
        let answer = from("https://app.example.com").send(api.address).await;
        assert_eq!((answer.status, answer.header(ALLOWED)), (200, None));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_page_of_a_set_origin_may_use_the_api_and_no_other_one() {
    on_both(async |database| {
        let ours = "https://app.example.com";
        let cors_origins = vec![ours.to_owned(), "http://localhost:3000".to_owned()];
        let api =
            Api::start_with(&database, Settings { cors_origins, ..Settings::default() }).await;
        let asked = preflight(api.address, ours, "/v1/customers/cus_1").await;
        assert_eq!((asked.status, asked.header(ALLOWED)), (200, Some(ours)));
        let header = |name| asked.header(name).unwrap_or_default().to_lowercase();
        assert!(header("access-control-allow-methods").contains("patch"));
        assert!(header("access-control-allow-headers").contains("idempotency-key"));
        assert_eq!(asked.header("access-control-allow-credentials"), None);
        let from = async |origin: &str, path: &str| {
            Request::get(path).key(&api.read).header("origin", origin).send(api.address).await
        };
        let answer = from(ours, "/v1/customers").await;
        assert_eq!((answer.status, answer.header(ALLOWED)), (200, Some(ours)));
        let told = answer.header("access-control-expose-headers").unwrap_or_default();
        assert!(told.contains("x-request-id") && told.contains("retry-after"), "{told}");
        // A page is to read what is wrong, too.
        let wrong = from(ours, "/v1/customers?limit=0").await;
        assert_eq!(
            (wrong.refused(400).as_str(), wrong.header(ALLOWED)),
            ("invalid_parameter", Some(ours))
        );
        for other in ["https://evil.example.com", "https://app.example.com.evil.com", "null"] {
            assert_eq!(from(other, "/v1/customers").await.header(ALLOWED), None, "{other}");
            assert_eq!(preflight(api.address, other, "/v1/customers").await.header(ALLOWED), None);
        }
        let ingress = preflight(api.ingest, ours, "/ingest/app").await;
        assert_eq!(
            (ingress.status, ingress.header(ALLOWED)),
            (405, None),
            "no page sends webhooks"
        );
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_held() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let get = || Request::get("/v1/customers").key(&api.read);
        let long = get().header("x-long", &"x".repeat(200_000)).send(api.address).await;
        assert_eq!(long.status, 431);
        let many = (0..120).fold(get(), |get, n| get.header(&format!("x-{n}"), "1"));
        assert_eq!(many.send(api.address).await.status, 431);
        let mut body = br#"{"name": ""#.to_vec();
        body.resize(1_100_000, b'a');
        let post = Request::post("/v1/customers", &body).key(&api.write);
        let post = post.header("content-type", "application/json");
        assert_eq!(post.send(api.address).await.refused(413), "body_too_large");
        assert_eq!(api.get("/v1/customers").await.listed("id").len(), 0);
        api.stop().await;
    })
    .await;
}

/// Asks and asks, and reads nothing.
async fn hog(address: SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut stream: TcpStream = socket.connect(address).await.expect("accepted");
    let asked = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    // Ends once the server has left.
    while stream.write_all(&asked).await.is_ok() {}
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_loses_its_place() {
    on_both(async |database| {
        let patience = Duration::from_millis(300);
        let settings = Settings { answer_timeout: patience, connections: 1, ..Settings::default() };
        let api = Api::start_with(&database, settings).await;
        let mut hogs = JoinSet::new();
        hogs.spawn(hog(api.address));
        // The only place is taken until then; a connection that waits for it is answered after.
        let ended = async || hogs.try_join_next().is_some();
        eventually("the server has left it", ended, |ended| *ended).await;
        assert_eq!(Request::get("/healthz").send(api.address).await.status, 200);
        api.stop().await;
    })
    .await;
}
