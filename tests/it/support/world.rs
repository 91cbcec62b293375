//! The whole daemon as users run it: the built program, a configuration file, real signals.
//!
//! Nothing is read from its log: it is ready when `/readyz` says so, and where it listens was chosen before.

use crate::{
    http::client::{Answer, Request},
    support::{
        services::{TestBroker, TestDatabase},
        wait::within,
    },
};
use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How long a start may take with nothing to migrate: 150 ms by itself, and all the tests of a busy machine beside it.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// How long it may take until readiness tells that something is away or back: the longest waits between two tries.
const TOLD_WITHIN: Duration = Duration::from_mins(2);

/// How long a soft shutdown may take: `shutdown.grace` and some.
const STOPS_WITHIN: Duration = Duration::from_secs(45);

/// The surroundings that daemons and commands of one test share: a database, maybe a broker, a data
/// directory, a configuration file.
#[derive(Debug)]
pub(crate) struct World {
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    /// What daemons see and commands do not.
    of_daemons: Vec<(&'static str, String)>,
    /// Whether a daemon that may not write a file any longer is told so, instead of killed.
    outlives_file_limits: bool,
}

impl World {
    /// A world on a database, with the embedded queue. `config` is the configuration file's text: what
    /// differs from the defaults, but for the database, the broker, the data directory and the port.
    pub(crate) fn new(database: &TestDatabase, config: &str) -> Self {
        Self::at(&database.url, config)
    }

    /// The same on a database by its URL.
    pub(crate) fn at(url: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("config.toml"), config).expect("the file is written");
        let data = folder.path().join("data").display().to_string();
        let environment = vec![
            ("DATABASE_URL", url.to_owned()),
            ("CUSTOMER_SYNC__DATA__DIRECTORY", data),
            ("CUSTOMER_SYNC_CONFIG", folder.path().join("config.toml").display().to_string()),
        ];
        Self { folder, environment, of_daemons: Vec::new(), outlives_file_limits: false }
    }

    /// The same on RabbitMQ.
    #[must_use]
    pub(crate) fn with_broker(mut self, broker: &TestBroker) -> Self {
        self.environment.extend([
            ("AMQP_URL", broker.url.clone()),
            ("CUSTOMER_SYNC__AMQP__EXCHANGE", broker.exchange.clone()),
            ("CUSTOMER_SYNC__AMQP__QUEUE", broker.queue.clone()),
            ("CUSTOMER_SYNC__AMQP__DEAD_EXCHANGE", broker.dead.clone()),
            ("CUSTOMER_SYNC__AMQP__DEAD_QUEUE", broker.dead.clone()),
        ]);
        self
    }

    /// The same with one more environment variable, or another value of one.
    #[must_use]
    pub(crate) fn with_variable(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value));
        self
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The same with another value of an environment variable for daemons alone: another way to a server.
    #[must_use]
    pub(crate) fn for_daemons(mut self, name: &'static str, value: String) -> Self {
        self.of_daemons.push((name, value));
        self
    }

    /// The same where daemons are told that a file cannot grow: see [`Daemon::limit_files`].
    #[must_use]
    pub(crate) fn outliving_file_limits(self) -> Self {
        Self { outlives_file_limits: true, ..self }
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("it is waited for").expect("the program runs")
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) async fn start(&self) -> Daemon {
        self.start_at(free_address()).await
    }

    /// Starts a daemon where another one listened, and waits until it is ready.
    pub(crate) async fn start_at(&self, address: SocketAddr) -> Daemon {
        let mut daemon = self.launch_at(address);
        let limit = STARTS_WITHIN;
        within(
            limit,
            "the daemon is ready",
            async || daemon.readiness().await,
            |s| *s == Some(200),
        )
        .await;
        daemon
    }

    /// Starts a daemon and does not wait.
    pub(crate) fn launch(&self) -> Daemon {
        self.launch_at(free_address())
    }

    /// Starts a daemon where another one listened, and does not wait.
    pub(crate) fn launch_at(&self, address: SocketAddr) -> Daemon {
        let log = self.folder.path().join(format!("daemon-{}.log", address.port()));
        let file = File::options().create(true).append(true).open(&log).expect("the log is made");
        let process = self
            .command(&["run"])
            .envs(self.of_daemons.iter().map(|(name, value)| (name, value)))
            .env("HTTP_LISTEN", address.to_string())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("the program starts");
        Daemon { address, process, log }
    }

    /// The program with this world's settings alone: nothing of the caller's environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_customer-sync");
        let mut command = if self.outlives_file_limits {
            // The signal that comes with the limit ends a process that does not ignore it.
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", program]);
            shell
        } else {
            Command::new(program)
        };
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }
}

/// A running daemon. Killed when dropped; if the test has failed, its log is shown.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Where its HTTP server listens.
    pub(crate) address: SocketAddr,
    process: Child,
    log: PathBuf,
}

impl Daemon {
    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The status of `/readyz`, none while nobody answers. Fails if the daemon has ended.
    pub(crate) async fn readiness(&mut self) -> Option<u16> {
        if let Some(status) = self.process.try_wait().expect("the process can be asked") {
            panic!("the daemon has ended: {status}");
        }
        status_of(self.address, "/readyz").await
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is text")
    }

    /// The most memory it has held so far, in bytes, as Linux counts it.
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("it runs on Linux");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|peak| peak.split_whitespace().next()).expect("a figure");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    /// Whether it has not ended yet.
    pub(crate) fn process_is_running(&mut self) -> bool {
        self.process.try_wait().expect("the process can be asked").is_none()
    }

    /// Lets it make no file larger than this, as where the disk is full; `None` takes the limit away.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = self.process.id().to_string();
        let set =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).status();
        assert!(set.expect("prlimit runs").success(), "the limit is set");
    }

    /// How much memory it holds, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        size.expect("its memory is told in KiB")
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn is_ready(&mut self, ready: bool) {
        self.is_ready_within(ready, TOLD_WITHIN).await;
    }

    /// As [`Self::is_ready`], with a bound of its own.
    pub(crate) async fn is_ready_within(&mut self, ready: bool, limit: Duration) {
        let wanted = if ready { 200 } else { 503 };
        let look = async || {
            assert!(self.process_is_running(), "the daemon has ended");
            Request::get("/readyz").try_send(self.address).await
        };
        let is_wanted = |seen: &Option<Answer>| seen.as_ref().is_some_and(|it| it.status == wanted);
        within(limit, &format!("readiness is {wanted}"), look, is_wanted).await;
    }

    /// Ends it as a crash would: nothing is finished.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Asks it to finish what it has in hand, and waits for its end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Sends it a signal: `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "the daemon takes SIG{name}");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = async || self.process.try_wait().expect("the process can be asked");
        within(STOPS_WITHIN, "the daemon ends", ended, Option::is_some).await.expect("it ended")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("the log of the daemon at {}:\n{log}", self.address);
        }
    }
}

/// An address that nobody listens on. It lies outside the range from which the kernel gives ports away, so that a
/// daemon which is started again finds it free. Where another process takes it first, the daemon ends at once
/// and the test says so.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(37);
    loop {
        let place = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let port = u16::try_from(20_000 + place).expect("below 30,000");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The status that a GET is answered with, none where nobody answers.
pub(crate) async fn status_of(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
