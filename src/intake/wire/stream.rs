//! The connection's stream, with what arrives mended before the AMQP client reads it.

use super::{
    Scanner, Seen,
    ahead::{Flow, SIP, SIP_EVERY},
};
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
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
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
    /// While it is held up: until a little is read all the same.
    pause: Option<Pin<Box<Sleep>>>,
    /// Whose time the pause is measured by: the client reads on a thread of its own.
    tokio: Option<Handle>,
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
            pause: None,
            tokio: Handle::try_current().ok(),
        }
    }

    /// How much may be read now: nothing of a connection that is over.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        match self.seen.ahead.poll(cx) {
            Flow::Open => {
                self.pause = None;
                Poll::Ready(CHUNK)
            }
            Flow::HeldUp => {
                let Some(_within) = self.tokio.as_ref().map(Handle::enter) else {
                    return Poll::Pending;
                };
                let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(SIP_EVERY)));
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
                Poll::Ready(SIP)
            }
            Flow::Over => Poll::Ready(0),
        }
    }

    /// Waits for more from the socket; whether there was any.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.arrived.drain(..self.taken);
        (self.taken, self.ready) = (0, 0);
        let size = ready!(self.poll_room(cx));
        if size == 0 {
            return Poll::Ready(Ok(false));
        }
        let held = self.arrived.len();
        self.arrived.resize(held + size, 0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Gives its pieces one at a time, with a wait before each, and then ends.
    struct Pieces(VecDeque<Vec<u8>>, bool);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.1 = !self.1;
            if self.1 {
                return Poll::Pending;
            }
            let piece = self.0.pop_front().unwrap_or_default();
            into[..piece.len()].copy_from_slice(&piece);
            Poll::Ready(Ok(piece.len()))
        }
    }

    impl AsyncWrite for Pieces {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A message of so many bytes on channel 1, in frames of a body of two bytes each.
    fn message(size: u8) -> Vec<u8> {
        let header = [&b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0"[..], &[size], b"\0\0\xce"];
        let body = b"\x03\0\x01\0\0\0\x02ab\xce".repeat(usize::from(size / 2));
        [header.concat(), body].concat()
    }

    #[test]
    fn nothing_is_read_while_too_much_is_not_settled() {
        let seen = Arc::new(Seen::default());
        seen.ahead.limit(4);
        let all: Vec<Vec<u8>> = [2, 6, 2, 2].map(message).to_vec();
        let mut mended = Mended::new(Pieces(all.clone().into(), false), seen.clone());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut read = || {
            let (mut out, mut into, mut pauses) = (Vec::new(), [0; 7], 0);
            while pauses < 3 {
                match Pin::new(&mut mended).poll_read(&mut cx, &mut into) {
                    Poll::Pending => pauses += 1,
                    Poll::Ready(count) => match count.unwrap() {
                        0 => return (out, true),
                        count => {
                            out.extend_from_slice(&into[..count]);
                            pauses = 0;
                        }
                    },
                }
            }
            (out, false)
        };
        assert_eq!(
            read(),
            (all[..2].concat(), false),
            "two bytes are few, two and six are too many"
        );
        seen.ahead.settled(1, 2);
        assert_eq!(read(), (Vec::new(), false), "six are");
        seen.ahead.settled(1, 6);
        assert_eq!(read(), (all[2..].concat(), false));
        seen.ahead.forget(1);
        assert_eq!(read(), (Vec::new(), true), "the end is found again");
    }

    /// What was on its way when its channel was given up is read and not counted; the next channel of that number is.
    #[test]
    fn what_arrives_for_a_channel_that_was_given_up_holds_nothing_up() {
        let seen = Arc::new(Seen::default());
        seen.ahead.limit(4);
        let opened = b"\x01\0\x01\0\0\0\x08\0\x14\0\x0b\0\0\0\0\xce".to_vec();
        let late = [message(8), message(8)].concat();
        let all = [message(6), late, opened, message(6), message(2)];
        let mut mended = Mended::new(Pieces(all.clone().into(), false), seen.clone());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut read = || {
            let (mut out, mut into) = (0, [0; 1_000]);
            for _ in 0..99 {
                if let Poll::Ready(count) = Pin::new(&mut mended).poll_read(&mut cx, &mut into) {
                    out += count.unwrap();
                }
            }
            out
        };
        assert_eq!(read(), all[0].len(), "six bytes are too many");
        seen.ahead.forget(1);
        assert_eq!(read(), all[1..4].concat().len(), "and so are six of the next channel, alone");
        seen.ahead.settled(1, 6);
        assert_eq!(read(), all[4].len());
    }

    #[test]
    fn what_is_held_up_ends_at_once_when_it_is_closed() {
        let seen = Arc::new(Seen::default());
        seen.ahead.limit(4);
        let mut mended = Mended::new(Pieces([message(6), message(2)].into(), false), seen.clone());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut into = [0; 1_000];
        seen.ahead.end();
        let mut read = Vec::new();
        for _ in 0..9 {
            if let Poll::Ready(count) = Pin::new(&mut mended).poll_read(&mut cx, &mut into) {
                read.push(count.unwrap());
            }
        }
        assert_eq!(read[..2], [message(6).len(), 0]);
    }

    #[test]
    fn bytes_come_out_mended_however_they_arrive() {
        let deliver = b"\x01\0\x01\0\0\0\x13\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x01\0\x01e\x01\xff\xce";
        let body = b"\x03\0\x01\0\0\0\x02\xff\xfe\xce";
        let all = [&deliver[..], body, deliver].concat();
        let mut expected = all.clone();
        expected[25] = b'?';
        expected[62] = b'?';
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for (piece, wanted) in [(1, 100), (3, 2), (7, 7), (100, 1), (100, 100)] {
            let pieces = Pieces(all.chunks(piece).map(<[u8]>::to_vec).collect(), false);
            let mut mended = Mended::new(pieces, Arc::default());
            let (mut out, mut into) = (Vec::new(), vec![0; wanted]);
            loop {
                match Pin::new(&mut mended).poll_read(&mut cx, &mut into) {
                    Poll::Pending => {}
                    Poll::Ready(count) => match count.unwrap() {
                        0 => break,
                        count => out.extend_from_slice(&into[..count]),
                    },
                }
            }
            assert_eq!(out, expected, "pieces of {piece}");
        }
    }
}
