//! Webhook messages: what can be asked of them.

use super::{
    fields::{object, since_and_until},
    operation::{Operation, time, words},
    schema::Shape,
    webhook_endpoints::patterns,
};
use crate::{
    http::messages::Detail,
    model::{
        id::{EndpointId, MessageId, RecoveryId},
        key::Scope,
        message::MessageStatus,
    },
    store::{browse::ShownMessage, messages::Attempt, recoveries::Recovery},
};
use serde_json::{Value, json};
use utoipa::PartialSchema as _;

pub(super) const TAG: &str = "Webhook messages";

/// A job that was begun can be asked for in these ways.
pub(super) const ABOUT_RECOVERY: &[(&str, &str)] =
    &[("getWebhookRecovery", "id"), ("cancelWebhookRecovery", "id")];

pub(super) fn operations() -> Vec<Operation> {
    let unknown: &[&str] = &["webhook_message_not_found"];
    let list = Operation::get(
        "/v1/webhook-messages",
        (TAG, "listWebhookMessages", "List webhook messages"),
    )
    .needs(Scope::Read)
    .paged::<MessageId>()
    .query_id::<EndpointId>("endpoint_id", "To this endpoint.")
    .query("status", "Of this status.", words(&MessageStatus::ALL.map(MessageStatus::as_str)));
    let mut operations = vec![
        since_and_until(list, "Written then or later.", "Written before.").answers(
            200,
            "A page.",
            Shape::list::<ShownMessage>(),
        ),
        Operation::get(
            "/v1/webhook-messages/{id}",
            (TAG, "getWebhookMessage", "One webhook message, with what it says"),
        )
        .needs(Scope::Read)
        .at::<MessageId>("id")
        .answers(200, "The message.", Shape::of::<Detail>())
        .refuses(404, unknown),
        Operation::get(
            "/v1/webhook-messages/{id}/attempts",
            (TAG, "listWebhookAttempts", "The tries to send it"),
        )
        .about("All on one page, newest first.")
        .needs(Scope::Read)
        .at::<MessageId>("id")
        .answers(200, "The tries.", Shape::list::<Attempt>())
        .refuses(404, unknown),
        Operation::post(
            "/v1/webhook-messages/{id}/resend",
            (TAG, "resendWebhookMessage", "Send it again"),
        )
        .about(
            "It is due now, whatever became of it. One that was done begins its \
                schedule anew; one that waits goes on with it.",
        )
        .needs(Scope::Admin)
        .at::<MessageId>("id")
        .repeatable()
        .answers(200, "The message as it is now.", Shape::of::<ShownMessage>())
        .refuses(404, unknown)
        .refuses(409, &["endpoint_deleted", "message_is_test"]),
        Operation::post(
            "/v1/webhook-messages/{id}/cancel",
            (TAG, "cancelWebhookMessage", "Call it off"),
        )
        .needs(Scope::Admin)
        .at::<MessageId>("id")
        .repeatable()
        .answers(200, "The message as it is now.", Shape::of::<ShownMessage>())
        .refuses(404, unknown)
        .refuses(409, &["message_not_pending"]),
        Operation::post(
            "/v1/webhook-messages/resend",
            (TAG, "resendWebhookMessages", "Send dead messages of a filter again"),
        )
        .about(
            "A job that goes on by itself, through restarts, and takes each dead \
                message once. Tests are not among them.",
        )
        .needs(Scope::Admin)
        .repeatable()
        .body(filter())
        .answers(202, "It is begun.", Shape::of::<Recovery>())
        .leads("$response.body#/id", ABOUT_RECOVERY)
        .refuses(404, &["webhook_endpoint_not_found"]),
    ];
    operations.extend(recoveries());
    operations
}

fn recoveries() -> Vec<Operation> {
    vec![
        Operation::get(
            "/v1/webhook-recoveries",
            (
                TAG,
                "listAllWebhookRecoveries",
                "How far the jobs are that send dead messages \
                again",
            ),
        )
        .about("The last hundred, on one page.")
        .needs(Scope::Read)
        .answers(200, "The recoveries.", Shape::list::<Recovery>()),
        Operation::get(
            "/v1/webhook-recoveries/{id}",
            (TAG, "getWebhookRecovery", "One of these jobs"),
        )
        .needs(Scope::Read)
        .at::<RecoveryId>("id")
        .answers(200, "The recovery.", Shape::of::<Recovery>())
        .refuses(404, &["webhook_recovery_not_found"]),
        Operation::post(
            "/v1/webhook-recoveries/{id}/cancel",
            (TAG, "cancelWebhookRecovery", "Call one of these jobs off"),
        )
        .about("What it made due already stays due.")
        .needs(Scope::Admin)
        .at::<RecoveryId>("id")
        .repeatable()
        .answers(200, "The recovery as it is now.", Shape::of::<Recovery>())
        .refuses(404, &["webhook_recovery_not_found"])
        .refuses(409, &["recovery_not_running"]),
    ]
}

/// Which dead messages are meant: something must be said.
fn filter() -> Value {
    let fields = json!({
        "endpoint_id": EndpointId::schema(),
        "type": { "type": "string", "enum": patterns(), "description": "An event type, or a \
            family." },
        "since": time(),
        "until": time(),
    });
    let mut filter = object(&[fields], &[]);
    if let Some(fields) = filter.as_object_mut() {
        fields.insert("minProperties".into(), 1.into());
    }
    filter
}
