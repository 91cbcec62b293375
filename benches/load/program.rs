//! The program that was built for release, as users run it: a process of its own.

use crate::stage::{Database, Stage};
use anyhow::{Context as _, bail, ensure};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a start may take.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// How long a soft stop may take.
const STOPS_WITHIN: Duration = Duration::from_mins(1);

/// How a run differs from the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// `--roles`; all of them where none is given.
    pub(crate) roles: Option<&'static str>,
    /// Whether events come from the broker; else by HTTP.
    pub(crate) from_broker: bool,
    /// Whether the app is told.
    pub(crate) with_endpoint: bool,
    /// More settings, as environment variables.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    /// Where its HTTP server listens.
    pub(crate) address: SocketAddr,
    /// When it was last seen not to be ready yet.
    pub(crate) ready_after: Instant,
    /// How long that was after its start.
    pub(crate) took: Duration,
    process: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it on a database and waits until it is ready.
    pub(crate) fn start(stage: &Stage, database: &Database, run: &Run) -> anyhow::Result<Self> {
        // Freed at once and taken by the program a moment later; nobody else asks for ports meanwhile.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = stage.folder.path();
        let config = folder.join("config.toml");
        std::fs::write(&config, stage.config(run.with_endpoint))?;
        let log = folder.join("program.log");
        let file = File::create(&log)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_customer-sync"));
        command
            .arg("run")
            .env_clear()
            // As the unit and the image set them.
            .env("MALLOC_ARENA_MAX", "1")
            .env("MALLOC_TRIM_THRESHOLD_", "131072")
            .env("DATABASE_URL", database.url()?)
            .env("HTTP_LISTEN", address.to_string())
            .env("CUSTOMER_SYNC_CONFIG", &config)
            .env("CUSTOMER_SYNC__DATA__DIRECTORY", folder.join("data"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        if let Some(roles) = run.roles {
            command.args(["--roles", roles]);
        }
        if run.from_broker {
            let names = stage.topology();
            command
                .env("AMQP_URL", &stage.servers.amqp)
                .env("CUSTOMER_SYNC__AMQP__EXCHANGE", names.exchange)
                .env("CUSTOMER_SYNC__AMQP__QUEUE", names.queue)
                .env("CUSTOMER_SYNC__AMQP__DEAD_EXCHANGE", names.dead_exchange)
                .env("CUSTOMER_SYNC__AMQP__DEAD_QUEUE", names.dead_queue);
        }
        command.envs(run.variables.iter().map(|(name, value)| (*name, value)));
        let begun = Instant::now();
        let process = command.spawn().context("the program does not start")?;
        let mut this = Self { address, ready_after: begun, took: Duration::ZERO, process, log };
        this.wait(begun)?;
        Ok(this)
    }

    fn wait(&mut self, begun: Instant) -> anyhow::Result<()> {
        loop {
            let asked = Instant::now();
            if is_ready(self.address) {
                self.took = begun.elapsed();
                return Ok(());
            }
            self.ready_after = asked;
            if self.process.try_wait()?.is_some() || begun.elapsed() > STARTS_WITHIN {
                bail!("the program is not ready; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged: warnings and worse.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has ended by itself.
    pub(crate) fn is_running(&mut self) -> anyhow::Result<()> {
        let ended = self.process.try_wait()?;
        ensure!(ended.is_none(), "the program has ended; its log:\n{}", self.log());
        Ok(())
    }

    /// Asks it to finish what it has in hand, and waits for its end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let id = self.process.id().to_string();
        ensure!(Command::new("kill").args(["-s", "TERM", &id]).status()?.success(), "no SIGTERM");
        let asked = Instant::now();
        while asked.elapsed() < STOPS_WITHIN {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "it ended with {status}; its log:\n{}", self.log());
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("it does not stop; its log:\n{}", self.log())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
