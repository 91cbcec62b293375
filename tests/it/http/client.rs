//! One request on one connection, byte by byte: what a well-behaved client would not send must be sendable too.

use super::openapi::held;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A request to be sent.
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: &str, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::new("POST", path) }
    }

    /// A request of any method with a body.
    pub(crate) fn with_body(method: &'static str, path: &str, body: &[u8]) -> Self {
        Self { body: body.to_vec(), ..Self::new(method, path) }
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn headers<'a>(self, all: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        all.fold(self, |request, (name, value)| request.header(name, value))
    }

    /// The request's head, and the body that follows it.
    pub(crate) fn bytes(&self) -> (Vec<u8>, &[u8]) {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.method,
            self.path,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
        }
        head.push_str("\r\n");
        (head.into_bytes(), &self.body)
    }

    pub(crate) async fn send(&self, address: SocketAddr) -> Answer {
        self.try_send(address).await.expect("an answer")
    }

    /// The answer; none where nobody listens, or the connection ends before it.
    pub(crate) async fn try_send(&self, address: SocketAddr) -> Option<Answer> {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let (head, body) = self.bytes();
        stream.write_all(&head).await.ok()?;
        stream.write_all(body).await.ok()?;
        let answer = Answer::read(&mut stream).await?;
        let Answer { status, headers, text } = &answer;
        let wrong = held::wrong(self.method, &self.path, body, *status, headers, text);
        assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        Some(answer)
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    /// Reads until the server closes; none where it says nothing.
    pub(crate) async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.ok()?;
        let whole = String::from_utf8(bytes).expect("an answer is text");
        let (head, text) = whole.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Some(Self { status, headers, text: text.to_owned() })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body where the status is 200.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }

    /// A list's items by one of their fields, where the status is 200.
    pub(crate) fn listed(&self, field: &str) -> Vec<Value> {
        let list = self.ok();
        assert_eq!(list["object"], "list");
        list["data"].as_array().expect("data").iter().map(|item| item[field].clone()).collect()
    }

    /// Status, code and parameter of an error, whose whole shape is checked.
    pub(crate) fn error(&self) -> (u16, String, Option<String>) {
        let body = self.json();
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default()
        };
        assert_eq!(keys(&body), ["error", "request_id"], "{}", self.text);
        assert_eq!(keys(&body["error"]), ["code", "details", "message", "param", "type"]);
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert!(body["error"]["message"].as_str().is_some_and(|message| message.len() > 5));
        let code = body["error"]["code"].as_str().expect("a code").to_owned();
        (self.status, code, body["error"]["param"].as_str().map(str::to_owned))
    }

    /// The error's code, where the status is the one expected.
    pub(crate) fn refused(&self, status: u16) -> String {
        let (seen, code, _) = self.error();
        assert_eq!(seen, status, "{}", self.text);
        code
    }
}
