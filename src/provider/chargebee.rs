//! Chargebee (chargebee.com/docs/webhook_settings.html), behind a user name and a password (Basic). One movement of money is
//! the transaction; an invoice's and a credit note's events tell of the same one.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Back, Contact, Head, Payment, Subscription, Told, Whose, names, status},
    read::{Object, Said, short},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    stamp::rank,
    subscription::SubscriptionStatus,
};
use std::borrow::Cow;

pub(crate) const PROVIDER: Provider = Provider {
    name: "chargebee",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::BASIC),
    places: &[names("meta_data.external_id"), names("meta_data.user_id")],
    about: About {
        id: "`id`",
        time: "`occurred_at`",
        types: &[
            (
                "payment_*, refund_*, authorization_*",
                "the payment under its transaction's id and its status, or a refund of the one that `refunded_txn_id` names",
            ),
            (
                "transaction_*",
                "the payment and its status, its deletion, or the reversal of the one that it names",
            ),
            ("customer_deleted", "a deletion of the customer id"),
            ("customer_*", "the customer's name, address and phone number, and metadata"),
            ("subscription_*", "the subscription"),
        ],
        setup: "Settings, Configure, Webhooks, with Basic authentication. The secret is `user:password`.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("in_progress", PaymentStatus::Pending),
    ("needs_attention", PaymentStatus::Pending),
    ("late_failure", PaymentStatus::Failed),
    ("failure", PaymentStatus::Failed),
    ("timeout", PaymentStatus::Failed),
    ("voided", PaymentStatus::Canceled),
    ("success", PaymentStatus::Succeeded),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("in_progress", RefundStatus::Pending),
    ("needs_attention", RefundStatus::Pending),
    ("success", RefundStatus::Succeeded),
    ("late_failure", RefundStatus::Failed),
    ("failure", RefundStatus::Failed),
    ("timeout", RefundStatus::Failed),
    ("voided", RefundStatus::Failed),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("future", SubscriptionStatus::Incomplete),
    ("in_trial", SubscriptionStatus::Trialing),
    ("active", SubscriptionStatus::Active),
    ("non_renewing", SubscriptionStatus::Active),
    ("paused", SubscriptionStatus::Paused),
    ("cancelled", SubscriptionStatus::Canceled),
    ("transferred", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("event_type", root.text("event_type")?)?;
    let mut head = Head::of(kind);
    head.id = Some(root.need("id", root.id_text("id")?)?);
    head.at = root.seconds("occurred_at")?;
    head.ordered = true;
    if kind.ends_with("_created") {
        head.rank = rank::CREATED;
    }
    let item = payment::item(body, head, |told| {
        told.not_mapped(kind);
        let content = root.need("content", root.child_at("content", "content")?)?;
        let customer = content.object("customer")?;
        if let (Some(customer), true) = (&customer, kind.starts_with("customer_")) {
            return self::customer(told, customer, kind);
        }
        if let Some(object) = content.object("transaction")? {
            transaction(told, &object, customer.as_ref())?;
        }
        match content.object("subscription")? {
            Some(object) => subscription(told, &object, customer.as_ref()),
            None => Ok(()),
        }
    });
    Ok(item)
}

fn contact<'a>(told: &mut Told<'a>, customer: &Object<'a>) -> Contact<'a> {
    let name = told.joined(customer, &["first_name", "last_name"]);
    Contact { name, ..told.contact(customer, ["", "email", "phone"]) }
}

fn customer<'a>(told: &mut Told<'a>, customer: &Object<'a>, kind: &str) -> Result<(), Malformed> {
    let id = customer.need("id", customer.id_text("id")?)?;
    if kind == "customer_deleted" {
        return told.deleted(&id);
    }
    // An attribute without a value is left out of the body: then nothing is known of it.
    let contact = contact(told, customer);
    told.person(&id, customer, &contact, Some("meta_data"))
}

fn whose<'a>(
    told: &mut Told<'a>,
    object: &Object<'a>,
    customer: Option<&Object<'a>>,
) -> Result<Whose<'a>, Malformed> {
    let mut whose = Whose {
        customer: object.id_text("customer_id")?,
        named_in: vec![object.clone()],
        ..Whose::default()
    };
    if let Some(customer) = customer {
        whose.named_in.push(customer.clone());
        whose.contact = contact(told, customer);
    }
    Ok(whose)
}

/// The payment that a reversal takes back.
fn reversed<'a>(object: &Object<'a>) -> Result<Option<Cow<'a, str>>, Malformed> {
    match object.id_text("reference_transaction_id")? {
        Some(id) => Ok(Some(id)),
        None => match object.objects("linked_payments")?.first() {
            Some(linked) => linked.id_text("id"),
            None => Ok(None),
        },
    }
}

fn transaction<'a>(
    told: &mut Told<'a>,
    object: &Object<'a>,
    customer: Option<&Object<'a>>,
) -> Result<(), Malformed> {
    let id = object.need("id", object.id_text("id")?)?;
    let minor = object.need("amount", object.amount("amount")?)?;
    let currency = object.need("currency_code", object.currency("currency_code")?)?;
    let money = Money { minor, currency };
    let what = "a transaction";
    let deleted = object.flag("deleted")? == Some(true);
    let payment = match object.need("type", object.text("type")?)? {
        "payment" => {
            let mut payment = Payment::new(id);
            let state = status(object, "status", PAYMENT_STATUSES, what)?;
            payment.status = Some(state);
            payment.money = Some(money);
            payment.paid_at = object.seconds("date").ok().flatten();
            // It may have succeeded before. A payment that was recorded by hand can be deleted.
            let word = object.text("status")?;
            if deleted || matches!(word, Some("late_failure" | "voided")) {
                payment.refunds.push(Back {
                    id: Some(
                        format!("reversal:{}", object.id_text("id")?.unwrap_or_default()).into(),
                    ),
                    money: Some(money),
                    status: RefundStatus::Succeeded,
                    kind: RefundKind::Reversal,
                    created_at: None,
                });
            }
            if state == PaymentStatus::Failed {
                payment.failure = told.word(object, "error_code");
            }
            payment.method = told.word(object, "payment_method");
            payment.subscription = object.id_text("subscription_id")?;
            payment
        }
        kind @ ("refund" | "payment_reversal") => {
            let (of, cause) = match kind {
                "refund" => (object.id_text("refunded_txn_id")?, RefundKind::Refund),
                _ => (reversed(object)?, RefundKind::Reversal),
            };
            let Some(of) = of else {
                told.ignore("a refund of no payment");
                return Ok(());
            };
            let mut payment = Payment::new(of);
            payment.refunds.push(Back {
                id: Some(id),
                money: Some(money),
                status: match status(object, "status", REFUND_STATUSES, what)? {
                    _ if deleted => RefundStatus::Failed,
                    status => status,
                },
                kind: cause,
                created_at: object.seconds("date").ok().flatten(),
            });
            payment
        }
        "authorization" => {
            told.ignore("an authorisation moves no money");
            return Ok(());
        }
        other => {
            told.ignore(format!("a transaction of the type `{}` is not mapped", short(other)));
            return Ok(());
        }
    };
    let whose = whose(told, object, customer)?;
    told.payment(payment, &whose)
}

fn subscription<'a>(
    told: &mut Told<'a>,
    object: &Object<'a>,
    customer: Option<&Object<'a>>,
) -> Result<(), Malformed> {
    let mut subscription = Subscription::new(object.need("id", object.id_text("id")?)?);
    let state = status(object, "status", SUBSCRIPTION_STATUSES, "a subscription")?;
    subscription.status = Some(state);
    // Product catalog 1 has a plan, 2 has items.
    let items = object.objects("subscription_items")?;
    subscription.plan = match items.first() {
        Some(item) => told.word(item, "item_price_id"),
        None => told.word(object, "plan_id"),
    };
    subscription.current_period_end = object.seconds("current_term_end").ok().flatten();
    subscription.cancel_at_period_end = Some(object.text("status")? == Some("non_renewing"));
    // Left out where it is not to end.
    let end = object.seconds("cancelled_at").ok().flatten();
    subscription.ends_at = end.map_or(Said::Null, Said::Value);
    let whose = whose(told, object, customer)?;
    told.subscription(subscription, &whose)
}
