//! How endpoints have been answering, and when they may be sent to: what all processes keep to.

use crate::{
    model::{
        endpoint::{Breaker, Standing},
        id::{EndpointId, MessageId},
        time::Timestamp,
    },
    store::{Result, Together, Tx},
};
use serde::Serialize;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct Row {
    id: EndpointId,
    url: String,
    breaker: String,
    paused_until: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    failing_message: Option<MessageId>,
    pauses: i64,
    rate_at: Option<Timestamp>,
}

/// An endpoint that this transaction holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Locked {
    /// Where it is.
    pub url: String,
    /// How it has been answering.
    pub standing: Standing,
    /// When its next request may begin, where it has a rate; none if any time will do.
    pub rate_at: Option<Timestamp>,
}

impl Locked {
    /// Whether one message may show if it is well again.
    pub fn is_probeable(&self, now: Timestamp) -> bool {
        let Standing { breaker, paused_until, .. } = self.standing;
        breaker != Breaker::Closed && paused_until.is_none_or(|until| until <= now)
    }
}

/// Holds endpoints that are to be changed in this transaction: another one waits. Of `well`, only those of which a
/// failure is remembered. Whoever changes several asks for all of them here at once, and before any message: they are
/// locked in the order of their ids, so that two who do that cannot wait for each other.
///
/// # Errors
/// When the database fails.
pub async fn locked(
    tx: &mut Tx,
    endpoints: impl IntoIterator<Item = EndpointId>,
    well: impl IntoIterator<Item = EndpointId>,
) -> Result<BTreeMap<EndpointId, Locked>> {
    // Differs because SQLite has one writer, and no row locks.
    let sql = tx.pick(
        "select id, url, breaker, paused_until, failing_since, failing_message, pauses, rate_at from endpoints
         where (id in (select id from jsonb_to_recordset($1::jsonb) as r(id uuid))
                or id in (select id from jsonb_to_recordset($2::jsonb) as r(id uuid))
                    and (failing_since is not null or pauses > 0))
            and not deleted
         order by id for update",
        "select id, url, breaker, paused_until, failing_since, failing_message, pauses, rate_at from endpoints
         where (id in (select value->>'id' from jsonb_each($1))
                or id in (select value->>'id' from jsonb_each($2))
                    and (failing_since is not null or pauses > 0))
            and not deleted",
    );
    let ids = endpoints.into_iter().map(|endpoint| endpoint.0);
    let well = well.into_iter().map(|endpoint| endpoint.0);
    let rows = tx.query(sql).bind_ids(ids).bind_ids(well).all::<Row>().await?;
    let locked = |row: Row| {
        let standing = Standing {
            breaker: Breaker::from_name(&row.breaker).unwrap_or_default(),
            paused_until: row.paused_until,
            failing_since: row.failing_since,
            failing_message: row.failing_message,
            pauses: row.pauses,
        };
        (row.id, Locked { url: row.url, standing, rate_at: row.rate_at })
    };
    Ok(rows.into_iter().map(locked).collect())
}

/// Writes down how an endpoint stands.
///
/// # Errors
/// When the database fails.
pub async fn stand(tx: &mut Tx, id: EndpointId, standing: &Standing) -> Result<()> {
    tx.query(
        "update endpoints set breaker = $2, paused_until = $3, failing_since = $4, failing_message = $5,
            pauses = $6
         where id = $1",
    )
    .bind(id)
    .bind(standing.breaker.as_str().to_owned())
    .bind(standing.paused_until)
    .bind(standing.failing_since)
    .bind(standing.failing_message)
    .bind(standing.pauses)
    .execute()
    .await?;
    Ok(())
}

#[derive(Serialize)]
struct Id {
    id: Uuid,
}

/// Notes that tries to these endpoints succeeded, and none failed: what is remembered of failures before is forgotten.
/// An open breaker stays open, since only its probe closes it. They are locked in the order of their ids, as by
/// [`locked`]; who holds some already names no others.
pub fn succeeded(
    writes: &mut Together,
    endpoints: impl IntoIterator<Item = EndpointId>,
    now: Timestamp,
) {
    let rows: Vec<Id> = endpoints.into_iter().map(|endpoint| Id { id: endpoint.0 }).collect();
    if rows.is_empty() {
        return;
    }
    // Differs because SQLite has one writer, and no row locks.
    let sql = writes.pick(
        "update endpoints set failing_since = null, failing_message = null,
            pauses = case when breaker = 'closed' and coalesce(paused_until <= $2, true) then 0
                else pauses end
         where id in (
            select id from endpoints
            where id in (select id from jsonb_to_recordset($1::jsonb) as r(id uuid))
                and (failing_since is not null
                    or (pauses > 0 and breaker = 'closed' and coalesce(paused_until <= $2, true)))
            order by id for update)",
        "update endpoints set failing_since = null, failing_message = null,
            pauses = case when breaker = 'closed' and coalesce(paused_until <= $2, true) then 0
                else pauses end
         where id in (select value->>'id' from jsonb_each($1))
            and (failing_since is not null
                or (pauses > 0 and breaker = 'closed' and coalesce(paused_until <= $2, true)))",
    );
    writes.query(sql).bind_rows(&rows).bind(now);
}

/// Reserves an endpoint's time: its next request begins no sooner.
///
/// # Errors
/// When the database fails.
pub async fn reserve(tx: &mut Tx, id: EndpointId, rate_at: Timestamp) -> Result<()> {
    tx.query("update endpoints set rate_at = $2 where id = $1")
        .bind(id)
        .bind(rate_at)
        .execute()
        .await?;
    Ok(())
}
