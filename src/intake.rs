//! intake
use crate::{
    clock::Clock,
    model::inbound::Raw,
    store::{self, Db, codec::Key},
};
/// u
#[derive(Debug, thiserror::Error)]
#[error("it cannot be kept")]
pub struct Unavailable(#[from] store::Error);
/// i
#[derive(Clone, Debug)]
pub enum Ingress {
    /// e
    Embedded {
        /// d
        db: Db,
        /// c
        clock: Clock,
    },
}
impl Ingress {
    /// a
    pub async fn accept(&self, raw: Raw) -> Result<(), Unavailable> {
        let Self::Embedded { db, clock } = self;
        let mut tx = db.begin().await.map_err(store::Error::from)?;
        tx.query("insert into intake_queue (id, source, headers, body, received_at) values ($1, $2, $3, $4, $5)")
            .bind(Key(clock.new_id())).bind(raw.source.to_string())
            .bind(sqlx::types::Json(raw.headers)).bind(raw.body.to_vec()).bind(raw.received_at)
            .execute().await.map_err(store::Error::from)?;
        tx.commit().await.map_err(store::Error::from)?;
        Ok(())
    }
}
