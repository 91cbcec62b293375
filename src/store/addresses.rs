//! E-mail addresses that payments are matched by: who holds them, and which payments wait there. An address is
//! known by its keyed hash alone.

use crate::{
    model::{contact::AddressId, id::CustomerId, reference::ReferenceId},
    set,
    store::{Result, Tx, codec::Key},
};
use serde::Serialize;
use std::collections::BTreeSet;
use uuid::Uuid;

/// An address that more customers hold is nobody's, whatever one batch does; they are not counted further.
pub const CROWD: i64 = 1_000;

/// Names our advisory locks among those of the database: `addr` in ASCII.
const LOCKS: i32 = 0x6164_6472;
/// Addresses share so many locks: a transaction's locks must fit into Postgres' table of them.
const BUCKETS: u128 = 1_024;

/// What is known of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Which.
    pub address: AddressId,
    /// How many customers hold it, counted to one more than [`CROWD`].
    pub holders: i64,
    /// Whether payments are matched by it.
    pub has_payments: bool,
}

/// A customer that holds an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Which address.
    pub address: AddressId,
    /// Who.
    pub customer: CustomerId,
    /// The reference at the top of its tree.
    pub root: ReferenceId,
}

#[derive(Serialize)]
struct Bucket {
    bucket: i32,
}

fn buckets(addresses: &BTreeSet<AddressId>) -> Vec<Bucket> {
    let bucket = |address: &AddressId| i32::try_from(address.0.as_u128() % BUCKETS).unwrap_or(0);
    let buckets: BTreeSet<i32> = addresses.iter().map(bucket).collect();
    buckets.into_iter().map(|bucket| Bucket { bucket }).collect()
}

/// Waits until no other transaction changes who holds some addresses, or which payments wait there, and keeps it so.
///
/// Comes before every lock of what the batch changes. SQLite has one writer: its transaction is the lock.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &mut Tx, addresses: &BTreeSet<AddressId>) -> Result<()> {
    if let (Tx::Postgres(_), false) = (&*tx, addresses.is_empty()) {
        tx.query(
            "select count(pg_advisory_xact_lock($2, bucket)) from (
                 select bucket from jsonb_to_recordset($1::jsonb) as r(bucket integer) order by bucket
             ) as ordered",
        )
        .bind_rows(&buckets(addresses))
        .bind(LOCKS)
        .one::<(i64,)>()
        .await?;
    }
    Ok(())
}

/// The same without waiting, for addresses that are found when other locks are held already. False where another
/// transaction has one of them.
///
/// # Errors
/// When the database fails.
pub async fn try_lock(tx: &mut Tx, addresses: &BTreeSet<AddressId>) -> Result<bool> {
    if let (Tx::Postgres(_), false) = (&*tx, addresses.is_empty()) {
        let (got,): (bool,) = tx
            .query(
                "select bool_and(pg_try_advisory_xact_lock($2, bucket))
                 from jsonb_to_recordset($1::jsonb) as r(bucket integer)",
            )
            .bind_rows(&buckets(addresses))
            .bind(LOCKS)
            .one()
            .await?;
        return Ok(got);
    }
    Ok(true)
}

/// What is known of some addresses.
///
/// # Errors
/// When the database fails.
pub async fn find(tx: &mut Tx, addresses: &BTreeSet<AddressId>) -> Result<Vec<Known>> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Key, i64, bool)> = set!(
        tx,
        "select r.id,
             (select count(*) from (select 1 from customer_profiles as p
                 where p.verified_address = r.id limit $2) as few),
             exists (select 1 from payments as y where y.payer_address = r.id)
         from",
        [id uuid],
        ""
    )
    .bind_ids(addresses.iter().map(|address| address.0))
    .bind(CROWD + 1)
    .all()
    .await?;
    let known = |(id, holders, has_payments): (Key, i64, bool)| Known {
        address: AddressId(id.0),
        holders,
        has_payments,
    };
    Ok(rows.into_iter().map(known).collect())
}

/// The customers that hold some addresses.
///
/// # Errors
/// When the database fails.
pub async fn holders(tx: &mut Tx, addresses: &BTreeSet<AddressId>) -> Result<Vec<Holder>> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Key, CustomerId, ReferenceId)> = set!(
        tx,
        "select p.verified_address, c.id, c.root_id
         from customer_profiles as p join customers as c on c.id = p.customer_id
         where p.verified_address in (select r.id from",
        [id uuid],
        ")"
    )
    .bind_ids(addresses.iter().map(|address| address.0))
    .all()
    .await?;
    let holder = |(address, customer, root): (Key, CustomerId, ReferenceId)| Holder {
        address: AddressId(address.0),
        customer,
        root,
    };
    Ok(rows.into_iter().map(holder).collect())
}

/// The payments that are matched by some addresses.
///
/// # Errors
/// When the database fails.
pub async fn payments(tx: &mut Tx, addresses: &BTreeSet<AddressId>) -> Result<Vec<Uuid>> {
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Key,)> = set!(
        tx,
        "select id from payments where payer_address in (select r.id from",
        [id uuid],
        ")"
    )
    .bind_ids(addresses.iter().map(|address| address.0))
    .all()
    .await?;
    Ok(rows.into_iter().map(|(key,)| key.0).collect())
}
