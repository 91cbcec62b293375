//! Revstack's own outgoing webhooks (@revstackhq/node; the events of its open server). A body is `{id, type, data,
//! createdAt}`, and its data often no more than the object's id and what was done: where no status is given, the type is
//! the only word for it.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Back, Head, Payment, Subscription, Told, Whose, names, of_customer, status},
    read::{Object, Said},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{ObjectClass, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    stamp::rank,
    subscription::SubscriptionStatus,
};
use std::borrow::Cow;

pub(crate) const PROVIDER: Provider = Provider {
    name: "revstack",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::REVSTACK),
    // The team's server identifies a customer by it.
    places: &[
        of_customer("externalId"),
        names("customer.externalId"),
        names("metadata.external_id"),
        names("metadata.user_id"),
    ],
    about: About {
        id: "`id`",
        time: "`createdAt`",
        types: &[
            ("customer.deleted", "a deletion of the customer id"),
            (
                "customer.*",
                "the customer's name, address and phone number, and under whose external_id it hangs",
            ),
            ("payment.*, invoice.*", "the payment and its status"),
            ("refund.*", "a refund of the payment"),
            ("subscription.*", "the subscription"),
        ],
        setup: "Developers, Webhooks: an endpoint. The secret is its own (`whsec_…`), as it is.",
    },
    read,
    objects: None,
    batch: None,
    captures_later: false,
    opens: None,
};

const STATUSES: &[(&str, PaymentStatus)] = &[
    ("pending", PaymentStatus::Pending),
    ("processing", PaymentStatus::Pending),
    ("requires_action", PaymentStatus::RequiresAction),
    ("failed", PaymentStatus::Failed),
    ("authorized", PaymentStatus::Authorized),
    ("canceled", PaymentStatus::Canceled),
    ("succeeded", PaymentStatus::Succeeded),
    ("refunded", PaymentStatus::Succeeded),
    ("partially_refunded", PaymentStatus::Succeeded),
    ("disputed", PaymentStatus::Succeeded),
];

const INVOICE_STATUSES: &[(&str, PaymentStatus)] = &[
    ("draft", PaymentStatus::Pending),
    ("open", PaymentStatus::Pending),
    ("uncollectible", PaymentStatus::Failed),
    ("void", PaymentStatus::Canceled),
    ("paid", PaymentStatus::Succeeded),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("pending", RefundStatus::Pending),
    ("succeeded", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
    ("canceled", RefundStatus::Failed),
];

/// Revoked is dead, canceled too; one that is to end with its period is still active.
const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("incomplete", SubscriptionStatus::Incomplete),
    ("incomplete_expired", SubscriptionStatus::IncompleteExpired),
    ("trialing", SubscriptionStatus::Trialing),
    ("active", SubscriptionStatus::Active),
    ("past_due", SubscriptionStatus::PastDue),
    ("paused", SubscriptionStatus::Paused),
    ("unpaid", SubscriptionStatus::Unpaid),
    ("revoked", SubscriptionStatus::Canceled),
    ("canceled", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("type", root.text("type")?)?;
    let mut head = Head::of(kind);
    head.id = Some(root.need("id", root.id_text("id")?)?);
    head.at = root.time("createdAt")?;
    head.ordered = true;
    if kind.ends_with(".created") {
        head.rank = rank::CREATED;
    }
    Ok(payment::item(body, head, |told| {
        let (object, action) = kind.split_once('.').unwrap_or((kind, ""));
        let read = match object {
            "customer" => customer,
            "payment" => paid,
            "invoice" => invoice,
            "refund" => refund,
            "subscription" => subscription,
            _ => {
                told.not_mapped(kind);
                return Ok(());
            }
        };
        let data = root.need("data", root.child_at("data", "data")?)?;
        read(told, &data, action)
    }))
}

fn whose<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<Whose<'a>, Malformed> {
    let mut customer = data.id_text("customerId")?;
    if customer.is_none() {
        customer = data.id_text("appUserId")?;
    }
    let mut whose = Whose { customer, named_in: vec![data.clone()], ..Whose::default() };
    if let Some(customer) = data.expanded("customer") {
        if whose.customer.is_none() {
            whose.customer = customer.id_text("id")?;
        }
        whose.contact = told.contact(&customer, ["name", "email", "phone"]);
    }
    Ok(whose)
}

fn customer<'a>(told: &mut Told<'a>, data: &Object<'a>, action: &str) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    match action {
        "deleted" => told.deleted(&id),
        "archived" => {
            told.ignore("an archived customer is not a deleted one");
            Ok(())
        }
        _ => {
            let contact = told.contact(data, ["name", "email", "phone"]);
            told.person(&id, data, &contact, Some("metadata"))
        }
    }
}

/// An amount and its currency, where the body gives both.
fn money(data: &Object<'_>) -> Result<Option<Money>, Malformed> {
    let (minor, currency) = (data.amount("amount")?, data.currency("currency")?);
    Ok(minor.zip(currency).map(|(minor, currency)| Money { minor, currency }))
}

/// The name under which an invoice and its payment are one.
fn of_invoice<'a>(id: &str) -> Cow<'a, str> {
    format!("invoice:{id}").into()
}

fn paid<'a>(told: &mut Told<'a>, data: &Object<'a>, _: &str) -> Result<(), Malformed> {
    let id = match data.id_text("id")? {
        Some(id) => id,
        None => data.need("paymentId", data.id_text("paymentId")?)?,
    };
    if data.text("status")?.is_none() {
        told.ignore("it says no status of the payment");
        return Ok(());
    }
    let mut payment = Payment::new(id);
    payment.names.extend(data.id_text("invoiceId")?.map(|id| of_invoice(&id)));
    payment.status = Some(status(data, "status", STATUSES, "a payment")?);
    payment.money = Some(data.money("amount")?);
    if data.text("status")? == Some("refunded") {
        payment.refunded = payment.money;
    }
    payment.paid_at = data.time("paidAt").ok().flatten();
    payment.subscription = data.id_text("subscriptionId")?;
    payment.metadata = Some((data.clone(), "metadata"));
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn invoice<'a>(told: &mut Told<'a>, data: &Object<'a>, _: &str) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    if data.text("status")?.is_none() {
        told.ignore("it says no status of the invoice");
        return Ok(());
    }
    let mut payment = Payment::new(of_invoice(&id));
    payment.names.extend(data.id_text("paymentId")?);
    payment.status = Some(status(data, "status", INVOICE_STATUSES, "an invoice")?);
    payment.money = Some(data.money("amount")?);
    payment.class = ObjectClass::Invoice;
    payment.paid_at = data.time("paidAt").ok().flatten();
    payment.subscription = data.id_text("subscriptionId")?;
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn refund<'a>(told: &mut Told<'a>, data: &Object<'a>, action: &str) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let mut payment = Payment::new(data.need("paymentId", data.id_text("paymentId")?)?);
    let status = match (data.text("status")?, action) {
        (Some(_), _) => status(data, "status", REFUND_STATUSES, "a refund")?,
        (None, "succeeded") => RefundStatus::Succeeded,
        (None, "failed") => RefundStatus::Failed,
        (None, _) => RefundStatus::Pending,
    };
    let money = money(data)?;
    let created_at = data.time("createdAt").ok().flatten();
    let kind = RefundKind::Refund;
    payment.refunds.push(Back { id: Some(id), money, status, kind, created_at });
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn subscription<'a>(told: &mut Told<'a>, data: &Object<'a>, action: &str) -> Result<(), Malformed> {
    let Some(id) = data.id_text("id")? else {
        told.ignore("it changes nothing that we hold of a subscription");
        return Ok(());
    };
    let mut subscription = Subscription::new(id);
    let at_once = data.flag("immediately")?;
    subscription.status = match (data.text("status")?, action) {
        (Some(_), _) => Some(status(data, "status", SUBSCRIPTION_STATUSES, "a subscription")?),
        (None, "canceled") if at_once == Some(true) => Some(SubscriptionStatus::Canceled),
        (None, "revoked") => Some(SubscriptionStatus::Canceled),
        (None, "paused") => Some(SubscriptionStatus::Paused),
        (None, "resumed") => Some(SubscriptionStatus::Active),
        (None, _) => None,
    };
    subscription.cancel_at_period_end = match (data.flag("cancelAtPeriodEnd")?, action) {
        (None, "canceled") => at_once.map(|at_once| !at_once),
        (given, _) => given,
    };
    subscription.plan = told.word(data, "planId");
    subscription.current_period_end = data.time("currentPeriodEnd").ok().flatten();
    if let Some(revoked) = data.time("revokedAt").ok().flatten() {
        subscription.ends_at = Said::Value(revoked);
    }
    let whose = whose(told, data)?;
    told.subscription(subscription, &whose)
}
