//! Servers of a test's own, which it may stop, kill and start again: PostgreSQL and RabbitMQ from the programs that
//! are installed here. `scripts/test` sees to it that they are. `TEST_POSTGRES_PROGRAMS` (a folder) and
//! `TEST_RABBITMQ_PROGRAMS` (a folder) name others. Where there are none, the test fails and says so.
//!
//! They run in the test's process group, so that whoever ends the group ends them; without a test they go too.

use crate::support::{wait::within, world::free_address};
use sqlx::{Connection as _, PgConnection};
use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
};

/// How long a server may take to start: 1 s for PostgreSQL, 4 s for RabbitMQ, and a busy machine.
const STARTS_WITHIN: Duration = Duration::from_mins(2);

/// A folder of a server's own, and whom the server runs as: neither runs as root.
#[derive(Debug)]
struct Home {
    folder: TempDir,
    user: Option<(u32, u32)>,
}

impl Home {
    /// `users` are whom to run as where this process is root: the first that exists.
    fn new(users: &[&str]) -> Self {
        if fs::metadata("/proc/self").expect("this process is there").uid() != 0 {
            return Self { folder: tempfile::tempdir().expect("a temporary folder"), user: None };
        }
        let user = users.iter().find_map(|name| user(name));
        let (uid, gid) = user.unwrap_or_else(|| panic!("none of the users {users:?} exists"));
        // TMPDIR may be closed to other users.
        let folder = TempDir::new_in("/tmp").expect("a temporary folder");
        chown(folder.path(), Some(uid), Some(gid)).expect("root may give it away");
        Self { folder, user: Some((uid, gid)) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file of the folder is written");
    }

    /// A program in this folder, as its user, with its output in a file here.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn spawn(&self, mut command: Command, log: &str) -> Child {
        let log = File::options().create(true).append(true).open(self.path(log));
        let log = log.expect("the log is made");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        command.spawn().expect("the server's program starts")
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

/// The ids of a user and its group.
fn user(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").expect("users are listed");
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.into_iter().find(|fields| fields.first() == Some(&name))?;
    Some((found.get(2)?.parse().ok()?, found.get(3)?.parse().ok()?))
}

#[expect(clippy::disallowed_methods, reason = "where programs are is said by the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The folder that holds a program: the one that is named, else the first of some, else the one in `PATH`.
fn folder_of(program: &str, named: &str, usual: Vec<PathBuf>) -> PathBuf {
    let in_path = variable("PATH").unwrap_or_default();
    let all = variable(named).map(PathBuf::from).into_iter().chain(usual);
    let mut all = all.chain(in_path.split(':').map(PathBuf::from));
    all.find(|folder| folder.join(program).is_file()).unwrap_or_else(|| {
        panic!("no {program} is installed here: run scripts/test, or set {named}")
    })
}

/// Ends a process as a crash would.
fn kill(process: &mut Child) {
    // Both fail only where it has ended already.
    let _ = process.kill();
    let _ = process.wait();
}

/// Sends a signal to a process.
fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "process {pid} takes SIG{name}");
}

/// A PostgreSQL server of one test's own.
#[derive(Debug)]
pub(crate) struct Postgres {
    programs: PathBuf,
    home: Home,
    address: SocketAddr,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Postgres {
    /// A new, empty one, with some settings: `max_connections=20`.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let mut server = Self::prepare(settings);
        let options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"];
        server.tool("initdb", &[&["-D", "data", "--no-sync"][..], &options].concat());
        server.start_again().await;
        server
    }

    /// A second server that follows this one and can be promoted. It waits for no standby itself.
    pub(crate) async fn start_standby(&self) -> Self {
        let mut server = Self::prepare(&[]);
        let url = self.url();
        let options = ["--pgdata=data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"];
        server.tool("pg_basebackup", &[&["--dbname", &url][..], &options].concat());
        server.start_again().await;
        server
    }

    fn prepare(settings: &[&str]) -> Self {
        let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .map(|all| all.flatten().map(|entry| entry.path().join("bin")).collect())
            .unwrap_or_default();
        // The newest first.
        folders.sort();
        folders.reverse();
        Self {
            programs: folder_of("initdb", "TEST_POSTGRES_PROGRAMS", folders),
            home: Home::new(&["postgres", "nobody"]),
            address: free_address(),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            process: None,
        }
    }

    fn tool(&self, program: &str, arguments: &[&str]) {
        let run = self.home.command(&self.programs.join(program)).args(arguments).output();
        let run = run.expect("the program runs");
        assert!(run.status.success(), "{program}: {}", String::from_utf8_lossy(&run.stderr));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its database `postgres`, as its superuser.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("the server accepts a connection")
    }

    /// Starts it where it listened before, and waits until it answers. It recovers first if it was killed.
    pub(crate) async fn start_again(&mut self) {
        let url = self.url();
        let answers = async || {
            let ended = match &mut self.process {
                Some(process) => process.try_wait().expect("it can be asked").is_some(),
                None => true,
            };
            // It does not start while processes of the one that was killed are still ending.
            if ended {
                self.process = Some(self.launch());
            }
            let connected = PgConnection::connect(&url).await;
            connected.map(drop).map_err(|error| format!("{error}: {}", self.home.log("log")))
        };
        within(STARTS_WITHIN, "PostgreSQL answers", answers, Result::is_ok).await.expect("it does");
    }

    fn launch(&self) -> Child {
        let mut command = self.home.command(&self.programs.join("postgres"));
        let port = self.address.port().to_string();
        command.args(["-D", "data", "-p", &port]);
        // fsync=off loses data only when the machine dies, never when the server is killed.
        let own = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"];
        for setting in own.into_iter().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        self.home.spawn(command, "log")
    }

    /// Kills it: connections end without a word, nothing is written down.
    pub(crate) fn kill(&mut self) {
        kill(self.process.as_mut().expect("it runs"));
        self.process = None;
    }

    /// Stops it as an operator would: connections are told.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        signal(process.id(), "INT");
        let ended = async || process.try_wait().expect("it can be asked");
        within(STARTS_WITHIN, "PostgreSQL stops", ended, Option::is_some).await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // At once, with all its processes; the data goes anyway.
            if process.try_wait().is_ok_and(|ended| ended.is_none()) {
                signal(process.id(), "QUIT");
            }
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("the log of the private PostgreSQL:\n{}", self.home.log("log"));
        }
    }
}

/// A RabbitMQ server that tests may stop, kill and start again. It takes seconds to start: tests share one, one
/// after the other.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    programs: PathBuf,
    home: Home,
    address: SocketAddr,
    node: String,
    /// What every program of it is told.
    environment: Vec<(&'static str, String)>,
    /// Its own map of ports: the machine's may belong to another node, and would outlive us.
    mapper: Option<Child>,
    process: Option<Child>,
}

/// The private RabbitMQ server, running and in nobody else's hands.
pub(crate) async fn rabbitmq() -> OwnedMutexGuard<RabbitMq> {
    static SHARED: Mutex<Weak<AsyncMutex<RabbitMq>>> = Mutex::new(Weak::new());
    let server = {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(AsyncMutex::new(RabbitMq::prepare()));
            *shared = Arc::downgrade(&server);
            server
        })
    };
    let mut server = server.lock_owned().await;
    server.start_again().await;
    server
}

impl RabbitMq {
    fn prepare() -> Self {
        // The server's own scripts: Debian's in /usr/sbin change directory and user.
        let usual = vec![PathBuf::from("/usr/lib/rabbitmq/bin")];
        let programs = folder_of("rabbitmq-server", "TEST_RABBITMQ_PROGRAMS", usual);
        let home = Home::new(&["rabbitmq", "nobody"]);
        let (address, distribution, mapper) = (free_address(), free_address(), free_address());
        // Its own files in place of the machine's under /etc/rabbitmq; no plugins.
        home.write("environment.conf", "");
        home.write("plugins", "[].");
        home.write("advanced.config", "[].");
        home.write(
            "rabbitmq.conf",
            &format!("listeners.tcp.1 = {address}\nlog.file.level = warning\n"),
        );
        let path = |name: &str| home.path(name).display().to_string();
        let environment = vec![
            ("PATH", variable("PATH").unwrap_or_default()),
            ("HOME", home.folder.path().display().to_string()),
            ("LANG", "C.UTF-8".into()),
            ("ERL_EPMD_PORT", mapper.port().to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODE_PORT", address.port().to_string()),
            ("RABBITMQ_DIST_PORT", distribution.port().to_string()),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}".into(),
            ),
            ("RABBITMQ_CONF_ENV_FILE", path("environment.conf")),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
            ("RABBITMQ_MNESIA_BASE", path("data")),
            ("RABBITMQ_LOG_BASE", path("logs")),
            ("RABBITMQ_PID_FILE", path("pid")),
        ];
        let node = format!("customer-sync-test-{}@localhost", address.port());
        Self { programs, home, address, node, environment, mapper: None, process: None }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = self.home.command(program);
        let own = self.environment.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(own).env("RABBITMQ_NODENAME", &self.node);
        command
    }

    /// Its URL, as its only user.
    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }

    /// Starts it where it listened before, unless it runs, and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        if self.mapper.is_none() {
            let folder = folder_of("epmd", "TEST_ERLANG_PROGRAMS", vec!["/usr/bin".into()]);
            let mapper = self.command(&folder.join("epmd"));
            self.mapper = Some(self.home.spawn(mapper, "mapper.log"));
        }
        if self.process.is_none() {
            let server = self.command(&self.programs.join("rabbitmq-server"));
            self.process = Some(self.home.spawn(server, "log"));
        }
        let greets = async || {
            let process = self.process.as_mut().expect("it was started");
            let ended = process.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "RabbitMQ has ended:\n{}", self.home.log("log"));
            greets(self.address).await
        };
        within(STARTS_WITHIN, "RabbitMQ greets", greets, Option::is_some).await;
    }

    /// Kills it: connections end without a word. It has written down these quorum queues before.
    ///
    /// Killed in the second in which a queue was made, 3.10 begins it anew: empty, although it had confirmed messages,
    /// and without a leader, so that nobody who consumes it is ever answered (`docs/operations.md`). No client can mend
    /// that.
    pub(crate) async fn kill(&mut self, queues: &[&str]) {
        let names = self.home.path("data").join(&self.node).join("quorum").join(&self.node);
        let written = async || fs::read(names.join("names.dets")).unwrap_or_default();
        let has = |bytes: &[u8], name: &str| {
            bytes.windows(name.len()).any(|window| window == name.as_bytes())
        };
        within(STARTS_WITHIN, "RabbitMQ has written its queues down", written, |bytes| {
            queues.iter().all(|name| has(bytes, name))
        })
        .await;
        // The start script waits for the node that it started: it ends with it.
        self.end("KILL").await;
    }

    /// Stops it as an operator would.
    pub(crate) async fn stop(&mut self) {
        self.end("TERM").await;
    }

    async fn end(&mut self, name: &str) {
        let pid = self.home.log("pid");
        signal(pid.trim().parse().expect("the node wrote its number down"), name);
        let mut script = self.process.take().expect("it runs");
        let ended = async || script.try_wait().expect("it can be asked");
        within(STARTS_WITHIN, "RabbitMQ ends", ended, Option::is_some).await;
    }

    /// Takes all its data away; it does not run now.
    pub(crate) fn lose_data(&self) {
        assert!(self.process.is_none(), "it was stopped");
        fs::remove_dir_all(self.home.path("data")).expect("its data is there");
    }

    /// Runs a command of `rabbitmqctl`.
    pub(crate) async fn control(&self, arguments: &[&str]) {
        let mut command = self.command(&self.programs.join("rabbitmqctl"));
        command.args(["-n", &self.node]).args(arguments);
        let run = tokio::task::spawn_blocking(move || command.output());
        let run: Output = run.await.expect("it is waited for").expect("rabbitmqctl runs");
        assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

/// The first byte that an AMQP server answers its protocol's header with: a method frame.
async fn greets(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"AMQP\0\0\x09\x01").await.ok()?;
    (stream.read_u8().await.ok()? == 1).then_some(())
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if self.process.is_some()
            && let Ok(pid) = self.home.log("pid").trim().parse::<u32>()
        {
            let _ = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
        }
        for process in [&mut self.process, &mut self.mapper].into_iter().flatten() {
            kill(process);
        }
        if std::thread::panicking() {
            eprintln!("the log of the private RabbitMQ:\n{}", self.home.log("log"));
        }
    }
}
