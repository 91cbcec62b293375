//! What is due, and leasing it.

use super::{Begun, begin};
use crate::{
    model::{
        endpoint::Breaker,
        id::{AttemptId, EndpointId, EventId, MessageId},
        message::Leased,
        time::Timestamp,
    },
    set,
    store::{Result, Tx},
};
use serde::Serialize;
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// An enabled endpoint: what waits for it, and whether it may go out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The endpoint.
    pub endpoint_id: EndpointId,
    /// When its first pending message is due, if there is one.
    pub due_at: Option<Timestamp>,
    /// Whether it is sent to.
    pub breaker: Breaker,
    /// Nothing goes out before that time.
    pub paused_until: Option<Timestamp>,
}

impl Head {
    /// When there is something to send: no sooner than the endpoint may be sent to.
    pub fn ready_at(&self) -> Option<Timestamp> {
        self.due_at.map(|due_at| self.paused_until.map_or(due_at, |until| until.max(due_at)))
    }
}

/// Every enabled endpoint with when its first message is due, the earliest first. One look into an index for each and
/// for first tries and later ones, whatever waits.
///
/// # Errors
/// When the database fails.
pub async fn heads(tx: &mut Tx) -> Result<Vec<Head>> {
    let rows = tx
        .query(
            "select id, (
                select min(due_at) from (
                    select min(due_at) as due_at from messages
                    where endpoint_id = endpoints.id and status = 'pending' and fresh
                    union all
                    select min(due_at) from messages
                    where endpoint_id = endpoints.id and status = 'pending' and not fresh
                ) as earliest
             ), breaker, paused_until
             from endpoints where enabled and not deleted",
        )
        .all::<(EndpointId, Option<Timestamp>, String, Option<Timestamp>)>()
        .await?;
    let head = |(endpoint_id, due_at, breaker, paused_until): (_, _, String, _)| Head {
        endpoint_id,
        due_at,
        breaker: Breaker::from_name(&breaker).unwrap_or_default(),
        paused_until,
    };
    let mut heads: Vec<_> = rows.into_iter().map(head).collect();
    heads.sort_by_key(|head| (head.ready_at().unwrap_or(Timestamp::LAST), head.endpoint_id));
    Ok(heads)
}

/// How many of an endpoint's messages to claim.
#[derive(Clone, Debug, Serialize)]
pub struct Wanted {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// At most so many.
    pub most: usize,
}

#[derive(sqlx::FromRow)]
struct Due {
    id: MessageId,
    endpoint_id: EndpointId,
    event_id: EventId,
    attempts: i64,
}

/// A due message and the lease it gets.
#[derive(Serialize)]
struct Lease {
    message_id: Uuid,
    lease: Uuid,
}

/// Leases due messages, those whose lease has run out among them, the longest due of each endpoint first, and
/// begins a try of each. Where both wait, of four messages to an endpoint three are tried for the first time and one
/// again: neither waits for the end of the other's backlog. Another claim at the same time gets others. Of those that are ordered, only the first of its
/// customer goes.
///
/// # Errors
/// When the database fails.
pub async fn claim(
    tx: &mut Tx,
    wanted: &[Wanted],
    mut new_lease: impl FnMut() -> AttemptId + Send,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Leased>> {
    let due = lock_due(tx, wanted, now).await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let leases: Vec<Lease> =
        due.iter().map(|due| Lease { message_id: due.id.0, lease: new_lease().0 }).collect();
    let tries: Vec<Begun> = due
        .iter()
        .zip(&leases)
        .map(|(due, lease)| Begun {
            lease: lease.lease,
            message_id: due.id.0,
            endpoint_id: due.endpoint_id.0,
            number: due.attempts.saturating_add(1),
        })
        .collect();
    let mut writes = tx.together();
    set!(
        writes,
        "update messages as m set lease = r.lease, leased_until = $2, due_at = $2 from",
        [message_id uuid, lease uuid],
        "where m.id = r.message_id"
    )
    .bind_rows(&leases)
    .bind(until);
    begin(&mut writes, &tries, now);
    writes.run(tx).await?;
    let bodies = bodies(tx, &due).await?;
    let message = |(due, begun): (Due, Begun)| {
        let (body, trace) = bodies.get(&due.event_id)?.clone();
        Some(Leased {
            id: due.id,
            endpoint_id: due.endpoint_id,
            attempt: i32::try_from(begun.number).unwrap_or(i32::MAX),
            body,
            trace,
            leased_until: until,
            lease: begun.lease,
        })
    };
    Ok(due.into_iter().zip(tries).filter_map(message).collect())
}

/// That no other message of its endpoint and customer has to go before `one`.
macro_rules! is_first {
    () => {
        "(not ordered or not exists (select 1 from messages as before
            where before.endpoint_id = one.endpoint_id and before.customer_id = one.customer_id
                and before.status = 'pending' and before.ordered and before.version < one.version))"
    };
}

/// Of the endpoint `r` what is due of one kind, locked, with its turn.
macro_rules! due_postgres {
    ($kind:literal, $turn:literal) => {
        concat!(
            "select id, endpoint_id, event_id, attempts, ",
            $turn,
            " as turn from (
                select one.id, one.endpoint_id, one.event_id, one.attempts, near.due_at
                from (
                    select id, due_at from messages
                    where endpoint_id = r.endpoint_id and status = 'pending' and ",
            $kind,
            " and due_at <= $2
                    order by due_at limit 1000
                ) as near
                join messages as one on one.id = near.id
                where one.status = 'pending' and one.due_at <= $2
                    and exists (select 1 from endpoints where id = r.endpoint_id and enabled and not deleted
                        and coalesce(paused_until <= $2, true))
                    and ",
            is_first!(),
            "   order by near.due_at limit least(r.most, $3) for update of one skip locked
             ) as one"
        )
    };
}

/// The same, and nothing is locked.
macro_rules! due_sqlite {
    ($kind:literal, $turn:literal) => {
        concat!(
            "select m.id, m.endpoint_id, m.event_id, m.attempts, r.most, ",
            $turn,
            " as turn from r join messages as m on m.id in (
                select id from (
                    select * from messages
                    where endpoint_id = r.endpoint_id and status = 'pending' and ",
            $kind,
            " and due_at <= $2
                    order by due_at limit 1000
                ) as one
                where ",
            is_first!(),
            "   order by due_at limit $3
             )"
        )
    };
}

/// Of each endpoint it looks at the first thousand of either kind that are due, and at no more where they all wait for
/// others of their customers: those are then put off, and the next claim looks at the next ones.
///
/// In `turn`, the first tries to an endpoint come at 2, 6, 10, …, and the others at 0, 12, 24, …, or later by a part of
/// that which changes from claim to claim: so that one in four is such a one also where a claim takes one alone.
async fn lock_due(tx: &mut Tx, wanted: &[Wanted], now: Timestamp) -> Result<Vec<Due>> {
    // Differs because SQLite has no lateral joins, takes no limit from a row, and needs no row locks: there
    // the largest count bounds every endpoint's look, and the place within it cuts it to the endpoint's own.
    let sql = tx.pick(
        concat!(
            "select m.id, m.endpoint_id, m.event_id, m.attempts
             from jsonb_to_recordset($1::jsonb) as r(endpoint_id uuid, most bigint)
             cross join lateral (
                select id, endpoint_id, event_id, attempts from (",
            due_postgres!("fresh", "4 * row_number() over (order by due_at) - 2"),
            " union all ",
            due_postgres!("not fresh", "12 * row_number() over (order by due_at) - 12 + $4"),
            ") as due order by turn limit r.most
             ) as m"
        ),
        concat!(
            "with r as (
                select value->>'endpoint_id' as endpoint_id, value->>'most' as most from jsonb_each($1)
                where exists (select 1 from endpoints where id = value->>'endpoint_id' and enabled and not deleted
                    and coalesce(paused_until <= $2, true))
             )
             select id, endpoint_id, event_id, attempts from (
                select due.*, row_number() over (partition by endpoint_id order by turn, id) as place from (",
            due_sqlite!("fresh", "4 * row_number() over (partition by m.endpoint_id order by m.due_at, m.id) - 2"),
            " union all ",
            due_sqlite!("not fresh", "12 * row_number() over (partition by m.endpoint_id order by m.due_at, m.id) - 12 + $4"),
            ") as due
             ) where place <= most"
        ),
    );
    let most = wanted.iter().map(|wanted| wanted.most).max().unwrap_or(0);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let later = 3 * now.micros().rem_euclid(4);
    Ok(tx.query(sql).bind_rows(wanted).bind(now).bind(most).bind(later).all().await?)
}

/// How many blocked messages are put off at once: as many as a claim looks at.
const DEFERRED: i64 = 1_000;

/// Puts off what is due to these endpoints and waits for another message of its customer: it is due when that one is, and
/// behind it where that one is due now, unless that one is done before and releases it. So nobody looks at it again and
/// again, and it never stands before the one that it waits for, where it would fill the view of a claim.
///
/// # Errors
/// When the database fails.
pub async fn defer_blocked(
    tx: &mut Tx,
    endpoints: impl IntoIterator<Item = EndpointId>,
    now: Timestamp,
) -> Result<u64> {
    // Differs because SQLite needs no row locks, and has no lateral joins.
    let sql = tx.pick(
        "select m.id
         from jsonb_to_recordset($1::jsonb) as r(id uuid)
         cross join lateral (
            select id from (
                select id from messages
                where endpoint_id = r.id and status = 'pending' and fresh and ordered and due_at <= $2
                order by due_at limit 1000
            ) as near
            union all
            select id from (
                select id from messages
                where endpoint_id = r.id and status = 'pending' and not fresh and ordered and due_at <= $2
                order by due_at limit 1000
            ) as near
         ) as due
         join messages as m on m.id = due.id
         cross join lateral (
            select due_at from messages as before
            where before.endpoint_id = m.endpoint_id and before.customer_id = m.customer_id
                and before.status = 'pending' and before.ordered and before.version < m.version
            order by version limit 1
         ) as first
         where m.status = 'pending' and first.due_at >= m.due_at
         limit $3 for update of m skip locked",
        "select id from (
            select m.id, m.due_at, (
                select due_at from messages as before
                where before.endpoint_id = m.endpoint_id and before.customer_id = m.customer_id
                    and before.status = 'pending' and before.ordered and before.version < m.version
                order by version limit 1
            ) as until
            from (select value->>'id' as id from jsonb_each($1)) as r
            join messages as m on m.id in (
                select id from (
                    select id from messages
                    where endpoint_id = r.id and status = 'pending' and fresh and ordered and due_at <= $2
                    order by due_at limit 1000
                ) as near
                union all
                select id from (
                    select id from messages
                    where endpoint_id = r.id and status = 'pending' and not fresh and ordered and due_at <= $2
                    order by due_at limit 1000
                ) as near
            )
         ) as blocked
         where until >= due_at limit $3",
    );
    let ids = endpoints.into_iter().map(|endpoint| endpoint.0);
    let blocked: Vec<(MessageId,)> =
        tx.query(sql).bind_ids(ids).bind(now).bind(DEFERRED).all().await?;
    if blocked.is_empty() {
        return Ok(0);
    }
    // A statement of its own, which sees what was done until the rows were locked: a message whose predecessor has been
    // done since then stays due. One that is done from now on waits for these rows and makes the next one due.
    let sql = tx.pick(
        "update messages set due_at = greatest(blocked.until, $2) from (
            select m.id, m.due_at, (
                select due_at from messages as before
                where before.endpoint_id = m.endpoint_id and before.customer_id = m.customer_id
                    and before.status = 'pending' and before.ordered and before.version < m.version
                order by version limit 1
            ) as until
            from messages as m join jsonb_to_recordset($1::jsonb) as r(id uuid) on m.id = r.id) as blocked
         where messages.id = blocked.id and blocked.until >= blocked.due_at",
        "update messages set due_at = max(blocked.until, $2) from (
            select m.id, m.due_at, (
                select due_at from messages as before
                where before.endpoint_id = m.endpoint_id and before.customer_id = m.customer_id
                    and before.status = 'pending' and before.ordered and before.version < m.version
                order by version limit 1
            ) as until
            from messages as m join jsonb_each($1) as r on m.id = r.value->>'id') as blocked
         where messages.id = blocked.id and blocked.until >= blocked.due_at",
    );
    let ids = blocked.into_iter().map(|(id,)| id.0);
    let behind = now.plus(chrono::TimeDelta::microseconds(1));
    Ok(tx.query(sql).bind_ids(ids).bind(behind).execute().await?)
}

/// What is sent, and the context that it belongs to.
type Content = (Arc<str>, Option<Arc<str>>);

async fn bodies(tx: &mut Tx, due: &[Due]) -> Result<HashMap<EventId, Content>> {
    #[derive(Serialize, PartialEq)]
    struct Event {
        event_id: Uuid,
    }
    let mut events: Vec<Event> = due.iter().map(|due| Event { event_id: due.event_id.0 }).collect();
    events.sort_by_key(|event| event.event_id);
    events.dedup();
    let rows = set!(
        tx,
        "select e.id, e.body, e.traceparent from outgoing_events as e join",
        [event_id uuid],
        "on e.id = r.event_id"
    )
    .bind_rows(&events)
    .all::<(EventId, String, Option<String>)>()
    .await?;
    let content = |(id, body, trace): (_, String, Option<String>)| {
        (id, (Arc::from(body), trace.map(Arc::from)))
    };
    Ok(rows.into_iter().map(content).collect())
}
