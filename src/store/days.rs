//! What was paid on each day, per reference: what the rankings of a period are made of.
//!
//! A day belongs to the reference that its payments are counted at, and names that reference's customer, so that a
//! ranking reads one table. Rows that come to nothing stay, as zeros.

use crate::{
    model::customer::Totals,
    set,
    store::{Result, Together, Tx, codec::Key, totals::Drift},
};
use serde::Serialize;
use std::collections::BTreeMap;
use uuid::Uuid;

/// What a day of a reference gains, in one currency; or loses, where it is below 0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Added {
    /// The reference.
    pub reference_id: Uuid,
    /// Whose it is.
    pub customer_id: Option<Uuid>,
    /// Where it belongs.
    pub environment: String,
    /// The code, empty where none is known.
    pub currency: String,
    /// In UTC: `2026-01-31`.
    pub day: String,
    /// Payments that were paid then.
    pub payment_count: i64,
    /// Minor units.
    pub total_spent: i64,
    /// Minor units.
    pub net_spent: i64,
}

/// A reference that is another customer's now, or nobody's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Moved {
    /// The reference.
    pub reference_id: Uuid,
    /// Whose it is.
    pub customer_id: Option<Uuid>,
}

/// Gives the days of references to the customers that these belong to now. To be run before [`add`].
///
/// # Errors
/// When the database fails.
pub async fn move_to(tx: &mut Tx, rows: &[Moved]) -> Result<()> {
    if !rows.is_empty() {
        set!(
            tx,
            "update customer_days set customer_id = r.customer_id from",
            [reference_id uuid, customer_id uuid],
            "where customer_days.reference_id = r.reference_id"
        )
        .bind_rows(rows)
        .execute()
        .await?;
    }
    Ok(())
}

/// Adds to days what they gained and lost.
pub fn add(writes: &mut Together, rows: &[Added]) {
    if !rows.is_empty() {
        set!(
            writes,
            "insert into customer_days (reference_id, currency, day, environment, customer_id,
                 payment_count, total_spent, net_spent)
             select r.reference_id, r.currency, r.day, r.environment, r.customer_id,
                 r.payment_count, r.total_spent, r.net_spent from",
            [
                reference_id uuid, currency text, day text, environment text, customer_id uuid,
                payment_count bigint, total_spent bigint, net_spent bigint
            ],
            "where true on conflict (reference_id, currency, day) do update set
                 customer_id = excluded.customer_id,
                 payment_count = customer_days.payment_count + excluded.payment_count,
                 total_spent = customer_days.total_spent + excluded.total_spent,
                 net_spent = customer_days.net_spent + excluded.net_spent"
        )
        .bind_rows(rows);
    }
}

/// The statement of [`recount`]; the argument is the day of `p.paid_at`.
macro_rules! recount {
    ($day:literal) => {
        concat!(
            "select reference_id, max(environment) as environment, customer_id, currency, day,
                 cast(sum(stored_count) as bigint) as stored_count,
                 cast(sum(stored_spent) as bigint) as stored_spent,
                 cast(sum(stored_net) as bigint) as stored_net,
                 cast(sum(counted_count) as bigint) as counted_count,
                 cast(sum(counted_spent) as bigint) as counted_spent,
                 cast(sum(counted_net) as bigint) as counted_net
             from (
                 select reference_id, environment, customer_id, currency, day,
                     payment_count as stored_count, total_spent as stored_spent,
                     net_spent as stored_net, 0 as counted_count, 0 as counted_spent,
                     0 as counted_net
                 from customer_days
                 union all
                 select p.owner_id, p.environment, f.customer_id, coalesce(p.currency, ''), ",
            $day,
            ", 0, 0, 0, 1, coalesce(p.amount, 0),
                     coalesce(p.amount, 0) - p.amount_refunded - p.disputed_lost
                 from payments as p left join customer_references as f on f.id = p.owner_id
                 where p.owner_id is not null and p.absorbed_into is null and not p.erased
                     and p.paid_at is not null
             ) as lines
             group by reference_id, customer_id, currency, day
             having sum(stored_count) <> sum(counted_count)
                 or sum(stored_spent) <> sum(counted_spent) or sum(stored_net) <> sum(counted_net)
             order by reference_id, currency, day"
        )
    };
}

#[derive(sqlx::FromRow)]
struct Line {
    reference_id: Key,
    environment: String,
    customer_id: Option<Key>,
    currency: String,
    day: String,
    stored_count: i64,
    stored_spent: i64,
    stored_net: i64,
    counted_count: i64,
    counted_spent: i64,
    counted_net: i64,
}

/// Counts all paid payments by day again; what differs. A day that stands at the wrong customer is two lines.
///
/// # Errors
/// When the database fails.
pub async fn recount(tx: &mut Tx) -> Result<Vec<Drift>> {
    Ok(lines(tx).await?.into_iter().map(Line::drift).collect())
}

async fn lines(tx: &mut Tx) -> Result<Vec<Line>> {
    // Differs because SQLite keeps times as text, which begins with the day.
    let sql = tx.pick(
        recount!("to_char(p.paid_at at time zone 'UTC', 'YYYY-MM-DD')"),
        recount!("substr(p.paid_at, 1, 10)"),
    );
    Ok(tx.query(sql).all().await?)
}

impl Line {
    fn drift(self) -> Drift {
        let totals = |count, spent: i64, net: i64| Totals {
            payment_count: count,
            successful_payment_count: count,
            total_spent: spent,
            total_refunded: spent.saturating_sub(net),
            ..Totals::default()
        };
        Drift {
            holder: "day",
            id: self.reference_id.0,
            currency: self.currency,
            day: Some(self.day),
            stored: totals(self.stored_count, self.stored_spent, self.stored_net),
            counted: totals(self.counted_count, self.counted_spent, self.counted_net),
        }
    }
}

/// Makes all days what the payments add up to; how many were not.
///
/// # Errors
/// When the database fails.
pub async fn repair(tx: &mut Tx) -> Result<usize> {
    let lines = lines(tx).await?;
    let mut moves: BTreeMap<Uuid, Option<Uuid>> = BTreeMap::new();
    let mut days: BTreeMap<(Uuid, String, String), Added> = BTreeMap::new();
    for line in &lines {
        let id = line.reference_id.0;
        let customer_id = line.customer_id.map(|key| key.0);
        let row = days.entry((id, line.currency.clone(), line.day.clone())).or_insert(Added {
            reference_id: id,
            customer_id,
            environment: line.environment.clone(),
            currency: line.currency.clone(),
            day: line.day.clone(),
            payment_count: 0,
            total_spent: 0,
            net_spent: 0,
        });
        if line.counted_count > 0 {
            row.customer_id = customer_id;
            moves.insert(id, customer_id);
        }
        row.payment_count += line.counted_count - line.stored_count;
        row.total_spent += line.counted_spent - line.stored_spent;
        row.net_spent += line.counted_net - line.stored_net;
    }
    let moved = |(reference_id, customer_id)| Moved { reference_id, customer_id };
    let moves: Vec<Moved> = moves.into_iter().map(moved).collect();
    move_to(tx, &moves).await?;
    let rows: Vec<Added> = days.into_values().collect();
    let mut writes = tx.together();
    add(&mut writes, &rows);
    writes.run(tx).await?;
    Ok(lines.len())
}
