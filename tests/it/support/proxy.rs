//! A TCP proxy to be put before a server, with the faults of a network: it refuses, cuts, falls silent, delays, holds
//! one direction, and loses one chosen message.
//!
//! All of it is switched while connections are open. What is held is passed on when the fault ends, as a network
//! would: only a cut loses bytes.

use crate::support::world::free_address;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// A fault that hits one connection once.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Trap {
    /// Cuts when so many bytes have gone one way, over all connections.
    After(Direction, usize),
    /// Cuts instead of passing on what contains this.
    Instead(Direction, Vec<u8>),
    /// Passes on to the server what one connection says, and cuts instead of passing on the reply to the last of it.
    InsteadOfReply(Vec<Vec<u8>>),
}

/// What holds for all connections.
#[derive(Clone, Debug)]
struct Rules {
    target: SocketAddr,
    hold_up: bool,
    hold_down: bool,
    delay: Duration,
    /// Connections below this number are silent.
    silent: u64,
    /// How often all connections were cut.
    cuts: u64,
    /// Frames of AMQP whose payload begins so are lost on their way up; none while that is empty.
    lost: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    rules: watch::Sender<Rules>,
    trap: Mutex<Option<Trap>>,
    opened: AtomicU64,
    sprung: AtomicU64,
}

/// A running proxy; it ends with the test.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The listener and its connections.
    tasks: JoinSet<()>,
}

impl Proxy {
    /// One that passes everything on to a server, such as `127.0.0.1:5432`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let rules = Rules {
            target,
            hold_up: false,
            hold_down: false,
            delay: Duration::ZERO,
            silent: 0,
            cuts: 0,
            lost: Vec::new(),
        };
        let shared = Shared {
            rules: watch::Sender::new(rules),
            trap: Mutex::default(),
            opened: AtomicU64::new(0),
            sprung: AtomicU64::new(0),
        };
        let address = free_address();
        let mut proxy = Self { address, shared: Arc::new(shared), tasks: JoinSet::new() };
        proxy.listen().await;
        proxy
    }

    /// One before the server that a URL names.
    pub(crate) async fn before(url: &str) -> Self {
        let parsed = url::Url::parse(url).expect("a URL");
        let port = match parsed.scheme() {
            "amqp" => 5672,
            "http" => 80,
            _ => 5432,
        };
        let host = parsed.host_str().expect("a host");
        let address = (host, parsed.port().unwrap_or(port));
        let found = tokio::net::lookup_host(address).await.expect("the host has an address");
        Self::to(found.into_iter().find(SocketAddr::is_ipv4).expect("an IPv4 address")).await
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of the server, by way of this proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let mut parsed = url::Url::parse(url).expect("a URL");
        parsed.set_host(Some(&self.address.ip().to_string())).expect("it takes a host");
        parsed.set_port(Some(self.address.port())).expect("it takes a port");
        parsed.into()
    }

    /// How many connections it has passed on so far.
    pub(crate) fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::SeqCst)
    }

    /// How many of its traps have cut a connection so far.
    pub(crate) fn sprung(&self) -> u64 {
        self.shared.sprung.load(Ordering::SeqCst)
    }

    /// Cuts all connections, by a reset; new ones are passed on.
    pub(crate) fn cut(&self) {
        self.shared.rules.send_modify(|rules| rules.cuts += 1);
    }

    /// Ends all connections and refuses new ones, as where no process listens.
    pub(crate) async fn refuse(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Passes on nothing any more and says nothing: as where a machine has lost its power.
    pub(crate) fn fall_silent(&self) {
        self.shared.rules.send_modify(|rules| rules.silent = u64::MAX);
    }

    /// Passes on what new connections say; those that fell silent stay so.
    pub(crate) fn answer_new_ones(&self) {
        self.shared.rules.send_modify(|rules| rules.silent = self.opened());
    }

    /// Holds back what goes one way.
    pub(crate) fn hold(&self, direction: Direction) {
        self.shared.rules.send_modify(|rules| match direction {
            Direction::Up => rules.hold_up = true,
            Direction::Down => rules.hold_down = true,
        });
    }

    /// Passes everything on so much later.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Passes new connections on to another server.
    pub(crate) fn redirect(&self, target: SocketAddr) {
        self.shared.rules.send_modify(|rules| rules.target = target);
    }

    /// Cuts the connection on which so many more bytes have gone one way, all connections counted together.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: usize) {
        *self.trap() = Some(Trap::After(direction, bytes));
    }

    /// Cuts the first connection that says this, before it is passed on.
    pub(crate) fn cut_instead_of(&self, direction: Direction, said: &[u8]) {
        *self.trap() = Some(Trap::Instead(direction, said.to_vec()));
    }

    /// Waits until one connection has said all of this to the server, one after the other, lets the server answer,
    /// and cuts instead of passing that last answer on: the server has done it, and the client cannot know.
    pub(crate) fn cut_instead_of_reply_to(&self, said: &[&[u8]]) {
        let said = said.iter().map(|said| said.to_vec()).collect();
        *self.trap() = Some(Trap::InsteadOfReply(said));
    }

    /// Loses every frame of AMQP to the server whose payload begins so, and passes on all else.
    pub(crate) fn lose(&self, said: &[u8]) {
        self.shared.rules.send_modify(|rules| rules.lost = said.to_vec());
    }

    /// Ends every fault: what was held goes on, new connections are passed on.
    pub(crate) async fn mend(&mut self) {
        *self.trap() = None;
        self.shared.rules.send_modify(|rules| {
            (rules.hold_up, rules.hold_down) = (false, false);
            (rules.delay, rules.silent) = (Duration::ZERO, 0);
            rules.lost.clear();
        });
        if self.tasks.is_empty() {
            self.listen().await;
        }
    }

    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its address is free");
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                connections.spawn(pass(client, shared.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
    }
}

/// A connection is cut.
struct Cut;

/// One connection, to its end.
async fn pass(mut client: TcpStream, shared: Arc<Shared>) {
    let mut rules = shared.rules.subscribe();
    let cuts = rules.borrow_and_update().cuts;
    let target = rules.borrow().target;
    let Ok(mut server) = TcpStream::connect(target).await else {
        // Nobody listens there: the client sees a reset, as from a balancer without a server.
        let _ = client.set_zero_linger();
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("it takes the option");
    }
    let number = shared.opened.fetch_add(1, Ordering::SeqCst);
    let doomed = AtomicBool::new(false);
    let cut = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let pump = |direction| Pump { direction, number, shared: &shared, doomed: &doomed };
        let both = async {
            tokio::try_join!(
                pump(Direction::Up).run(from_client, to_server),
                pump(Direction::Down).run(from_server, to_client)
            )
        };
        tokio::select! {
            ended = both => ended.is_err(),
            _ = rules.wait_for(|rules| rules.cuts > cuts) => true,
        }
    };
    if cut {
        // Both ends learn of it by a reset, where bytes may be lost that were on their way.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Passes on what goes one way of one connection.
struct Pump<'a> {
    direction: Direction,
    /// Of its connection, in the order in which they were opened.
    number: u64,
    shared: &'a Shared,
    /// Whether the next reply is not to be passed on.
    doomed: &'a AtomicBool,
}

impl Pump<'_> {
    async fn run(self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Cut> {
        let mut rules = self.shared.rules.subscribe();
        let mut chunk = vec![0; 16 * 1024];
        // What was passed on last: what a trap waits for may come in two pieces.
        let mut tail = Vec::new();
        // How much of what a trap waits for has come.
        let mut heard = 0;
        loop {
            let length = match from.read(&mut chunk).await {
                Ok(0) | Err(_) => {
                    let _ = to.shutdown().await;
                    return Ok(());
                }
                Ok(length) => length,
            };
            let delay = rules.borrow_and_update().delay;
            tokio::time::sleep(delay).await;
            if rules.wait_for(|rules| self.flows(rules)).await.is_err() {
                return Err(Cut);
            }
            let passed = self.spring(&chunk[..length], &mut tail, &mut heard);
            let mut kept = chunk[..passed.unwrap_or(length)].to_vec();
            if self.direction == Direction::Up {
                lose(&mut kept, &rules.borrow().lost);
            }
            if to.write_all(&kept).await.is_err() {
                return Ok(());
            }
            if passed.is_some() {
                self.shared.sprung.fetch_add(1, Ordering::SeqCst);
                return Err(Cut);
            }
        }
    }

    fn flows(&self, rules: &Rules) -> bool {
        let held = match self.direction {
            Direction::Up => rules.hold_up,
            Direction::Down => rules.hold_down,
        };
        !held && self.number >= rules.silent
    }

    /// How many bytes of a chunk are still passed on before the connection is cut; none where it is not cut.
    fn spring(&self, chunk: &[u8], tail: &mut Vec<u8>, heard: &mut usize) -> Option<usize> {
        if self.direction == Direction::Down && self.doomed.load(Ordering::SeqCst) {
            return Some(0);
        }
        tail.extend_from_slice(chunk);
        let says = |said: &[u8]| {
            let begin = tail.len().saturating_sub(chunk.len() + said.len() - 1);
            tail[begin..].windows(said.len()).any(|bytes| bytes == said)
        };
        let mut trap = self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cut = None;
        match trap.as_mut() {
            Some(Trap::After(direction, left)) if *direction == self.direction => {
                if chunk.len() >= *left {
                    cut = Some(*left);
                }
                *left = left.saturating_sub(chunk.len());
            }
            Some(Trap::Instead(direction, said)) if *direction == self.direction && says(said) => {
                cut = Some(0);
            }
            Some(Trap::InsteadOfReply(said)) if self.direction == Direction::Up => {
                while said.get(*heard).is_some_and(|said| says(said)) {
                    *heard += 1;
                }
                if *heard == said.len() {
                    self.doomed.store(true, Ordering::SeqCst);
                    *trap = None;
                }
            }
            _ => {}
        }
        if cut.is_some() {
            *trap = None;
        }
        let kept = tail.len().saturating_sub(LONGEST);
        tail.drain(..kept);
        cut
    }
}

/// Takes out the frames whose payload begins so: each has a head of seven bytes, of which the last four are the
/// payload's length, and a last byte (AMQP 0-9-1, 4.2.3).
fn lose(chunk: &mut Vec<u8>, said: &[u8]) {
    if said.is_empty() {
        return;
    }
    while let Some(payload) = chunk.windows(said.len()).position(|bytes| bytes == said) {
        let length: [u8; 4] = chunk[payload - 4..payload].try_into().expect("four bytes");
        let length = usize::try_from(u32::from_be_bytes(length)).expect("it is short");
        chunk.drain(payload - 7..=payload + length);
    }
}

/// The longest text that a trap waits for.
const LONGEST: usize = 64;

mod tests {
    use super::*;
    use crate::support::wait::eventually;
    use std::io::ErrorKind;

    /// A server that sends back whatever it is sent.
    async fn echo() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut all = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                all.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (address, server)
    }

    async fn said(stream: &mut TcpStream, text: &str) -> std::io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8(answer).expect("text"))
    }

    #[tokio::test]
    async fn it_passes_everything_on_until_it_is_cut_and_refuses_until_it_is_mended() {
        let (server, _running) = echo().await;
        let mut proxy = Proxy::to(server).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("it accepts");
        assert_eq!(said(&mut stream, "one").await.expect("an echo"), "one");
        proxy.cut();
        let error = stream.read_u8().await.expect_err("it is cut");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let mut stream = TcpStream::connect(proxy.address()).await.expect("it accepts");
        assert_eq!(said(&mut stream, "two").await.expect("an echo"), "two");
        proxy.refuse().await;
        assert!(said(&mut stream, "three").await.is_err());
        let error = TcpStream::connect(proxy.address()).await.expect_err("it refuses");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        proxy.mend().await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("it accepts");
        assert_eq!(said(&mut stream, "four").await.expect("an echo"), "four");
        assert_eq!(proxy.opened(), 3);
    }

    #[tokio::test]
    async fn what_it_held_comes_when_it_is_mended() {
        let (server, _running) = echo().await;
        let mut proxy = Proxy::to(server).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("it accepts");
        assert_eq!(said(&mut stream, "one").await.expect("an echo"), "one");
        for fault in 0..3 {
            match fault {
                0 => proxy.fall_silent(),
                1 => proxy.hold(Direction::Up),
                _ => proxy.hold(Direction::Down),
            }
            let mut answer = std::pin::pin!(said(&mut stream, "held"));
            let wait = Duration::from_millis(50);
            assert!(tokio::time::timeout(wait, &mut answer).await.is_err(), "nothing comes");
            if fault == 0 {
                proxy.answer_new_ones();
                let mut other = TcpStream::connect(proxy.address()).await.expect("it accepts");
                assert_eq!(said(&mut other, "new").await.expect("an echo"), "new");
                assert!(tokio::time::timeout(wait, &mut answer).await.is_err(), "nothing comes");
            }
            proxy.mend().await;
            assert_eq!(answer.await.expect("an echo"), "held");
        }
        let begun = tokio::time::Instant::now();
        proxy.delay(Duration::from_millis(50));
        assert_eq!(said(&mut stream, "late").await.expect("an echo"), "late");
        assert!(begun.elapsed() >= Duration::from_millis(100), "once each way");
    }

    #[tokio::test]
    async fn it_cuts_after_so_many_bytes_one_way() {
        let (server, _running) = echo().await;
        let proxy = Proxy::to(server).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("it accepts");
        proxy.cut_after(Direction::Down, 5);
        assert_eq!(said(&mut stream, "one").await.expect("an echo"), "one");
        assert!(said(&mut stream, "two").await.is_err());
        eventually("it counts", async || proxy.sprung(), |sprung| *sprung == 1).await;
    }

    #[tokio::test]
    async fn it_loses_one_message_or_the_reply_to_it() {
        let (server, _running) = echo().await;
        let proxy = Proxy::to(server).await;
        for round in 1..=2 {
            let mut stream = TcpStream::connect(proxy.address()).await.expect("it accepts");
            assert_eq!(said(&mut stream, "COMMIT").await.expect("an echo"), "COMMIT");
            match round {
                1 => proxy.cut_instead_of(Direction::Up, b"COMMIT"),
                _ => proxy.cut_instead_of_reply_to(&[b"COM", b"COMMIT"]),
            }
            assert_eq!(said(&mut stream, "COM").await.expect("an echo"), "COM");
            assert!(said(&mut stream, "MIT").await.is_err());
            eventually("it counts", async || proxy.sprung(), |sprung| *sprung == round).await;
            let mut again = TcpStream::connect(proxy.address()).await.expect("it accepts");
            assert_eq!(said(&mut again, "COMMIT").await.expect("an echo"), "COMMIT");
        }
    }
}
