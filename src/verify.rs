//! Stage 2: is it from whom it says it is? The only maker of [`Verified`].

use crate::{model::time::Timestamp, provider::Source};
use bytes::Bytes;
use std::sync::Arc;

pub mod scheme;

/// A body that passed its source's check.
#[derive(Clone, Debug)]
pub struct Verified {
    source: Arc<Source>,
    body: Bytes,
    received_at: Timestamp,
    verified: bool,
    header_id: Option<String>,
    hash: String,
}

impl Verified {
    /// The source that it came from.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The provider's bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// When it was received.
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// Whether a signature or credential was checked; false for a source that is set `unsigned`.
    pub fn verified(&self) -> bool {
        self.verified
    }

    /// The event id that the scheme's header gives.
    pub fn header_id(&self) -> Option<&str> {
        self.header_id.as_deref()
    }

    /// The SHA-256 of the bytes in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// One that nobody checked, for the tests of the stages behind this one.
    #[cfg(test)]
    pub(crate) fn for_test(
        source: Arc<Source>,
        body: Bytes,
        received_at: Timestamp,
        header_id: Option<&str>,
    ) -> Self {
        use sha2::{Digest, Sha256};
        let hash = hex::encode(Sha256::digest(&body));
        let header_id = header_id.map(str::to_owned);
        Self { source, body, received_at, verified: true, header_id, hash }
    }
}
