//! Totals, per reference and per customer, and the recount that they are held against.

use crate::{
    model::{
        customer::{Spend, Totals},
        id::CustomerId,
        money::Currency,
        time::Timestamp,
    },
    set,
    store::{Result, Together, Tx, codec::Key, days},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Totals of one reference or customer in one currency.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
struct Row {
    #[sqlx(rename = "holder_id")]
    #[serde(skip)]
    holder: Key,
    #[sqlx(skip)]
    holder_id: Uuid,
    #[sqlx(skip)]
    environment: String,
    currency: String,
    payment_count: i64,
    successful_payment_count: i64,
    failed_payment_count: i64,
    total_spent: i64,
    total_refunded: i64,
    total_disputed_lost: i64,
    #[sqlx(skip)]
    net_spent: i64,
    first_payment_at: Option<Timestamp>,
    last_payment_at: Option<Timestamp>,
}

impl Row {
    fn totals(&self) -> Totals {
        Totals {
            payment_count: self.payment_count,
            successful_payment_count: self.successful_payment_count,
            failed_payment_count: self.failed_payment_count,
            total_spent: self.total_spent,
            total_refunded: self.total_refunded,
            total_disputed_lost: self.total_disputed_lost,
            first_payment_at: self.first_payment_at,
            last_payment_at: self.last_payment_at,
        }
    }
}

/// The rows to write: those of the new spend, and zeros for currencies that it lost.
fn rows(holder: Uuid, environment: &str, old: &Spend, new: &Spend) -> Vec<Row> {
    let currencies: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let none = Totals::default();
    currencies
        .into_iter()
        .filter_map(|currency| {
            let totals = new.get(currency).unwrap_or(&none);
            (old.get(currency).unwrap_or(&none) != totals).then(|| Row {
                holder: Key(holder),
                holder_id: holder,
                environment: environment.to_owned(),
                currency: currency.map_or_else(String::new, String::from),
                payment_count: totals.payment_count,
                successful_payment_count: totals.successful_payment_count,
                failed_payment_count: totals.failed_payment_count,
                total_spent: totals.total_spent,
                total_refunded: totals.total_refunded,
                total_disputed_lost: totals.total_disputed_lost,
                net_spent: totals.net_spent(),
                first_payment_at: totals.first_payment_at,
                last_payment_at: totals.last_payment_at,
            })
        })
        .collect()
}

fn by_holder(rows: Vec<Row>) -> BTreeMap<Uuid, Spend> {
    let mut all: BTreeMap<Uuid, Spend> = BTreeMap::new();
    for row in rows {
        let totals = row.totals();
        if totals != Totals::default() {
            all.entry(row.holder.0).or_default().insert(row.currency.parse().ok(), totals);
        }
    }
    all
}

/// The totals of some customers.
///
/// # Errors
/// When the database fails.
pub async fn of_customers(
    tx: &mut Tx,
    customers: impl IntoIterator<Item = CustomerId>,
) -> Result<BTreeMap<CustomerId, Spend>> {
    let rows: Vec<Row> = set!(
        tx,
        "select customer_id as holder_id, currency, payment_count, successful_payment_count,
             failed_payment_count, total_spent, total_refunded, total_disputed_lost,
             first_payment_at, last_payment_at
         from customer_totals where customer_id in (select r.id from",
        [id uuid],
        ")"
    )
    .bind_ids(customers.into_iter().map(|customer| customer.0))
    .all()
    .await?;
    Ok(by_holder(rows).into_iter().map(|(id, spend)| (CustomerId(id), spend)).collect())
}

/// Totals in one currency beside what else a row tells, where there are any.
#[derive(sqlx::FromRow)]
pub(super) struct Beside {
    currency: Option<String>,
    payment_count: Option<i64>,
    successful_payment_count: Option<i64>,
    failed_payment_count: Option<i64>,
    total_spent: Option<i64>,
    total_refunded: Option<i64>,
    total_disputed_lost: Option<i64>,
    first_payment_at: Option<Timestamp>,
    last_payment_at: Option<Timestamp>,
}

impl Beside {
    pub(super) fn line(self) -> Option<(Option<Currency>, Totals)> {
        let totals = Totals {
            payment_count: self.payment_count?,
            successful_payment_count: self.successful_payment_count?,
            failed_payment_count: self.failed_payment_count?,
            total_spent: self.total_spent?,
            total_refunded: self.total_refunded?,
            total_disputed_lost: self.total_disputed_lost?,
            first_payment_at: self.first_payment_at,
            last_payment_at: self.last_payment_at,
        };
        (totals != Totals::default()).then_some((self.currency?.parse().ok(), totals))
    }
}

/// One holder's totals before and after.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    /// The reference or customer.
    pub holder: Uuid,
    /// Where it belongs.
    pub environment: &'a str,
    /// As stored.
    pub old: &'a Spend,
    /// As it is now.
    pub new: &'a Spend,
}

/// Writes the totals of references that changed.
pub fn write_references(writes: &mut Together, moves: &[Move<'_>]) {
    let rows: Vec<Row> =
        moves.iter().flat_map(|m| rows(m.holder, m.environment, m.old, m.new)).collect();
    if !rows.is_empty() {
        set!(
            writes,
            "insert into reference_totals (reference_id, currency, payment_count,
                 successful_payment_count, failed_payment_count, total_spent, total_refunded,
                 total_disputed_lost, first_payment_at, last_payment_at)
             select r.holder_id, r.currency, r.payment_count, r.successful_payment_count,
                 r.failed_payment_count, r.total_spent, r.total_refunded, r.total_disputed_lost,
                 r.first_payment_at, r.last_payment_at from",
            [
                holder_id uuid, currency text, payment_count bigint,
                successful_payment_count bigint, failed_payment_count bigint, total_spent bigint,
                total_refunded bigint, total_disputed_lost bigint, first_payment_at timestamptz,
                last_payment_at timestamptz
            ],
            "where true on conflict (reference_id, currency) do update set
                 payment_count = excluded.payment_count,
                 successful_payment_count = excluded.successful_payment_count,
                 failed_payment_count = excluded.failed_payment_count,
                 total_spent = excluded.total_spent, total_refunded = excluded.total_refunded,
                 total_disputed_lost = excluded.total_disputed_lost,
                 first_payment_at = excluded.first_payment_at,
                 last_payment_at = excluded.last_payment_at"
        )
        .bind_rows(&rows);
    }
}

/// Writes the totals of customers that changed.
pub fn write_customers(writes: &mut Together, moves: &[Move<'_>]) {
    let rows: Vec<Row> =
        moves.iter().flat_map(|m| rows(m.holder, m.environment, m.old, m.new)).collect();
    if !rows.is_empty() {
        set!(
            writes,
            "insert into customer_totals (customer_id, currency, environment, payment_count,
                 successful_payment_count, failed_payment_count, total_spent, total_refunded,
                 total_disputed_lost, net_spent, first_payment_at, last_payment_at)
             select r.holder_id, r.currency, r.environment, r.payment_count,
                 r.successful_payment_count, r.failed_payment_count, r.total_spent,
                 r.total_refunded, r.total_disputed_lost, r.net_spent, r.first_payment_at,
                 r.last_payment_at from",
            [
                holder_id uuid, currency text, environment text, payment_count bigint,
                successful_payment_count bigint, failed_payment_count bigint, total_spent bigint,
                total_refunded bigint, total_disputed_lost bigint, net_spent bigint,
                first_payment_at timestamptz, last_payment_at timestamptz
            ],
            "where true on conflict (customer_id, currency) do update set
                 payment_count = excluded.payment_count,
                 successful_payment_count = excluded.successful_payment_count,
                 failed_payment_count = excluded.failed_payment_count,
                 total_spent = excluded.total_spent, total_refunded = excluded.total_refunded,
                 total_disputed_lost = excluded.total_disputed_lost,
                 net_spent = excluded.net_spent, first_payment_at = excluded.first_payment_at,
                 last_payment_at = excluded.last_payment_at"
        )
        .bind_rows(&rows);
    }
}

/// The first and last `paid_at` of a reference's payments in one currency, some payments left out.
#[derive(Clone, Debug, Serialize)]
pub struct Span {
    /// The reference.
    pub owner_id: Uuid,
    /// The code; empty for the payments of which none is known.
    pub currency: String,
}

/// For each (reference, currency): the first and last `paid_at` of its payments but some.
///
/// # Errors
/// When the database fails.
pub async fn spans_without(
    tx: &mut Tx,
    spans: &[Span],
    left_out: &BTreeSet<Uuid>,
) -> Result<BTreeMap<(Uuid, String), (Option<Timestamp>, Option<Timestamp>)>> {
    if spans.is_empty() {
        return Ok(BTreeMap::new());
    }
    // Two texts, since an index finds either a currency or payments without one, but no "one or the other".
    macro_rules! ends {
        ($owner:literal, $same:literal, $left_out:literal, $of:literal) => {
            concat!(
                $of,
                ",
             (select p.paid_at from payments as p where p.owner_id = ",
                $owner,
                "
                 and ",
                $same,
                " and p.paid_at is not null and p.id not in (",
                $left_out,
                ")
              order by p.paid_at limit 1),
             (select p.paid_at from payments as p where p.owner_id = ",
                $owner,
                "
                 and ",
                $same,
                " and p.paid_at is not null and p.id not in (",
                $left_out,
                ")
              order by p.paid_at desc limit 1)
         from "
            )
        };
    }
    macro_rules! on_postgres {
        ($same:literal) => {
            concat!(
                ends!(
                    "r.owner_id",
                    $same,
                    "select x.id from jsonb_to_recordset($2::jsonb) as x(id uuid)",
                    "select r.owner_id, r.currency"
                ),
                "jsonb_to_recordset($1::jsonb) as r(owner_id uuid, currency text)"
            )
        };
    }
    macro_rules! on_sqlite {
        ($same:literal) => {
            concat!(
                ends!(
                    "r.value->>'owner_id'",
                    $same,
                    "select x.value->>'id' from jsonb_each($2) as x",
                    "select r.value->>'owner_id', r.value->>'currency'"
                ),
                "jsonb_each($1) as r"
            )
        };
    }
    let (unknown, known): (Vec<&Span>, Vec<&Span>) =
        spans.iter().partition(|span| span.currency.is_empty());
    // Each differs because the sets are read by functions of other names.
    let of_known = tx.pick(
        on_postgres!("p.currency = r.currency"),
        on_sqlite!("p.currency = r.value->>'currency'"),
    );
    let of_unknown = tx.pick(on_postgres!("p.currency is null"), on_sqlite!("p.currency is null"));
    let mut rows: Vec<(Key, String, Option<Timestamp>, Option<Timestamp>)> = Vec::new();
    for (sql, spans) in [(of_known, known), (of_unknown, unknown)] {
        if !spans.is_empty() {
            let asked = tx.query(sql).bind_rows(&spans).bind_ids(left_out.iter().copied());
            rows.extend(asked.all::<(Key, String, Option<Timestamp>, Option<Timestamp>)>().await?);
        }
    }
    Ok(rows
        .into_iter()
        .map(|(owner, code, first, last)| ((owner.0, code), (first, last)))
        .collect())
}

/// A stored total that differs from the recount: there is none, unless somebody wrote into the tables.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Drift {
    /// `reference` or `customer`; `day` for a day of a reference.
    pub holder: &'static str,
    /// The row of the reference or customer.
    pub id: Uuid,
    /// The currency, empty where none is known.
    pub currency: String,
    /// Which day, of a day.
    pub day: Option<String>,
    /// What is stored.
    pub stored: Totals,
    /// What the payments add up to.
    pub counted: Totals,
}

/// Counts all payments again and compares.
///
/// # Errors
/// When the database fails.
pub async fn recount(tx: &mut Tx) -> Result<Vec<Drift>> {
    let stored: Vec<Row> = tx
        .query(
            "select reference_id as holder_id, currency, payment_count, successful_payment_count,
                 failed_payment_count, total_spent, total_refunded, total_disputed_lost,
                 first_payment_at, last_payment_at from reference_totals",
        )
        .all()
        .await?;
    let counted: Vec<Row> = tx
        .query(
            "select owner_id as holder_id, coalesce(currency, '') as currency,
                 count(*) as payment_count,
                 cast(sum(case when paid then 1 else 0 end) as bigint) as successful_payment_count,
                 cast(sum(case when facts->>'status' = 'failed' then 1 else 0 end) as bigint)
                     as failed_payment_count,
                 cast(sum(case when paid then coalesce(amount, 0) else 0 end) as bigint)
                     as total_spent,
                 cast(sum(amount_refunded) as bigint) as total_refunded,
                 cast(sum(disputed_lost) as bigint) as total_disputed_lost,
                 min(paid_at) as first_payment_at, max(paid_at) as last_payment_at
             from (select payments.*, paid_at is not null as paid from payments
                 where owner_id is not null and absorbed_into is null and not erased) as counted
             group by owner_id, coalesce(currency, '')",
        )
        .all()
        .await?;
    let mut drift = differences("reference", &by_holder(stored), &by_holder(counted));
    let stored: Vec<Row> = tx
        .query(
            "select customer_id as holder_id, currency, payment_count, successful_payment_count,
                 failed_payment_count, total_spent, total_refunded, total_disputed_lost,
                 first_payment_at, last_payment_at from customer_totals",
        )
        .all()
        .await?;
    let counted: Vec<Row> = tx
        .query(
            "select c.customer_id as holder_id, t.currency as currency,
                 cast(sum(t.payment_count) as bigint) as payment_count,
                 cast(sum(t.successful_payment_count) as bigint) as successful_payment_count,
                 cast(sum(t.failed_payment_count) as bigint) as failed_payment_count,
                 cast(sum(t.total_spent) as bigint) as total_spent,
                 cast(sum(t.total_refunded) as bigint) as total_refunded,
                 cast(sum(t.total_disputed_lost) as bigint) as total_disputed_lost,
                 min(t.first_payment_at) as first_payment_at,
                 max(t.last_payment_at) as last_payment_at
             from reference_totals as t join customer_references as c on c.id = t.reference_id
             where c.customer_id is not null group by c.customer_id, t.currency",
        )
        .all()
        .await?;
    drift.extend(differences("customer", &by_holder(stored), &by_holder(counted)));
    drift.extend(days::recount(tx).await?);
    Ok(drift)
}

fn differences(
    holder: &'static str,
    stored: &BTreeMap<Uuid, Spend>,
    counted: &BTreeMap<Uuid, Spend>,
) -> Vec<Drift> {
    let none = Spend::new();
    let holders: BTreeSet<&Uuid> = stored.keys().chain(counted.keys()).collect();
    let mut drift = Vec::new();
    for id in holders {
        let (old, new) = (stored.get(id).unwrap_or(&none), counted.get(id).unwrap_or(&none));
        let currencies: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for currency in currencies {
            let stored = old.get(currency).cloned().unwrap_or_default();
            let counted = new.get(currency).cloned().unwrap_or_default();
            if stored != counted {
                let currency = currency.map_or_else(String::new, String::from);
                drift.push(Drift { holder, id: *id, currency, day: None, stored, counted });
            }
        }
    }
    drift
}

/// Replaces stored totals by what was counted. References first, then [`recount`] again for the customers.
///
/// # Errors
/// When the database fails.
pub async fn repair(tx: &mut Tx, drift: &[Drift]) -> Result<()> {
    let of = |holder: &str| {
        let spends = drift.iter().filter(move |drift| drift.holder == holder).map(|drift| {
            let spend =
                |totals: &Totals| Spend::from([(drift.currency.parse().ok(), totals.clone())]);
            (drift.id, spend(&drift.stored), spend(&drift.counted))
        });
        spends.collect::<Vec<_>>()
    };
    let references = of("reference");
    let moves: Vec<Move<'_>> = references
        .iter()
        .map(|(holder, old, new)| Move { holder: *holder, environment: "", old, new })
        .collect();
    let mut writes = tx.together();
    write_references(&mut writes, &moves);
    writes.run(tx).await?;
    for (id, old, new) in of("customer") {
        let environment: Option<(String,)> = tx
            .query("select environment from customers where id = $1")
            .bind(CustomerId(id))
            .maybe()
            .await?;
        let environment = environment.map(|(name,)| name).unwrap_or_default();
        let moved = Move { holder: id, environment: &environment, old: &old, new: &new };
        let mut writes = tx.together();
        write_customers(&mut writes, &[moved]);
        writes.run(tx).await?;
    }
    Ok(())
}
