//! A connection to Postgres for a while: it goes back to the pool clean, or not at all.
//!
//! sqlx 0.9.0 gives a connection whose BEGIN was canceled back inside an open transaction (transact-rs/sqlx#4385), and
//! waits without end for one that does not answer. A rollback after each use would mend both, and cost every read a
//! turn. So it is noted here whether there can be anything to roll back.

use super::{ANSWERS_WITHIN, answered, begins_within};
use sqlx::{Executor as _, PgConnection, PgPool, Postgres, pool::PoolConnection};
use std::{fmt, future::Future, time::Duration};
use tokio::runtime::Handle;

/// See the module.
pub struct Lease {
    /// There until this is dropped.
    connection: Option<PoolConnection<Postgres>>,
    /// How long an answer may take.
    within: Duration,
    /// Whether a transaction was begun; else each statement stands alone.
    in_transaction: bool,
    /// Whether a transaction may be open, or an answer be under way.
    is_open: bool,
}

impl Lease {
    /// For statements that each stand alone.
    pub(super) async fn alone(pool: &PgPool, within: Duration) -> sqlx::Result<Self> {
        let connection = answered(begins_within(within), pool.acquire()).await?;
        Ok(Self { connection: Some(connection), within, in_transaction: false, is_open: false })
    }

    /// For a transaction, with the words that begin it.
    pub(super) async fn begin(
        pool: &PgPool,
        within: Duration,
        begin: &'static str,
    ) -> sqlx::Result<Self> {
        let begun = async {
            let connection = Some(pool.acquire().await?);
            let mut this = Self { connection, within, in_transaction: true, is_open: true };
            this.connection().execute(begin).await?;
            Ok(this)
        };
        answered(begins_within(within), begun).await
    }

    /// Sets how long an answer may take.
    pub(super) fn wait(&mut self, within: Duration) {
        self.within = within;
    }

    /// The answer to a statement, or an error where none comes in time.
    pub(super) async fn ask<'c, T, F>(
        &'c mut self,
        ask: impl FnOnce(&'c mut PgConnection) -> F,
    ) -> sqlx::Result<T>
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        let Self { connection, within, in_transaction, is_open } = self;
        *is_open = true;
        let answer = answered(*within, ask(held(connection))).await;
        *is_open = *in_transaction || answer.is_err();
        answer
    }

    /// Makes everything in it last. In the words that sqlx uses, by which the tests' proxy knows them.
    pub(super) async fn commit(self) -> sqlx::Result<Self> {
        self.end("COMMIT").await
    }

    /// Undoes everything in it. A server that does not answer is not waited for as long as for a statement.
    pub(super) async fn roll_back(mut self) -> sqlx::Result<Self> {
        self.within = self.within.min(ANSWERS_WITHIN);
        self.end("ROLLBACK").await
    }

    async fn end(mut self, end: &'static str) -> sqlx::Result<Self> {
        if self.in_transaction {
            self.ask(|connection| connection.execute(end)).await?;
            self.is_open = false;
        }
        Ok(self)
    }

    fn connection(&mut self) -> &mut PgConnection {
        held(&mut self.connection)
    }
}

#[expect(clippy::expect_used, reason = "only `drop` takes it")]
fn held(connection: &mut Option<PoolConnection<Postgres>>) -> &mut PgConnection {
    connection.as_mut().expect("the connection is there until this is dropped")
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // Outside of a runtime nobody is left who could use it again.
        let Ok(runtime) = Handle::try_current() else { return drop(connection.detach()) };
        let is_open = self.is_open;
        runtime.spawn(async move {
            if is_open && answered(ANSWERS_WITHIN, connection.execute("rollback")).await.is_err() {
                return connection.close_on_drop();
            }
            // It is asked for a sign of life before it is in the pool again, and closed where none comes.
            let returned = async {
                connection.return_to_pool().await;
                Ok(())
            };
            drop(answered(ANSWERS_WITHIN, returned).await);
        });
    }
}
