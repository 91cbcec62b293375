//! Signature schemes as data.

/// How a provider signs.
#[derive(Debug)]
pub struct Scheme {}
