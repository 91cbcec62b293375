//! The connection's stream, with what arrives mended before the AMQP client reads it.

use super::{Scanner, Seen};
use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use std::{
    fmt,
    future::Future,
    io::{self, IoSlice, Read, Write},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// How much is asked of the socket at a time.
const CHUNK: usize = 64 * 1024;

/// What can be read and written: a socket, with TLS or without.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream whose incoming frames are mended; outgoing bytes pass.
pub struct Mended {
    inner: Box<dyn Duplex>,
    scanner: Scanner,
    seen: Arc<Seen>,
    /// What arrived and was not read yet; its first `ready` bytes are mended.
    arrived: Vec<u8>,
    taken: usize,
    ready: usize,
}

impl Mended {
    /// Mends what comes out of a stream, and notes what it sees.
    pub fn new(inner: impl Duplex + 'static, seen: Arc<Seen>) -> Self {
        Self {
            inner: Box::new(inner),
            scanner: Scanner::default(),
            seen,
            arrived: Vec::new(),
            taken: 0,
            ready: 0,
        }
    }

    /// Waits for more from the socket; whether there was any.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.arrived.drain(..self.taken);
        self.taken = 0;
        let held = self.arrived.len();
        self.arrived.resize(held + CHUNK, 0);
        let room = self.arrived.get_mut(held..).unwrap_or_default();
        let polled = Pin::new(&mut self.inner).poll_read(cx, room);
        let count = if let Poll::Ready(Ok(count)) = &polled { *count } else { 0 };
        self.arrived.truncate(held + count);
        if ready!(polled)? == 0 {
            return Poll::Ready(Ok(false));
        }
        self.ready = self.scanner.scan(&mut self.arrived, &self.seen);
        Poll::Ready(Ok(true))
    }
}

impl fmt::Debug for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mended").finish_non_exhaustive()
    }
}

impl AsyncRead for Mended {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        while self.taken == self.ready {
            if !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(0));
            }
        }
        let ready = self.arrived.get(self.taken..self.ready).unwrap_or_default();
        let count = ready.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.taken += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Mended {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Tokio, for connections whose stream is [`Mended`].
pub type MendingRuntime = Runtime<RuntimeParts<Tokio, Mending>>;

/// The current Tokio runtime, as the AMQP client wants it.
pub fn runtime() -> MendingRuntime {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(tokio.clone(), Mending(tokio)))
}

/// Tokio's reactor, except for the type of a connection.
#[derive(Clone, Debug)]
pub struct Mending(Tokio);

impl Reactor for Mending {
    type TcpStream = Mended;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        // The AMQP client registers no handles of its own.
        Err::<Mended, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Mended>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Mended::new(connecting.await?, Arc::default())) }
    }
}
