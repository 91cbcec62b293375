//! What each stage costs by itself, on the same machine and with nothing around it: the floors that set the limit.

pub(crate) mod capture;
pub(crate) mod deliveries;
pub(crate) mod http;
pub(crate) mod postgres;
pub(crate) mod rules;
pub(crate) mod sqlite;
