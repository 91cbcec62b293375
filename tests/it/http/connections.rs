//! Connections: slow clients, clients that go away, and the server's own end.

use super::{Answer, Api, Request};
use crate::support::{services::on_both, wait::eventually};
use customer_sync::http::Settings;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const BODY: &[u8] = b"{\"id\":\"e1\"}";

/// Bounds that a test can wait out.
fn impatient() -> Settings {
    let patience = Duration::from_millis(150);
    Settings { header_timeout: patience, body_timeout: patience, ..Settings::default() }
}

async fn queue_length(api: &Api) -> i64 {
    let mut tx = api.db.snapshot().await.expect("a snapshot");
    let (count,) =
        tx.query("select count(*) from intake_queue").one::<(i64,)>().await.expect("counted");
    count
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_cut_off() {
    on_both(async |database| {
        let api = Api::start_with(&database, impatient()).await;
        let mut stream = TcpStream::connect(api.address).await.expect("accepted");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await.expect("sent");
        let mut rest = Vec::new();
        let closed = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the connection is still open");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_body_is_told_and_cut_off() {
    on_both(async |database| {
        let api = Api::start_with(&database, impatient()).await;
        let request = Request::post("/ingest/app", BODY).headers(api.signed(BODY).iter());
        let (head, body) = request.bytes();
        let mut stream = TcpStream::connect(api.address).await.expect("accepted");
        stream.write_all(&head).await.expect("sent");
        stream.write_all(&body[..5]).await.expect("sent");
        let answer = timeout(Duration::from_secs(10), Answer::read(&mut stream)).await;
        let answer = answer.expect("it is closed").expect("it is answered");
        assert_eq!(answer.refused(408), "request_timeout");
        assert_eq!(queue_length(&api).await, 0);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_event_is_kept_though_its_sender_goes_away_before_the_answer() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let request = Request::post("/ingest/app", BODY).headers(api.signed(BODY).iter());
        let (head, body) = request.bytes();
        let mut holder = api.db.begin().await.expect("a transaction");
        // Differs because a transaction that writes is SQLite's only one.
        let sql = holder.pick("lock table intake_queue in exclusive mode", "select 1");
        holder.query(sql).execute().await.expect("the queue is held");
        let mut stream = TcpStream::connect(api.address).await.expect("accepted");
        stream.write_all(&[head.as_slice(), body].concat()).await.expect("sent");
        // Long enough to be read; it cannot be answered while the queue is held.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(stream);
        tokio::time::sleep(Duration::from_millis(100)).await;
        holder.commit().await.expect("the queue is let go");
        let length = async || queue_length(&api).await;
        eventually("the event is kept", length, |length| *length == 1).await;
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_soft_shutdown_answers_the_request_in_hand_and_takes_no_other() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let request = Request::post("/ingest/app", BODY).headers(api.signed(BODY).iter());
        let (head, body) = request.bytes();
        let mut stream = TcpStream::connect(api.address).await.expect("accepted");
        stream.write_all(&head).await.expect("sent");
        // The server must have the head before it is asked to stop: an idle connection is just closed.
        tokio::time::sleep(Duration::from_millis(100)).await;
        api.shutdown.soft();
        eventually(
            "no connection is accepted",
            async || TcpStream::connect(api.address).await.is_err(),
            |refused| *refused,
        )
        .await;
        stream.write_all(body).await.expect("sent");
        assert_eq!(Answer::read(&mut stream).await.expect("an answer").status, 202);
        assert_eq!(queue_length(&api).await, 1);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    on_both(async |database| {
        let settings = Settings { connections: 1, ..impatient() };
        let api = Api::start_with(&database, settings).await;
        let idle = TcpStream::connect(api.address).await.expect("accepted");
        // Served once the idle one has been cut off.
        assert_eq!(Request::get("/healthz").send(api.address).await.status, 200);
        drop(idle);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_ingest_server_serves_nothing_else() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        assert_eq!(Request::get("/healthz").send(api.ingest).await.status, 200);
        for path in ["/readyz", "/metrics", "/v1/customers"] {
            let answer = Request::get(path).key(&api.admin).send(api.ingest).await;
            assert_eq!(answer.refused(404), "route_not_found", "{path}");
        }
        api.stop().await;
    })
    .await;
}
