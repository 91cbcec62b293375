//! Conflicts: what two sources say and cannot both be true.

use super::{
    super::{Result, Tx},
    Page, Slice,
};
use crate::model::{
    conflict::Conflict,
    id::{ConflictId, CustomerId, PaymentId},
    is_live,
    time::Timestamp,
};

#[derive(sqlx::FromRow)]
struct Row {
    id: ConflictId,
    environment: String,
    kind: String,
    customer_id: Option<CustomerId>,
    payment_id: Option<PaymentId>,
    detail: String,
    resolved_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<Row> for Conflict {
    fn from(row: Row) -> Self {
        Self {
            object: "conflict",
            id: row.id,
            live: is_live(&row.environment),
            environment: row.environment.into(),
            kind: row.kind,
            customer_id: row.customer_id,
            payment_id: row.payment_id,
            detail: row.detail,
            resolved_at: row.resolved_at,
            created_at: row.created_at,
        }
    }
}

/// `$1` is the environment.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, environment, kind, customer_id, payment_id, detail, resolved_at, created_at
             from conflicts where environment = $1 and ",
            $rest
        )
    };
}

/// A page of an environment's conflicts, newest first; only resolved or only open ones where `resolved` says so. None
/// where the cursor names none of this environment.
///
/// # Errors
/// When the database fails.
pub async fn conflicts(
    tx: &mut Tx,
    environment: &str,
    resolved: Option<bool>,
    page: Page<ConflictId>,
) -> Result<Option<Slice<Conflict>>> {
    if let Some(cursor) = page.cursor()
        && conflict(tx, environment, cursor).await?.is_none()
    {
        return Ok(None);
    }
    let range = page.range(|id| id.0);
    let sql = if range.ascending {
        select!(
            "id > $2 and id < $3 and ($6 is null or (resolved_at is not null) = $6)
             order by id limit $4 offset $5"
        )
    } else {
        select!(
            "id > $2 and id < $3 and ($6 is null or (resolved_at is not null) = $6)
             order by id desc limit $4 offset $5"
        )
    };
    let rows: Vec<Row> = tx
        .query(sql)
        .bind(environment.to_owned())
        .bind(ConflictId(range.above))
        .bind(ConflictId(range.below))
        .bind(range.fetch)
        .bind(range.offset)
        .bind(resolved)
        .all()
        .await?;
    let slice = page.slice(rows);
    let items = slice.items.into_iter().map(Conflict::from).collect();
    Ok(Some(Slice { items, has_more: slice.has_more }))
}

/// A conflict by its id.
///
/// # Errors
/// When the database fails.
pub async fn conflict(tx: &mut Tx, environment: &str, id: ConflictId) -> Result<Option<Conflict>> {
    let row: Option<Row> =
        tx.query(select!("id = $2")).bind(environment.to_owned()).bind(id).maybe().await?;
    Ok(row.map(Conflict::from))
}
