//! GoCardless (developer.gocardless.com/api-reference/#appendix-webhooks). A body is a batch, and its events are thin: they
//! name an object and what happened to it, and hold neither the object nor an amount. What a payment was worth is for a
//! canonical event to say.

use super::{
    About, Batch, Body, Item, Malformed, Provider,
    payment::{self, Head, PAYOUT, Payment, Subscription, Told, Whose, names},
    read::{Object, Said},
};
use crate::model::{
    authority::Authority, payment::PaymentStatus, reference::Kind, subscription::SubscriptionStatus,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "gocardless",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::GOCARDLESS),
    places: &[names("resource_metadata.external_id"), names("resource_metadata.user_id")],
    about: About {
        id: "`events[].id`",
        time: "`created_at`",
        types: &[
            ("payments.*", "the payment's status, without an amount"),
            ("subscriptions.*", "the subscription's status"),
        ],
        setup: "Developers, Webhook endpoints. The secret is the endpoint's. One body holds many events.",
    },
    read,
    objects: None,
    batch: Some(Batch { list: "events", beside: &[], bare: false }),
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let event = Object::root(body.json)?;
    let resource = event.need("resource_type", event.text("resource_type")?)?;
    let action = event.need("action", event.text("action")?)?;
    let mut head = Head::of(format!("{resource}.{action}"));
    head.id = Some(event.need("id", event.id_text("id")?)?);
    head.at = event.time("created_at")?;
    head.ordered = true;
    Ok(payment::item(body, head, |told| match resource {
        "payments" => paid(told, &event, action),
        "subscriptions" => subscription(told, &event, action),
        "payouts" => {
            told.ignore(PAYOUT);
            Ok(())
        }
        "refunds" => {
            told.ignore("a refund's event says no amount");
            Ok(())
        }
        _ => {
            told.not_mapped(resource);
            Ok(())
        }
    }))
}

fn whose<'a>(event: &Object<'a>, links: &Object<'a>) -> Result<Whose<'a>, Malformed> {
    let customer = links.id_text("customer")?;
    Ok(Whose { customer, named_in: vec![event.clone()], ..Whose::default() })
}

/// The action is the only word for the payment's status: a thin event holds no object.
fn paid<'a>(told: &mut Told<'a>, event: &Object<'a>, action: &str) -> Result<(), Malformed> {
    let status = match action {
        "created" | "submitted" | "customer_approval_granted" | "resubmission_requested" => {
            PaymentStatus::Pending
        }
        "confirmed" | "paid_out" => PaymentStatus::Succeeded,
        "failed" | "customer_approval_denied" => PaymentStatus::Failed,
        "cancelled" => PaymentStatus::Canceled,
        _ => {
            told.ignore("an event without an amount cannot take money back");
            return Ok(());
        }
    };
    let links = event.need("links", event.object("links")?)?;
    let mut payment = Payment::new(links.need("payment", links.id_text("payment")?)?);
    payment.status = Some(status);
    payment.subscription = links.id_text("subscription")?;
    if let Some(details) = event.expanded("details")
        && status == PaymentStatus::Failed
    {
        payment.failure = told.word(&details, "cause");
    }
    told.payment(payment, &whose(event, &links)?)
}

fn subscription<'a>(
    told: &mut Told<'a>,
    event: &Object<'a>,
    action: &str,
) -> Result<(), Malformed> {
    let status = match action {
        "created" | "customer_approval_granted" | "payment_created" | "resumed" => {
            SubscriptionStatus::Active
        }
        "customer_approval_denied" | "cancelled" | "finished" => SubscriptionStatus::Canceled,
        "paused" => SubscriptionStatus::Paused,
        _ => {
            told.ignore("it changes nothing that we hold of a subscription");
            return Ok(());
        }
    };
    let links = event.need("links", event.object("links")?)?;
    let key = "subscription";
    let mut subscription = Subscription::new(links.need(key, links.id_text(key)?)?);
    subscription.status = Some(status);
    if status == SubscriptionStatus::Canceled {
        let ended = event.time("created_at").ok().flatten();
        subscription.ends_at = ended.map_or(Said::Nothing, Said::Value);
    }
    told.subscription(subscription, &whose(event, &links)?)
}
