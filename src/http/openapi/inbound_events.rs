//! Inbound events: what can be asked of them.

use super::{
    fields::{NOT_BLANK, object, since_and_until},
    operation::{Operation, TEXT, time, whole, words},
    schema::Shape,
};
use crate::{
    http::inbound::{Detail, Replay, Replays},
    model::{id::InboundId, inbound::Verdict, key::Scope},
    store::browse::InboundEvent,
};
use serde_json::{Value, json};
use utoipa::PartialSchema as _;

pub(super) const TAG: &str = "Inbound events";

pub(super) fn operations() -> Vec<Operation> {
    let list =
        Operation::get("/v1/inbound-events", (TAG, "listInboundEvents", "List inbound events"))
            .needs(Scope::Read)
            .paged::<InboundId>()
            .query("verdict", "What became of it.", words(&Verdict::ALL.map(Verdict::as_str)))
            .query(
                "source",
                "The source's name.",
                json!({ "type": "string", "minLength": 1, "pattern": TEXT }),
            );
    vec![
        since_and_until(list, "Received then or later.", "Received before.").answers(
            200,
            "A page.",
            Shape::list::<InboundEvent>(),
        ),
        Operation::get("/v1/inbound-events/{id}", (TAG, "getInboundEvent", "One inbound event"))
            .about("For an `admin` key with the headers and the body that came.")
            .needs(Scope::Read)
            .at::<InboundId>("id")
            .answers(200, "The event.", Shape::of::<Detail>())
            .refuses(404, &["inbound_event_not_found"]),
        Operation::post(
            "/v1/inbound-events/{id}/replay",
            (TAG, "replayInboundEvent", "Once more from the start"),
        )
        .about(
            "For what was rejected, ignored or given up; it keeps the time at which it \
                was first received.",
        )
        .needs(Scope::Admin)
        .at::<InboundId>("id")
        .repeatable()
        .answers(200, "What became of it.", Shape::of::<Replay>())
        .refuses(404, &["inbound_event_not_found"])
        .refuses(409, &["not_replayable"]),
        Operation::post(
            "/v1/inbound-events/replay",
            (TAG, "replayInboundEvents", "The same for what a filter names"),
        )
        .about("The newest first, so many at a time.")
        .needs(Scope::Admin)
        .repeatable()
        .body(object(&[filter()], &["verdict"]))
        .answers(200, "How many came to which verdict.", Shape::of::<Replays>()),
    ]
}

fn filter() -> Value {
    json!({
        "verdict": words(&["rejected", "ignored", "dead"]),
        "source": { "type": "string", "minLength": 1, "pattern": NOT_BLANK, "description": "The source's name." },
        "since": time(),
        "until": time(),
        "limit": whole(1, 1_000),
        "starting_after": InboundId::schema(),
    })
}
