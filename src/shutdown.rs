//! Stopping in two steps: soft finishes what is in hand, hard drops it. Both are safe: what was not
//! acknowledged comes again, and an attempt that was cut short does not count.

use futures_util::FutureExt as _;
use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The daemon's tasks and the two tokens that end them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    crashed: Arc<AtomicBool>,
}

impl Shutdown {
    /// Nothing runs and nothing is asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a role. One that ends before it was asked to, or with an error, takes the process down.
    #[expect(clippy::disallowed_methods, reason = "this is the tracker")]
    pub fn spawn_role<E: std::fmt::Debug + Send + 'static>(
        &self,
        name: &'static str,
        role: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let this = self.clone();
        tokio::spawn(self.tasks.track_future(async move {
            tokio::select! {
                biased;
                () = this.hard.cancelled() => {}
                ended = AssertUnwindSafe(role).catch_unwind() => match ended {
                    Ok(Ok(())) if this.soft.is_cancelled() => {}
                    Ok(Ok(())) => this.crash(name, "it ended unasked"),
                    Ok(Err(error)) => this.crash(name, &format!("{error:?}")),
                    Err(_) => this.crash(name, "it panicked"),
                },
            }
        }));
    }

    /// Runs a piece of work that ends by itself; a soft shutdown waits for it, a hard one drops it.
    #[expect(clippy::disallowed_methods, reason = "this is the tracker")]
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let hard = self.hard.clone();
        tokio::spawn(self.tasks.track_future(async move {
            tokio::select! {
                biased;
                () = hard.cancelled() => {}
                () = work => {}
            }
        }));
    }

    fn crash(&self, role: &str, why: &str) {
        tracing::error!(role, why, "a role died; the process goes down with it");
        self.crashed.store(true, Ordering::SeqCst);
        self.soft.cancel();
    }

    /// Asks every role to finish what it has in hand and stop.
    pub fn soft(&self) {
        self.soft.cancel();
    }

    /// Drops everything now.
    pub fn hard(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_requested(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits until stopping is asked for.
    pub async fn requested(&self) {
        self.soft.cancelled().await;
    }

    /// Sleeps, or until stopping is asked for; whether it slept the whole time.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.soft.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    /// Once stopping was asked for: waits for the tasks, up to a grace, then drops the rest.
    /// Whether no role had crashed.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.requested().await;
        self.tasks.close();
        if tokio::time::timeout(grace, self.wait_or_hard()).await.is_err() {
            tracing::warn!(
                grace_ms = grace.as_millis(),
                "not all work was finished within the grace"
            );
        }
        self.hard.cancel();
        self.tasks.wait().await;
        !self.crashed.load(Ordering::SeqCst)
    }

    async fn wait_or_hard(&self) {
        tokio::select! {
            () = self.tasks.wait() => {}
            () = self.hard.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn soft_waits_for_work_in_hand_and_hard_drops_what_outlasts_the_grace() {
        let finished = Arc::new(AtomicBool::new(false));
        let shutdown = Shutdown::new();
        let flag = finished.clone();
        shutdown.spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            flag.store(true, Ordering::SeqCst);
        });
        shutdown.spawn(std::future::pending());
        shutdown.soft();
        assert!(shutdown.drain(Duration::from_millis(200)).await);
        assert!(finished.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_role_that_dies_takes_the_process_down() {
        let shutdown = Shutdown::new();
        shutdown.spawn_role("short", async { Ok::<(), std::io::Error>(()) });
        assert!(!shutdown.drain(Duration::from_secs(1)).await);
    }

    #[tokio::test]
    async fn a_role_that_panics_takes_the_process_down() {
        let shutdown = Shutdown::new();
        shutdown.spawn_role("broken", async {
            assert!(Duration::ZERO > Duration::from_secs(1), "a bug");
            Ok::<(), std::io::Error>(())
        });
        assert!(!shutdown.drain(Duration::from_secs(1)).await);
    }
}
