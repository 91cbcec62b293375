//! Connections: how many, how slow they may be, and how they end.

use super::Settings;
use crate::shutdown::Shutdown;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_io_timeout::TimeoutStream;

/// A server cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener is of no use any more.
    #[error("no connection can be accepted any more")]
    Listen(#[source] io::Error),
}

/// So much of a request's head is read at most; a longer one is answered with 431.
const LONGEST_HEAD: usize = 64 * 1_024;

/// How long to wait when the process has no file or memory left for another connection.
const BREATHER: Duration = Duration::from_millis(500);

/// Accepts connections until stopping is asked for, then waits for those in hand.
///
/// `axum::serve` would bound neither their number nor the time that a head may take.
pub(super) async fn run(
    listener: TcpListener,
    routes: Router,
    settings: Settings,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let connections = settings.connections.max(1);
    let places = Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(1)));
    loop {
        let (stream, place) = tokio::select! {
            () = shutdown.requested() => break,
            next = next(&listener, &places) => match next {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Err(Error::Listen(error));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    shutdown.sleep(BREATHER).await;
                    continue;
                }
            },
        };
        let (routes, stopping) = (routes.clone(), shutdown.clone());
        let timeouts = (settings.header_timeout, settings.answer_timeout);
        shutdown.spawn(async move {
            connection(stream, routes, timeouts, stopping).await;
            drop(place);
        });
    }
    drop(listener);
    let _all = places.acquire_many(connections).await;
    Ok(())
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// The next connection, once there is a place for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<Option<(TcpStream, Place)>> {
    let Ok(place) = places.clone().acquire_owned().await else { return Ok(None) };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok(Some((stream, place))),
            // The client was gone before it was its turn.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn connection(
    stream: TcpStream,
    routes: Router,
    (header_timeout, answer_timeout): (Duration, Duration),
    shutdown: Shutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    // A client that asks and does not read would hold its place for ever.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(answer_timeout));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(routes))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
