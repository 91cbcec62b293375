//! `health`: asks the daemon of this configuration how it is. For container engines, whose images have no curl.

use super::{Context, Ending, output};
use anyhow::Context as _;
use clap::Args;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take: readiness itself waits for the database for some seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// As much of an answer as is read.
const READ: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Health {
    /// Ask whether it can do its work, not only whether it lives
    #[arg(long)]
    ready: bool,
}

impl Health {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let address = reachable(context.config.http.listen);
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let answer = timeout(PATIENCE, ask(address, path)).await;
        let answer = answer.context("no answer in time").and_then(|answer| Ok(answer?));
        let answer = answer.with_context(|| format!("http://{address}{path}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        output::line(body);
        Ok(Ending::clean_if(head.split(' ').nth(1) == Some("200")))
    }
}

/// Where to find what listens everywhere.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    (ip, listen.port()).into()
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(READ).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_here() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().expect("one")).to_string(), asked);
        }
    }
}
