//! What is kept no longer, taken away in small batches: each is a short transaction, and reads no more than it takes.
//!
//! Ids are UUIDv7: they say when a row was written, and their index finds the oldest.

use crate::{
    model::{
        id::{AttemptId, EndpointId, EventId, InboundId, MessageId, RecoveryId},
        time::Timestamp,
    },
    store::{Result, Tx},
};
use uuid::Uuid;

/// The first id of a time: what was written before has a lower one.
fn first_of(time: Timestamp) -> Uuid {
    let millis = u128::try_from(time.micros() / 1_000).unwrap_or(0);
    Uuid::from_u128((millis & 0xffff_ffff_ffff) << 80)
}

/// Takes away messages that were written before a time and wait no longer, their tries, and what they said once no
/// message says it; so many messages at most. How many there were.
///
/// # Errors
/// When the database fails.
pub async fn messages(tx: &mut Tx, before: Timestamp, most: i64) -> Result<u64> {
    let places = tx
        .query(
            "select e.id, s.status from endpoints as e
             cross join (select 'delivered' as status union all select 'dead' union all select 'canceled') as s
             where exists (
                select 1 from messages
                where endpoint_id = e.id and messages.status = s.status and messages.id < $1)
             limit 1",
        )
        .bind(MessageId(first_of(before)))
        .maybe::<(EndpointId, String)>()
        .await?;
    let Some((endpoint, status)) = places else { return Ok(0) };
    // Differs because SQLite has one writer, and no row locks.
    let sql = tx.pick(
        "delete from messages where status = $2 and id in (
            select id from messages where endpoint_id = $1 and status = $2 and id < $3
            order by id limit $4 for update skip locked)
         returning id, event_id",
        "delete from messages where status = $2 and id in (
            select id from messages where endpoint_id = $1 and status = $2 and id < $3
            order by id limit $4)
         returning id, event_id",
    );
    let gone = tx
        .query(sql)
        .bind(endpoint)
        .bind(status)
        .bind(MessageId(first_of(before)))
        .bind(most)
        .all::<(MessageId, EventId)>()
        .await?;
    // Differs because the rows of a set are read differently.
    let sql = tx.pick(
        "delete from attempts where message_id in (
            select id from jsonb_to_recordset($1::jsonb) as r(id uuid))",
        "delete from attempts where message_id in (select value->>'id' from jsonb_each($1))",
    );
    tx.query(sql).bind_ids(gone.iter().map(|(message, _)| message.0)).execute().await?;
    let sql = tx.pick(
        "delete from outgoing_events where id in (
            select id from jsonb_to_recordset($1::jsonb) as r(id uuid))
            and not exists (select 1 from messages where event_id = outgoing_events.id)",
        "delete from outgoing_events where id in (select value->>'id' from jsonb_each($1))
            and not exists (select 1 from messages where event_id = outgoing_events.id)",
    );
    tx.query(sql).bind_ids(gone.iter().map(|(_, event)| event.0)).execute().await?;
    Ok(u64::try_from(gone.len()).unwrap_or(u64::MAX))
}

/// Takes away tries that began before a time and have ended, so many at most. How many there were.
///
/// # Errors
/// When the database fails.
pub async fn attempts(tx: &mut Tx, before: Timestamp, most: i64) -> Result<u64> {
    // Differs because SQLite has one writer, and no row locks.
    let sql = tx.pick(
        "delete from attempts where id in (
            select id from attempts where id < $1 order by id limit $2 for update skip locked)",
        "delete from attempts where id in (select id from attempts where id < $1 order by id limit $2)",
    );
    Ok(tx.query(sql).bind(AttemptId(first_of(before))).bind(most).execute().await?)
}

/// Takes away recoveries that were asked for before a time and are done, so many at most. How many there were.
///
/// # Errors
/// When the database fails.
pub async fn recoveries(tx: &mut Tx, before: Timestamp, most: i64) -> Result<u64> {
    let sql = "delete from recoveries where id in (
            select id from recoveries where id < $1 and finished_at is not null order by id limit $2)";
    Ok(tx.query(sql).bind(RecoveryId(first_of(before))).bind(most).execute().await?)
}

/// Takes away inbound events that were recorded before a time, so many at most. How many there were. A copy of one
/// that comes later is applied anew, which changes nothing where the event says its own time. What was taken in and never
/// applied stays: nobody else may have it, and it is to be replayed once its cause is mended.
///
/// # Errors
/// When the database fails.
pub async fn inbound(tx: &mut Tx, before: Timestamp, most: i64) -> Result<u64> {
    // Differs because SQLite has one writer, and no row locks.
    let sql = tx.pick(
        "delete from inbound_events where id in (
            select id from inbound_events
            where id < $1 and (verdict not in ('rejected', 'dead') or refused)
            order by id limit $2 for update skip locked)",
        "delete from inbound_events where id in (
            select id from inbound_events
            where id < $1 and (verdict not in ('rejected', 'dead') or refused)
            order by id limit $2)",
    );
    Ok(tx.query(sql).bind(InboundId(first_of(before))).bind(most).execute().await?)
}

/// Where a walk through what inbound events speak of has come to.
pub type Place = (Uuid, Uuid);

/// Takes away what is left of what inbound events from before a time spoke of: looks at so many rows after a place, in
/// the order of their key. How many were taken away, and where to go on; none where the walk is at its end.
///
/// No index finds these rows: it would cost every event more than this walk costs.
///
/// # Errors
/// When the database fails.
pub async fn subjects(
    tx: &mut Tx,
    before: Timestamp,
    (subject, inbound): Place,
    most: i64,
) -> Result<(u64, Option<Place>)> {
    use crate::store::codec::Key;
    let last = tx
        .query(
            "select subject_id, inbound_id from inbound_subjects
             where (subject_id, inbound_id) > ($1, $2)
             order by subject_id, inbound_id limit 1 offset $3",
        )
        .bind(Key(subject))
        .bind(InboundId(inbound))
        .bind(most.saturating_sub(1))
        .maybe::<(Key, InboundId)>()
        .await?;
    let next = last.map(|(subject, inbound)| (subject.0, inbound.0));
    let end = next.unwrap_or((Uuid::max(), Uuid::max()));
    let gone = tx
        .query(
            "delete from inbound_subjects
             where (subject_id, inbound_id) > ($1, $2) and (subject_id, inbound_id) <= ($3, $4)
                and inbound_id < $5
                and not exists (select 1 from inbound_events where id = inbound_subjects.inbound_id)",
        )
        .bind(Key(subject))
        .bind(InboundId(inbound))
        .bind(Key(end.0))
        .bind(InboundId(end.1))
        .bind(InboundId(first_of(before)))
        .execute()
        .await?;
    Ok((gone, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_lower_than_the_first_of_a_later_time_only() {
        let clock = crate::clock::Clock::system();
        let before = clock.now();
        let id = clock.new_id();
        let later = before.plus(chrono::TimeDelta::seconds(60));
        assert!(first_of(before) <= id && id < first_of(later));
    }
}
