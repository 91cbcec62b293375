//! What the HTTP ingress refused: a sample, so that an operator sees why a sender is turned away.
//! The senders repeat these requests themselves; nothing of them is queued.

use super::{Result, Tx};
use crate::model::{
    id::InboundId,
    inbound::{Headers, Verdict},
    time::Timestamp,
};
use sqlx::types::Json;
use std::{collections::BTreeSet, sync::Arc};

/// So many are kept per known source, and so many of unknown sources together (contract 4).
pub const KEPT: i64 = 1_000;

/// So many bytes of a body are kept (contract 4).
pub const BODY_KEPT: usize = 16 * 1_024;

/// A request that the ingress answered with an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Ours.
    pub id: InboundId,
    /// The known source's environment; an unknown source has none.
    pub environment: Option<Arc<str>>,
    /// The source's name as it stood in the path.
    pub source: Arc<str>,
    /// The headers that the source's scheme reads, without credentials.
    pub headers: Headers,
    /// Its body, or how it began.
    pub body: Vec<u8>,
    /// Why it was refused.
    pub reason: String,
    /// When.
    pub received_at: Timestamp,
}

/// Keeps refusals as rejected inbound events, and no more of them than [`KEPT`].
///
/// # Errors
/// When the database fails.
pub async fn record(tx: &mut Tx, refusals: Vec<Refusal>, now: Timestamp) -> Result<()> {
    let mut known = BTreeSet::new();
    let mut unknown = false;
    for refusal in refusals {
        match &refusal.environment {
            Some(environment) => {
                known.insert((environment.clone(), refusal.source.clone()));
            }
            None => unknown = true,
        }
        insert(tx, refusal, now).await?;
    }
    for (environment, source) in known {
        prune_known(tx, &environment, &source).await?;
    }
    if unknown {
        prune_unknown(tx).await?;
    }
    Ok(())
}

async fn insert(tx: &mut Tx, refusal: Refusal, now: Timestamp) -> Result<()> {
    let Refusal { id, environment, source, headers, mut body, reason, received_at } = refusal;
    body.truncate(BODY_KEPT);
    // Postgres cannot hold U+0000 in a text.
    let source: String = source.chars().filter(|c| !c.is_control()).take(255).collect();
    tx.query(
        "insert into inbound_events (id, environment, source, verdict, reason, notes, verified, refused,
            headers, body, received_at, recorded_at, copies, resent_changed)
         values ($1, $2, $3, $4, $5, $6, false, true, $7, $8, $9, $10, 1, false)",
    )
    .bind(id)
    .bind(environment.map(|environment| environment.to_string()))
    .bind(source)
    .bind(Verdict::Rejected.as_str().to_owned())
    .bind(reason.replace('\0', ""))
    .bind(Json(Vec::<String>::new()))
    .bind(Json(headers))
    .bind(body)
    .bind(received_at)
    .bind(now)
    .execute()
    .await?;
    Ok(())
}

async fn prune_known(tx: &mut Tx, environment: &str, source: &str) -> Result<()> {
    tx.query(
        "delete from inbound_events where refused and environment = $1 and source = $2 and id <= (
             select id from inbound_events where refused and environment = $1 and source = $2
             order by id desc limit 1 offset $3
         )",
    )
    .bind(environment.to_owned())
    .bind(source.to_owned())
    .bind(KEPT)
    .execute()
    .await?;
    Ok(())
}

async fn prune_unknown(tx: &mut Tx) -> Result<()> {
    tx.query(
        "delete from inbound_events where refused and environment is null and id <= (
             select id from inbound_events where refused and environment is null
             order by id desc limit 1 offset $1
         )",
    )
    .bind(KEPT)
    .execute()
    .await?;
    Ok(())
}
