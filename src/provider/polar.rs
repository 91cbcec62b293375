//! Polar (polar.sh/docs/integrate/webhooks). One movement of money is the order. A body's `timestamp` is only when it was
//! queued: an object's version is its `modified_at`. The event's id is the `webhook-id` header.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{
        self, Back, Contact, Head, Payment, Subscription, Told, Whose, claims, names, of_customer,
        status,
    },
    read::{Object, Said},
};
use crate::model::{
    authority::Authority,
    money::{LARGEST_AMOUNT, Money},
    payment::{PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    stamp::rank,
    subscription::SubscriptionStatus,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "polar",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::POLAR),
    // Only a server gives a customer its external id; metadata may come from a checkout link.
    places: &[
        of_customer("external_id"),
        claims("customer.external_id"),
        names("metadata.external_id"),
        names("metadata.user_id"),
    ],
    about: About {
        id: "header `webhook-id`",
        time: "`data.modified_at`, else `data.created_at`",
        types: &[
            ("order.*", "the payment, its status and what of it was refunded"),
            ("refund.*", "a refund of the payment"),
            ("customer.deleted", "a deletion of the customer id"),
            (
                "customer.*",
                "the customer's name, address and phone number, and under whose external_id it hangs",
            ),
            ("subscription.*", "the subscription"),
        ],
        setup: "Settings, Webhooks, in the format Raw. The secret is the endpoint's, as it is shown.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("draft", PaymentStatus::Pending),
    ("pending", PaymentStatus::Pending),
    ("paid", PaymentStatus::Succeeded),
    ("refunded", PaymentStatus::Succeeded),
    ("partially_refunded", PaymentStatus::Succeeded),
    ("void", PaymentStatus::Canceled),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("pending", RefundStatus::Pending),
    ("succeeded", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
    ("canceled", RefundStatus::Failed),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("incomplete", SubscriptionStatus::Incomplete),
    ("incomplete_expired", SubscriptionStatus::IncompleteExpired),
    ("trialing", SubscriptionStatus::Trialing),
    ("active", SubscriptionStatus::Active),
    ("past_due", SubscriptionStatus::PastDue),
    ("unpaid", SubscriptionStatus::Unpaid),
    ("paused", SubscriptionStatus::Paused),
    ("canceled", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("type", root.text("type")?)?;
    let mut head = Head::of(kind);
    head.id = body.header_id.map(Into::into);
    let queued = root.time("timestamp")?;
    let data = root.expanded("data");
    let version = |key| data.as_ref().and_then(|data| data.time(key).ok().flatten());
    head.at = match kind {
        "customer.deleted" => version("deleted_at").or(queued),
        _ => version("modified_at").or(version("created_at")).or(queued),
    };
    head.ordered = true;
    if kind.ends_with(".created") {
        head.rank = rank::CREATED;
    }
    let item = payment::item(body, head, |told| {
        let read = match kind.split('.').next() {
            Some("order") => order,
            Some("refund") => refund,
            Some("subscription") => subscription,
            Some("customer") if kind == "customer.deleted" => deleted,
            Some("customer") => customer,
            _ => {
                told.not_mapped(kind);
                return Ok(());
            }
        };
        let data = root.need("data", root.child_at("data", "data")?)?;
        read(told, &data)
    });
    Ok(item)
}

fn whose<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<Whose<'a>, Malformed> {
    let contact = match data.expanded("customer") {
        Some(customer) => told.contact(&customer, ["name", "email", ""]),
        None => Contact::default(),
    };
    Ok(Whose { customer: data.id_text("customer_id")?, named_in: vec![data.clone()], contact })
}

/// An amount and the tax on it, which Polar gives beside it.
fn with_tax(data: &Object<'_>, amount: &str, tax: &str) -> Result<Option<i64>, Malformed> {
    let Some(net) = data.amount(amount)? else { return Ok(None) };
    let whole = net.saturating_add(data.amount(tax)?.unwrap_or(0));
    if whole > LARGEST_AMOUNT {
        return Err(data.wrong(amount, format!("is larger than {LARGEST_AMOUNT} with its tax")));
    }
    Ok(Some(whole))
}

fn order<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = Payment::new(data.need("id", data.id_text("id")?)?);
    let money = data.money("total_amount")?;
    let state = status(data, "status", PAYMENT_STATUSES, "an order")?;
    payment.money = Some(money);
    payment.status = Some(state);
    if state == PaymentStatus::Succeeded {
        let refunded = with_tax(data, "refunded_amount", "refunded_tax_amount")?;
        payment.refunded = refunded.map(|minor| Money { minor, ..money });
    }
    payment.paid_at = data.time("created_at").ok().flatten();
    payment.subscription = data.id_text("subscription_id")?;
    payment.description = told.word(data, "description");
    payment.metadata = Some((data.clone(), "metadata"));
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn refund<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let mut payment = Payment::new(data.need("order_id", data.id_text("order_id")?)?);
    let minor = data.need("amount", with_tax(data, "amount", "tax_amount")?)?;
    let currency = data.need("currency", data.currency("currency")?)?;
    if minor == 0 {
        told.ignore("no money moved");
        return Ok(());
    }
    payment.refunds.push(Back {
        id: Some(id),
        money: Some(Money { minor, currency }),
        status: status(data, "status", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: data.time("created_at").ok().flatten(),
    });
    let customer = data.id_text("customer_id")?;
    told.payment(payment, &Whose { customer, ..Whose::default() })
}

/// `subscription.canceled` comes while it is still active, to end with its period; `revoked` is the end. So the status is
/// the object's.
fn subscription<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let mut subscription = Subscription::new(data.need("id", data.id_text("id")?)?);
    subscription.status = Some(status(data, "status", SUBSCRIPTION_STATUSES, "a subscription")?);
    subscription.plan = told.word(data, "product_id");
    subscription.current_period_end = data.time("current_period_end").ok().flatten();
    subscription.cancel_at_period_end = data.flag("cancel_at_period_end")?;
    let at = |key| data.time(key).ok().flatten();
    if data.has("ended_at") || data.has("ends_at") {
        subscription.ends_at = at("ended_at").or(at("ends_at")).map_or(Said::Null, Said::Value);
    }
    let whose = whose(told, data)?;
    told.subscription(subscription, &whose)
}

fn customer<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let contact = told.contact(data, ["name", "email", ""]);
    told.person(&id, data, &contact, Some("metadata"))
}

fn deleted<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    told.deleted(&id)
}
