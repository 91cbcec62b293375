//! The way in for providers, and what tells how the process is.

use super::{
    operation::{Operation, text},
    schema::Shape,
};
use crate::{
    http::{
        health::{Live, Ready},
        ingest::Accepted,
    },
    model::key::Scope,
};

pub(super) const TAG: &str = "Process";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/ingest/{source}", (TAG, "ingest", "A provider's webhook in"))
            .about(
                "The provider's request untouched. The signature is checked at once; what \
                verifies and cannot be used \
                is taken too, and listed as rejected.",
            )
            .part("source", "The source's name.", text(255))
            .any_body()
            .tolerant()
            .answers(202, "It is kept, and will be applied.", Shape::of::<Accepted>())
            .refuses(400, &["unreadable_request"])
            .refuses(401, &["invalid_signature"])
            .refuses(404, &["unknown_source"])
            .refuses(503, &["unavailable"]),
        Operation::get("/healthz", (TAG, "getLiveness", "Whether the process lives"))
            .tolerant()
            .answers(200, "It does.", Shape::of::<Live>()),
        Operation::get("/readyz", (TAG, "getReadiness", "Whether the process can do its work"))
            .about(
                "503 as soon as something that it depends on is away; \
                `details.dependencies` then says what.",
            )
            .tolerant()
            .answers(200, "It can.", Shape::of::<Ready>())
            .refuses(503, &["unavailable"]),
        Operation::get("/metrics", (TAG, "getMetrics", "Metrics of this process, for Prometheus"))
            .about("Without a key where `http.metrics_public` is set.")
            .needs(Scope::Read)
            .tolerant()
            .answers_text("In Prometheus' text format.")
            .refuses(404, &["metrics_not_collected"]),
    ]
}
