//! Conflicts: what can be asked of them.

use super::{operation::Operation, schema::Shape};
use crate::model::{conflict::Conflict, id::ConflictId, key::Scope};
use serde_json::json;

pub(super) const TAG: &str = "Conflicts";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/conflicts", (TAG, "listConflicts", "List conflicts"))
            .about(
                "`reference_moved`: an identity went from one `external_id` to another. \
                `second_currency`: a payment was told in two.",
            )
            .needs(Scope::Read)
            .paged::<ConflictId>()
            .query(
                "resolved",
                "Those that are settled, or those that are not.",
                json!({ "type": "boolean" }),
            )
            .answers(200, "A page.", Shape::list::<Conflict>()),
        Operation::post(
            "/v1/conflicts/{id}/resolve",
            (TAG, "resolveConflict", "A conflict is settled"),
        )
        .about("Notes that somebody has seen to it; nothing else changes.")
        .needs(Scope::Admin)
        .at::<ConflictId>("id")
        .repeatable()
        .answers(200, "The conflict as it is now.", Shape::of::<Conflict>())
        .refuses(404, &["conflict_not_found"]),
    ]
}
