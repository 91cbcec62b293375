//! What is due, and leasing it.

use super::{Begun, begin};
use crate::{
    model::{
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

/// For each enabled endpoint with a pending message: when its first one is due, the earliest first. One look
/// into the index for each, whatever waits.
///
/// # Errors
/// When the database fails.
pub async fn heads(tx: &mut Tx) -> Result<Vec<(EndpointId, Timestamp)>> {
    let rows = tx
        .query(
            "select id, (
                select min(due_at) from messages where endpoint_id = endpoints.id and status = 'pending'
             )
             from endpoints where enabled and not deleted",
        )
        .all::<(EndpointId, Option<Timestamp>)>()
        .await?;
    let waiting = rows.into_iter().filter_map(|(endpoint, due_at)| Some((endpoint, due_at?)));
    let mut heads: Vec<_> = waiting.collect();
    heads.sort_by_key(|(endpoint, due_at)| (*due_at, *endpoint));
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
/// begins a try of each. Another claim at the same time gets others.
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
    set!(
        tx,
        "update messages as m set lease = r.lease, leased_until = $2, due_at = $2 from",
        [message_id uuid, lease uuid],
        "where m.id = r.message_id"
    )
    .bind_rows(&leases)
    .bind(until)
    .execute()
    .await?;
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
    begin(tx, &tries, now).await?;
    let bodies = bodies(tx, &due).await?;
    let message = |(due, begun): (Due, Begun)| {
        Some(Leased {
            id: due.id,
            endpoint_id: due.endpoint_id,
            attempt: i32::try_from(begun.number).unwrap_or(i32::MAX),
            body: bodies.get(&due.event_id)?.clone(),
            leased_until: until,
            lease: begun.lease,
        })
    };
    Ok(due.into_iter().zip(tries).filter_map(message).collect())
}

async fn lock_due(tx: &mut Tx, wanted: &[Wanted], now: Timestamp) -> Result<Vec<Due>> {
    // Differs because SQLite has no lateral joins, takes no limit from a row, and needs no row locks: there
    // the largest count bounds every endpoint's look, and the place within it cuts it to the endpoint's own.
    let sql = tx.pick(
        "select m.id, m.endpoint_id, m.event_id, m.attempts
         from jsonb_to_recordset($1::jsonb) as r(endpoint_id uuid, most bigint)
         cross join lateral (
            select id, endpoint_id, event_id, attempts from messages
            where endpoint_id = r.endpoint_id and status = 'pending' and due_at <= $2
                and exists (select 1 from endpoints where id = r.endpoint_id and enabled and not deleted)
            order by due_at limit least(r.most, $3) for update skip locked
         ) as m",
        "select id, endpoint_id, event_id, attempts from (
            select m.id, m.endpoint_id, m.event_id, m.attempts, r.most,
                row_number() over (partition by m.endpoint_id order by m.due_at, m.id) as place
            from (
                select value->>'endpoint_id' as endpoint_id, value->>'most' as most from json_each($1)
            ) as r
            join messages as m on m.id in (
                select id from messages
                where endpoint_id = r.endpoint_id and status = 'pending' and due_at <= $2
                order by due_at limit $3
            )
            where exists (select 1 from endpoints where id = r.endpoint_id and enabled and not deleted)
         ) where place <= most",
    );
    let most = wanted.iter().map(|wanted| wanted.most).max().unwrap_or(0);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Ok(tx.query(sql).bind_rows(wanted).bind(now).bind(most).all().await?)
}

async fn bodies(tx: &mut Tx, due: &[Due]) -> Result<HashMap<EventId, Arc<str>>> {
    #[derive(Serialize, PartialEq)]
    struct Event {
        event_id: Uuid,
    }
    let mut events: Vec<Event> = due.iter().map(|due| Event { event_id: due.event_id.0 }).collect();
    events.sort_by_key(|event| event.event_id);
    events.dedup();
    let rows = set!(
        tx,
        "select e.id, e.body from outgoing_events as e join",
        [event_id uuid],
        "on e.id = r.event_id"
    )
    .bind_rows(&events)
    .all::<(EventId, String)>()
    .await?;
    Ok(rows.into_iter().map(|(id, body)| (id, body.into())).collect())
}
