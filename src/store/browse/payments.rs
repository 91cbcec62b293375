//! Payments as they are shown.

use super::{
    super::{Error, Result, Tx},
    Page, Slice, word,
};
use crate::model::{
    id::{CustomerId, PaymentId},
    is_live,
    money::{Currency, NoCurrency},
    payment::{Payment, PaymentFacts},
    time::Timestamp,
};
use sqlx::types::Json;

#[derive(sqlx::FromRow)]
struct Row {
    id: PaymentId,
    environment: String,
    namespace: String,
    provider_payment_id: String,
    customer_id: Option<CustomerId>,
    status: String,
    amount: Option<i64>,
    currency: Option<String>,
    amount_refunded: i64,
    disputed_lost: i64,
    paid_at: Option<Timestamp>,
    facts: Json<PaymentFacts>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// `$1` is the environment.
macro_rules! select {
    ($from:literal, $condition:literal) => {
        concat!(
            "select p.id, p.environment, p.namespace, p.provider_payment_id, f.customer_id, p.status,
                p.amount, p.currency, p.amount_refunded, p.disputed_lost, p.paid_at, p.facts,
                p.created_at, p.updated_at
             from ",
            $from,
            " where p.environment = $1 and not p.erased and p.absorbed_into is null and ",
            $condition
        )
    };
}

/// A payment by its id, also by the id of one that turned out to be the same. A single statement.
///
/// # Errors
/// When the database fails.
pub async fn payment(tx: &mut Tx, environment: &str, id: PaymentId) -> Result<Option<Payment>> {
    let sql = concat!(
        "with recursive line(id, next, steps) as (
             select id, absorbed_into, 0 from payments where id = $2 and environment = $1
             union all
             select p.id, p.absorbed_into, line.steps + 1
             from line join payments p on p.id = line.next
             where p.environment = $1 and line.steps < 1000
         ) ",
        select!(
            "line join payments p on p.id = line.id
             left join customer_references f on f.id = p.owner_id",
            "line.next is null"
        )
    );
    let row: Option<Row> = tx.query(sql).bind(environment.to_owned()).bind(id).maybe().await?;
    row.map(shown_alone).transpose()
}

/// A page of an environment's payments, newest first; none where the cursor names none of it.
///
/// # Errors
/// When the database fails.
pub async fn payments(
    tx: &mut Tx,
    environment: &str,
    page: Page<PaymentId>,
) -> Result<Option<Slice<Payment>>> {
    let Some(slice) = payments_with_facts(tx, environment, page).await? else { return Ok(None) };
    let items = slice.items.into_iter().map(|(payment, _)| payment).collect();
    Ok(Some(Slice { items, has_more: slice.has_more }))
}

/// As [`payments`], each with all that is known of it.
///
/// # Errors
/// When the database fails.
pub async fn payments_with_facts(
    tx: &mut Tx,
    environment: &str,
    page: Page<PaymentId>,
) -> Result<Option<Slice<(Payment, PaymentFacts)>>> {
    if !knows_cursor(tx, environment, page).await? {
        return Ok(None);
    }
    let range = page.range(|id| id.0);
    let sql = if range.ascending {
        select!(
            "payments p left join customer_references f on f.id = p.owner_id",
            "p.id > $2 and p.id < $3 order by p.id limit $4 offset $5"
        )
    } else {
        select!(
            "payments p left join customer_references f on f.id = p.owner_id",
            "p.id > $2 and p.id < $3 order by p.id desc limit $4 offset $5"
        )
    };
    let rows: Vec<Row> = tx
        .query(sql)
        .bind(environment.to_owned())
        .bind(PaymentId(range.above))
        .bind(PaymentId(range.below))
        .bind(range.fetch)
        .bind(range.offset)
        .all()
        .await?;
    let rows = page.slice(rows);
    let with_facts = |mut row: Row| {
        let facts = std::mem::take(&mut row.facts.0);
        Ok((shown(row, &facts)?, facts))
    };
    let items = rows.items.into_iter().map(with_facts).collect::<Result<_>>()?;
    Ok(Some(Slice { items, has_more: rows.has_more }))
}

/// A page of a customer's payments, newest first; none where the cursor names no payment of the environment.
///
/// # Errors
/// When the database fails.
pub async fn payments_of(
    tx: &mut Tx,
    environment: &str,
    customer: CustomerId,
    page: Page<PaymentId>,
) -> Result<Option<Slice<Payment>>> {
    if !knows_cursor(tx, environment, page).await? {
        return Ok(None);
    }
    let range = page.range(|id| id.0);
    let sql = if range.ascending {
        select!(
            "customer_references f join payments p on p.owner_id = f.id",
            "f.customer_id = $2 and p.id > $3 and p.id < $4 order by p.id limit $5 offset $6"
        )
    } else {
        select!(
            "customer_references f join payments p on p.owner_id = f.id",
            "f.customer_id = $2 and p.id > $3 and p.id < $4 order by p.id desc limit $5 offset $6"
        )
    };
    let rows: Vec<Row> = tx
        .query(sql)
        .bind(environment.to_owned())
        .bind(customer)
        .bind(PaymentId(range.above))
        .bind(PaymentId(range.below))
        .bind(range.fetch)
        .bind(range.offset)
        .all()
        .await?;
    slice(page, rows).map(Some)
}

/// Payments by their ids, in no order.
///
/// # Errors
/// When the database fails.
pub(super) async fn by_ids(
    tx: &mut Tx,
    environment: &str,
    ids: impl Iterator<Item = PaymentId>,
) -> Result<Vec<Payment>> {
    // Differs because the sets are read by functions of other names.
    let sql = tx.pick(
        select!(
            "payments p left join customer_references f on f.id = p.owner_id",
            "p.id in (select r.id from jsonb_to_recordset($2::jsonb) as r(id uuid))"
        ),
        select!(
            "payments p left join customer_references f on f.id = p.owner_id",
            "p.id in (select value->>'id' from jsonb_each($2))"
        ),
    );
    let rows: Vec<Row> =
        tx.query(sql).bind(environment.to_owned()).bind_ids(ids.map(|id| id.0)).all().await?;
    rows.into_iter().map(shown_alone).collect()
}

async fn knows_cursor(tx: &mut Tx, environment: &str, page: Page<PaymentId>) -> Result<bool> {
    let Some(cursor) = page.cursor() else { return Ok(true) };
    let known: Option<(i32,)> = tx
        .query("select 1 from payments where id = $1 and environment = $2")
        .bind(cursor)
        .bind(environment.to_owned())
        .maybe()
        .await?;
    Ok(known.is_some())
}

fn slice(page: Page<PaymentId>, rows: Vec<Row>) -> Result<Slice<Payment>> {
    let rows = page.slice(rows);
    let items = rows.items.into_iter().map(shown_alone).collect::<Result<_>>()?;
    Ok(Slice { items, has_more: rows.has_more })
}

fn shown_alone(mut row: Row) -> Result<Payment> {
    let facts = std::mem::take(&mut row.facts.0);
    shown(row, &facts)
}

fn shown(row: Row, facts: &PaymentFacts) -> Result<Payment> {
    let currency: Option<Currency> =
        row.currency.map(|code| code.parse()).transpose().map_err(|error: NoCurrency| {
            Error::Row {
                table: "payments",
                column: "currency",
                row: row.id.to_string(),
                why: error.to_string(),
            }
        })?;
    Ok(Payment {
        object: "payment",
        id: row.id,
        live: is_live(&row.environment),
        environment: row.environment.into(),
        customer_id: row.customer_id,
        provider: row.namespace.into(),
        payment_id: row.provider_payment_id.into(),
        amount: row.amount,
        currency,
        amount_refunded: row.amount_refunded,
        disputed_lost: row.disputed_lost,
        status: word(&row.status, ("payments", "status"), row.id)?,
        method: facts.method.value().cloned().flatten(),
        description: facts.description.value().cloned().flatten(),
        failure_code: facts.failure_code.value().cloned().flatten(),
        subscription_id: facts.subscription.value().cloned().flatten(),
        metadata: facts.shown_metadata(),
        paid_at: row.paid_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}
