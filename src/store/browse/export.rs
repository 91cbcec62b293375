//! What an export reads besides what the API shows: the names behind customers, payments and subscriptions.

use super::{
    super::{Result, Tx},
    word,
};
use crate::{
    model::{
        id::CustomerId,
        reference::{Kind, Reference, ReferenceFacts, ReferenceId},
    },
    set,
};
use sqlx::types::Json;
use std::collections::BTreeMap;
use uuid::Uuid;

/// One name of a customer, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its row.
    pub id: ReferenceId,
    /// Whose it is.
    pub customer_id: CustomerId,
    /// The name.
    pub reference: Reference,
    /// What is known of it.
    pub facts: ReferenceFacts,
}

/// How much there is of an environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Customers.
    pub customers: i64,
    /// Payments.
    pub payments: i64,
    /// Subscriptions.
    pub subscriptions: i64,
}

/// The open names of some customers.
///
/// # Errors
/// When the database fails.
pub async fn members(
    tx: &mut Tx,
    customers: impl IntoIterator<Item = CustomerId>,
) -> Result<Vec<Member>> {
    type Row = (ReferenceId, CustomerId, String, String, String, Json<ReferenceFacts>);
    let rows: Vec<Row> = set!(
        tx,
        "select f.id, f.customer_id, f.kind, f.namespace, f.subject, f.facts from",
        [id uuid],
        "join customer_references f on f.customer_id = r.id
         where f.subject is not null and not f.closed order by f.id"
    )
    .bind_ids(customers.into_iter().map(|customer| customer.0))
    .all()
    .await?;
    let member = |(id, customer_id, kind, namespace, subject, facts): Row| {
        let reference = reference(id, &kind, &namespace, &subject)?;
        Ok(Member { id, customer_id, reference, facts: facts.0 })
    };
    rows.into_iter().map(member).collect()
}

/// The open ones among some references, by their names.
///
/// # Errors
/// When the database fails.
pub async fn names(
    tx: &mut Tx,
    references: impl IntoIterator<Item = ReferenceId>,
) -> Result<BTreeMap<ReferenceId, Reference>> {
    let ids: Vec<Uuid> = references.into_iter().map(|reference| reference.0).collect();
    let rows: Vec<(ReferenceId, String, String, String)> = set!(
        tx,
        "select f.id, f.kind, f.namespace, f.subject from",
        [id uuid],
        "join customer_references f on f.id = r.id
         where f.subject is not null and not f.closed"
    )
    .bind_ids(ids)
    .all()
    .await?;
    let named = |(id, kind, namespace, subject): (ReferenceId, String, String, String)| {
        Ok((id, reference(id, &kind, &namespace, &subject)?))
    };
    rows.into_iter().map(named).collect()
}

/// The customers up to this one that took in some that were made after it.
///
/// # Errors
/// When the database fails.
pub async fn grown(tx: &mut Tx, environment: &str, last: CustomerId) -> Result<Vec<CustomerId>> {
    let rows: Vec<(CustomerId,)> = tx
        .query(
            "select distinct absorbed_into from customers
             where environment = $1 and id > $2 and absorbed_into <= $2 order by absorbed_into",
        )
        .bind(environment.to_owned())
        .bind(last)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Counts what an export will write.
///
/// # Errors
/// When the database fails.
pub async fn counts(tx: &mut Tx, environment: &str) -> Result<Counts> {
    let (customers, payments, subscriptions): (i64, i64, i64) = tx
        .query(
            "select
                 (select count(*) from customers
                  where environment = $1 and absorbed_into is null and not deleted),
                 (select count(*) from payments
                  where environment = $1 and not erased and absorbed_into is null),
                 (select count(*) from subscriptions where environment = $1)",
        )
        .bind(environment.to_owned())
        .one()
        .await?;
    Ok(Counts { customers, payments, subscriptions })
}

fn reference(id: ReferenceId, kind: &str, namespace: &str, subject: &str) -> Result<Reference> {
    let kind: Kind = word(kind, ("customer_references", "kind"), id.0)?;
    Ok(Reference { kind, namespace: namespace.into(), subject: subject.into() })
}
