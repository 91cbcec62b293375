//! Receivers that behave as no HTTP server should. Each is one connection's story, told byte by byte.

use super::{Setup, answers::first_try, millis, settings};
use crate::support::services::sqlite;
use customer_sync::{deliver::Settings, model::message::EventType};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What a receiver does with a connection.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Closes it before it has read anything.
    CloseAtOnce,
    /// Resets it before it has read anything.
    ResetAtOnce,
    /// Resets it when the request is there.
    ResetAfterTheRequest,
    /// Closes it within the headers.
    CloseInTheHeaders,
    /// Falls silent within the headers.
    HangInTheHeaders,
    /// Falls silent after the headers, with a body announced.
    HangAfterTheHeaders,
    /// Sends one header a millisecond, without end.
    HeadersWithoutEnd,
    /// Sends headers as fast as they are taken, without end.
    HeadersInAFlood,
    /// Says 103 again and again.
    HintsWithoutEnd,
    /// Says what is no HTTP.
    Nonsense,
    /// Resets it within the body.
    ResetInTheBody,
    /// Breaks the rules of chunked bodies.
    BadChunk,
}

/// Plays it to its end. That the other side has left by then is its right.
async fn play(manner: Manner, socket: &mut TcpStream) -> std::io::Result<()> {
    let mut request = vec![0; 16 * 1024];
    match manner {
        Manner::CloseAtOnce => return Ok(()),
        Manner::ResetAtOnce => return socket.set_zero_linger(),
        _ => socket.read(&mut request).await?,
    };
    match manner {
        Manner::CloseAtOnce | Manner::ResetAtOnce => Ok(()),
        Manner::ResetAfterTheRequest => socket.set_zero_linger(),
        Manner::CloseInTheHeaders => socket.write_all(b"HTTP/1.1 200 OK\r\nx-one: 1\r\nx-t").await,
        Manner::HangInTheHeaders => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nx-one: 1\r\nx-t").await?;
            std::future::pending().await
        }
        Manner::HangAfterTheHeaders => {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await?;
            std::future::pending().await
        }
        Manner::HeadersWithoutEnd => {
            socket.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                socket.write_all(b"x: y\r\n").await?;
                tokio::time::sleep(millis(1)).await;
            }
        }
        Manner::HeadersInAFlood => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            loop {
                socket.write_all(&[b'y'; 16 * 1024]).await?;
            }
        }
        Manner::HintsWithoutEnd => loop {
            socket.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await?;
        },
        Manner::Nonsense => socket.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await,
        Manner::ResetInTheBody => {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort").await?;
            // Otherwise the reset may overtake what was just written.
            tokio::time::sleep(millis(20)).await;
            socket.set_zero_linger()
        }
        Manner::BadChunk => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            socket.write_all(&[&head[..], b"fffffffffffffffff\r\n"].concat()).await
        }
    }
}

/// A receiver of this manner; its URL.
async fn receiver(manner: Manner) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            connections.spawn(async move { drop(play(manner, &mut socket).await) });
        }
    });
    (url, server)
}

#[tokio::test]
async fn whatever_a_receiver_does_a_try_ends_in_time_and_is_recorded_with_its_reason() {
    let broke_off = "the exchange broke off: ";
    let setup = Setup::new(sqlite().await);
    for (manner, status, reason) in [
        (Manner::CloseAtOnce, None, broke_off),
        (Manner::ResetAtOnce, None, broke_off),
        (Manner::ResetAfterTheRequest, None, broke_off),
        (Manner::CloseInTheHeaders, None, broke_off),
        (Manner::HangInTheHeaders, None, "no answer within 300 ms"),
        (Manner::HangAfterTheHeaders, Some(200), "no whole answer within 300 ms"),
        (Manner::HeadersWithoutEnd, None, "no answer within 300 ms"),
        (Manner::HeadersInAFlood, None, broke_off),
        (Manner::HintsWithoutEnd, None, "no answer within 300 ms"),
        (Manner::Nonsense, None, broke_off),
        (Manner::ResetInTheBody, Some(200), broke_off),
        (Manner::BadChunk, Some(200), broke_off),
    ] {
        let (url, _server) = receiver(manner).await;
        let quick = Settings { timeout: millis(300), ..settings() };
        let (seen, error, took) = first_try(&setup, &url, quick).await;
        assert_eq!(seen, status, "{manner:?}: {error}");
        assert!(error.starts_with(reason), "{manner:?}: {error}");
        assert!(!error.contains("http://"), "{manner:?}: {error}");
        assert!(took < Duration::from_millis(1_500), "{manner:?}: {took:?}");
    }
}

/// A gzip stream that unpacks to so many zeros, a thousandfold and more: one stored zero, and from there on copies
/// of 258 bytes in 13 bits each (RFC 1951, 3.2.6).
fn bomb(zeros: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    // Codes stand with their highest bit first; literal 0 is 0011_0000.
    let code = |bits: &mut Vec<bool>, value: u16, length: u16| {
        bits.extend((0..length).rev().map(|place| value >> place & 1 == 1));
    };
    code(&mut bits, 0b0011_0000, 8);
    for _ in 0..zeros / 258 {
        // Length 258 is symbol 285, of code 1100_0101; distance 1 is code 0 of five bits.
        code(&mut bits, 0b1100_0101, 8);
        code(&mut bits, 0, 5);
    }
    code(&mut bits, 0, 7);
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    head.into_iter().chain(bits.chunks(8).map(byte)).collect()
}

/// Nobody asked for it, so it is not unpacked: what is kept is its beginning, as it came.
#[tokio::test]
async fn a_compressed_answer_is_kept_as_it_came_and_unpacks_nowhere() {
    let setup = Setup::new(sqlite().await);
    let packed = bomb(30_000_000);
    assert!(packed.len() > 100_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (endpoint, _) = setup.endpoint(&url, &["*"]).await;
    let running = setup.start(settings());
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    let (mut socket, _) = listener.accept().await.expect("a connection");
    let mut request = vec![0; 16 * 1024];
    let length = socket.read(&mut request).await.expect("the request");
    let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
    assert!(request.starts_with("post ") && !request.contains("accept-encoding"), "{request}");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    socket.write_all(head.as_bytes()).await.expect("the head is taken");
    // It may be cut off when enough is read.
    drop(socket.write_all(&packed).await);
    setup.all_are(endpoint, "delivered").await;
    let kept = setup.tries(endpoint).await[0].response.clone().expect("a response");
    let beginning = String::from_utf8_lossy(&packed[..16 * 1024]).replace('\0', "\u{fffd}");
    assert_eq!(kept, beginning);
    running.stop().await;
}
