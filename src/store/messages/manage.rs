//! Messages by hand: sent again, called off, and those of a deleted endpoint.

use super::settle::release;
use crate::{
    model::{id::MessageId, time::Timestamp},
    store::{Result, Tx},
};

/// Makes a message due now. One that is done begins its schedule anew; one that waits goes on with it, and one that is
/// under way stays so. Of its environment only, where one is given. Whether there is such a message.
///
/// # Errors
/// When the database fails.
pub async fn resend(
    tx: &mut Tx,
    environment: Option<&str>,
    id: MessageId,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .query(
            "update messages set
                attempts = case when status = 'pending' then attempts else 0 end,
                fresh = fresh and status = 'pending',
                due_at = case when lease is null or status <> 'pending' then $3 else due_at end,
                lease = case when status = 'pending' then lease end,
                leased_until = case when status = 'pending' then leased_until end,
                status = 'pending', finished_at = null
             where id = $1 and environment = coalesce($2, environment)",
        )
        .bind(id)
        .bind(environment.map(str::to_owned))
        .bind(now)
        .execute()
        .await?;
    Ok(changed == 1)
}

/// Calls a message off that waits; what comes of a try under way is still recorded. Whether it waited.
///
/// # Errors
/// When the database fails.
pub async fn cancel(
    tx: &mut Tx,
    environment: Option<&str>,
    id: MessageId,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .query(
            "update messages set status = 'canceled', finished_at = $3, lease = null, leased_until = null
             where id = $1 and environment = coalesce($2, environment) and status = 'pending'
             returning ordered",
        )
        .bind(id)
        .bind(environment.map(str::to_owned))
        .bind(now)
        .maybe::<(bool,)>()
        .await?;
    if changed == Some((true,)) {
        release(tx, std::iter::once(id), now).await?;
    }
    Ok(changed.is_some())
}

/// Calls off what waits for deleted endpoints, so many at most. A try that is under way is left to end. How many.
///
/// # Errors
/// When the database fails.
pub async fn cancel_orphans(tx: &mut Tx, most: i64, now: Timestamp) -> Result<u64> {
    // Differs because SQLite needs no row locks.
    let sql = tx.pick(
        "update messages set status = 'canceled', finished_at = $2, lease = null, leased_until = null
         where id in (
            select m.id from endpoints as e join messages as m on m.endpoint_id = e.id
            where e.deleted and m.status = 'pending' and coalesce(m.leased_until <= $2, true)
            limit $1 for update of m skip locked)",
        "update messages set status = 'canceled', finished_at = $2, lease = null, leased_until = null
         where id in (
            select m.id from endpoints as e join messages as m on m.endpoint_id = e.id
            where e.deleted and m.status = 'pending' and coalesce(m.leased_until <= $2, true)
            limit $1)",
    );
    Ok(tx.query(sql).bind(most).bind(now).execute().await?)
}
