//! How names become addresses.

use futures_util::future::BoxFuture;
use std::{fmt, future::Future, io, net::IpAddr, sync::Arc};

/// Looks names up. Keeps nothing: who asks again is told what holds now.
#[derive(Clone)]
pub struct Names(Arc<Lookup>);

type Lookup = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

impl Names {
    /// Names that are looked up so.
    pub fn new<F>(lookup: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(lookup(name))))
    }

    /// The addresses of a name, best first.
    ///
    /// # Errors
    /// When nobody can say.
    pub async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        (self.0)(name.to_owned()).await
    }
}

/// As the system looks names up.
impl Default for Names {
    fn default() -> Self {
        Self::new(|name: String| async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}
