//! stripe
use super::{Body, Item, Malformed, Provider};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "stripe",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: None,
    places: &[],
    read,
};

fn read(_: &Body<'_>) -> Result<Vec<Item>, Malformed> {
    Ok(Vec::new())
}
