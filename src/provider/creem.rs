//! Creem (docs.creem.io/code/webhooks; the types of its own `webhook-types` package). One movement of money is the
//! transaction: a checkout's order, a subscription, a refund and a dispute name it. What was paid is its `amount_paid`, with
//! tax; an `amount` alone is without.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Back, Dispute, Head, Payment, Subscription, Told, Whose, names, status},
    read::{Object, Said},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{DisputeStatus, ObjectClass, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    subscription::SubscriptionStatus,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "creem",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::CREEM),
    places: &[
        names("metadata.external_id"),
        names("metadata.user_id"),
        names("metadata.referenceId"),
    ],
    about: About {
        id: "`id`",
        time: "`created_at`",
        types: &[
            ("checkout.*", "the payment of a one-time order"),
            ("subscription.paid", "the payment of a term, and the subscription"),
            ("subscription.*", "the subscription"),
            ("refund.*", "a refund of the payment"),
            ("dispute.*", "a dispute of the payment"),
        ],
        setup: "Developers, Webhooks. The secret is the webhook's.",
    },
    read,
    objects: None,
    batch: None,
    captures_later: false,
    opens: None,
};

const STATUSES: &[(&str, PaymentStatus)] = &[
    ("pending", PaymentStatus::Pending),
    ("declined", PaymentStatus::Failed),
    ("uncollectible", PaymentStatus::Failed),
    ("void", PaymentStatus::Canceled),
    ("paid", PaymentStatus::Succeeded),
    ("refunded", PaymentStatus::Succeeded),
    ("partialRefund", PaymentStatus::Succeeded),
    ("chargedBack", PaymentStatus::Succeeded),
    ("chargeback", PaymentStatus::Succeeded),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("pending", RefundStatus::Pending),
    ("succeeded", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
    ("canceled", RefundStatus::Failed),
];

/// `expired` is a period that ran out unpaid, of which payment is still tried: only `canceled` is the end.
const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("trialing", SubscriptionStatus::Trialing),
    ("active", SubscriptionStatus::Active),
    ("scheduled_cancel", SubscriptionStatus::Active),
    ("past_due", SubscriptionStatus::PastDue),
    ("unpaid", SubscriptionStatus::Unpaid),
    ("expired", SubscriptionStatus::Unpaid),
    ("paused", SubscriptionStatus::Paused),
    ("canceled", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("eventType", root.text("eventType")?)?;
    let mut head = Head::of(kind);
    head.id = Some(root.need("id", root.id_text("id")?)?);
    head.at = root.millis("created_at")?;
    head.ordered = true;
    let mode = root.path("object.mode").and_then(|mode| mode.as_str());
    head.live = mode.map(|mode| mode == "prod");
    Ok(payment::item(body, head, |told| {
        let read = match kind.split('.').next() {
            Some("checkout") => checkout,
            Some("subscription") if kind == "subscription.paid" => paid,
            Some("subscription") => subscription,
            Some("refund") => refund,
            Some("dispute") => dispute,
            _ => {
                told.not_mapped(kind);
                return Ok(());
            }
        };
        let object = root.need("object", root.child_at("object", "object")?)?;
        read(told, &object)
    }))
}

/// The customer, which is an object or an id, and the objects that may name the app's user.
fn whose<'a>(told: &mut Told<'a>, object: &Object<'a>) -> Result<Whose<'a>, Malformed> {
    let mut whose = Whose { named_in: vec![object.clone()], ..Whose::default() };
    whose
        .named_in
        .extend(["checkout", "subscription"].iter().filter_map(|key| object.expanded(key)));
    whose.customer = object.id("customer")?.map(Into::into);
    if let Some(customer) = object.expanded("customer") {
        whose.contact = told.contact(&customer, ["name", "email", ""]);
    }
    Ok(whose)
}

/// What a transaction says of its payment.
fn transaction<'a>(data: &Object<'a>) -> Result<Payment<'a>, Malformed> {
    let mut payment = Payment::new(data.need("id", data.id_text("id")?)?);
    // A one-time order is one transaction; all of a subscription may name its first order.
    if data.text("type")? == Some("payment") {
        payment.names.extend(data.id_text("order")?);
    }
    let state = status(data, "status", STATUSES, "a transaction")?;
    let paid = if data.amount("amount_paid")?.is_some() { "amount_paid" } else { "amount" };
    let money = data.money(paid)?;
    payment.status = Some(state);
    payment.money = Some(money);
    if matches!(data.text("status")?, Some("refunded" | "partialRefund")) {
        let refunded = data.amount("refunded_amount")?;
        payment.refunded = refunded.map(|minor| Money { minor, ..money });
    }
    payment.paid_at = data.millis("created_at").ok().flatten();
    payment.subscription = data.id("subscription")?.map(Into::into);
    Ok(payment)
}

fn checkout<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let whose = whose(told, data)?;
    let subscription = data.id("subscription")?;
    if let Some(own) = data.expanded("subscription") {
        subscribed(told, &own, &whose)?;
    } else if let Some(id) = subscription {
        told.subscription(Subscription::new(id.into()), &whose)?;
    }
    let Some(order) = data.expanded("order") else {
        told.ignore("a checkout without an order");
        return Ok(());
    };
    let id = order.need("id", order.id_text("id")?)?;
    let transaction = order.id_text("transaction")?;
    if transaction.is_none() && order.text("type")? == Some("recurring") {
        // Under its order it would be counted beside its transaction, which `subscription.paid` names.
        told.ignore("the order names no transaction");
        return Ok(());
    }
    let one_time = order.text("type")? != Some("recurring");
    let mut payment = Payment::new(transaction.clone().unwrap_or_else(|| id.clone()));
    if one_time && transaction.is_some() {
        payment.names.push(id);
    }
    let state = status(&order, "status", STATUSES, "an order")?;
    payment.status = Some(state);
    let paid = if order.amount("amount_paid")?.is_some() { "amount_paid" } else { "amount" };
    payment.money = Some(order.money(paid)?);
    payment.class = if paid == "amount_paid" { ObjectClass::Charge } else { ObjectClass::Session };
    payment.paid_at = order.time("created_at").ok().flatten();
    payment.subscription = subscription.map(Into::into);
    payment.metadata = Some((data.clone(), "metadata"));
    told.payment(payment, &whose)
}

fn subscribed<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    whose: &Whose<'a>,
) -> Result<(), Malformed> {
    let mut subscription = Subscription::new(data.need("id", data.id_text("id")?)?);
    let state = status(data, "status", SUBSCRIPTION_STATUSES, "a subscription")?;
    subscription.status = Some(state);
    subscription.plan = match data.expanded("product") {
        Some(product) => told.word(&product, "id"),
        None => told.word(data, "product"),
    };
    subscription.current_period_end = data.time("current_period_end_date").ok().flatten();
    let scheduled = data.text("status")? == Some("scheduled_cancel");
    subscription.cancel_at_period_end = Some(scheduled);
    if state == SubscriptionStatus::Canceled {
        let ended = data.time("canceled_at").ok().flatten();
        subscription.ends_at = ended.map_or(Said::Nothing, Said::Value);
    }
    told.subscription(subscription, whose)
}

/// A subscription and its last transaction, where the body holds it.
fn subscription<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let whose = whose(told, data)?;
    subscribed(told, data, &whose)?;
    let Some(last) = data.expanded("last_transaction") else { return Ok(()) };
    let mut payment = transaction(&last)?;
    payment.subscription = data.id_text("id")?;
    told.payment(payment, &whose)
}

/// Where only the transaction's id is given, what was paid is not known: a product's price is without tax and discount.
fn paid<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    subscription(told, data)?;
    let (None, Some(id)) =
        (data.expanded("last_transaction"), data.id_text("last_transaction_id")?)
    else {
        return Ok(());
    };
    let mut payment = Payment::new(id);
    payment.status = Some(PaymentStatus::Succeeded);
    payment.paid_at = data.time("last_transaction_date").ok().flatten();
    payment.subscription = data.id_text("id")?;
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn refund<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let of = data.need("transaction", data.object("transaction")?)?;
    let mut payment = transaction(&of)?;
    let minor = data.need("refund_amount", data.amount("refund_amount")?)?;
    let currency = data.need("refund_currency", data.currency("refund_currency")?)?;
    payment.refunds.push(Back {
        id: Some(id),
        money: Some(Money { minor, currency }),
        status: status(data, "status", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: data.millis("created_at").ok().flatten(),
    });
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

/// A dispute has no status: whether the money is gone, its transaction says. No event tells how it ended.
fn dispute<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let of = data.need("transaction", data.object("transaction")?)?;
    let mut payment = transaction(&of)?;
    let gone = matches!(of.text("status")?, Some("chargeback" | "chargedBack"));
    let status = if gone { DisputeStatus::Lost } else { DisputeStatus::Open };
    payment.disputes.push(Dispute { id, money: data.money("amount")?, status });
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}
