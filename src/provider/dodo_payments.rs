//! Dodo Payments (docs.dodopayments.com/developer-resources/webhooks): Standard Webhooks. A body holds the object as it is
//! when it is sent, not as it was when the event was made, and a repeated one may hold a newer state: so its version is
//! the time of its receipt.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{
        self, Back, Contact, Dispute, Head, PAYOUT, Payment, Subscription, Told, Whose, names,
        status,
    },
    read::{Object, Said},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{DisputeStatus, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    subscription::SubscriptionStatus,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "dodo-payments",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::STANDARD_WEBHOOKS),
    places: &[names("metadata.external_id"), names("metadata.user_id")],
    about: About {
        id: "header `webhook-id`",
        time: "the receipt: a body holds the object as it is when sent",
        types: &[
            ("payment.*", "the payment and its status"),
            ("refund.*", "a refund of the payment"),
            ("dispute.*", "a dispute of the payment"),
            ("subscription.*", "the subscription"),
        ],
        setup: "Developer, Webhooks. The secret is the endpoint's (`whsec_…`); after a rotation the old one holds for 24 hours.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("processing", PaymentStatus::Pending),
    ("requires_merchant_action", PaymentStatus::Pending),
    ("requires_payment_method", PaymentStatus::Pending),
    ("requires_confirmation", PaymentStatus::Pending),
    ("requires_customer_action", PaymentStatus::RequiresAction),
    ("requires_capture", PaymentStatus::Authorized),
    ("partially_captured_and_capturable", PaymentStatus::Authorized),
    ("failed", PaymentStatus::Failed),
    ("cancelled", PaymentStatus::Canceled),
    // Nothing says how much of it was.
    ("partially_captured", PaymentStatus::Authorized),
    ("succeeded", PaymentStatus::Succeeded),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("pending", RefundStatus::Pending),
    ("review", RefundStatus::Pending),
    ("succeeded", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
];

const DISPUTE_STATUSES: &[(&str, DisputeStatus)] = &[
    ("dispute_opened", DisputeStatus::Open),
    ("dispute_challenged", DisputeStatus::Open),
    ("dispute_cancelled", DisputeStatus::Won),
    ("dispute_won", DisputeStatus::Won),
    ("dispute_expired", DisputeStatus::Lost),
    ("dispute_accepted", DisputeStatus::Lost),
    ("dispute_lost", DisputeStatus::Lost),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("pending", SubscriptionStatus::Incomplete),
    ("active", SubscriptionStatus::Active),
    ("on_hold", SubscriptionStatus::PastDue),
    ("paused", SubscriptionStatus::Paused),
    ("failed", SubscriptionStatus::IncompleteExpired),
    ("cancelled", SubscriptionStatus::Canceled),
    ("expired", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("type", root.text("type")?)?;
    let mut head = Head::of(kind);
    head.id = body.header_id.map(Into::into);
    head.at = Some(body.received_at);
    head.ordered = true;
    let item = payment::item(body, head, |told| {
        let read = match kind.split('.').next() {
            Some("payment") => paid,
            Some("refund") => refund,
            Some("dispute") => dispute,
            Some("subscription") => subscription,
            Some("payout") => {
                told.ignore(PAYOUT);
                return Ok(());
            }
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
    let mut whose = Whose { named_in: vec![data.clone()], ..Whose::default() };
    if let Some(customer) = data.expanded("customer") {
        whose.customer = customer.id_text("customer_id")?;
        let contact: Contact<'a> = told.contact(&customer, ["name", "email", "phone_number"]);
        whose.contact = contact;
    }
    Ok(whose)
}

fn paid<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = Payment::new(data.need("payment_id", data.id_text("payment_id")?)?);
    let money = data.money("total_amount")?;
    // Not yet tried: it has none.
    let state = match data.text("status")? {
        None => PaymentStatus::Pending,
        Some(_) => status(data, "status", PAYMENT_STATUSES, "a payment")?,
    };
    payment.status = Some(state);
    payment.money = Some(money);
    payment.paid_at = data.time("created_at").ok().flatten();
    payment.method = told.word(data, "payment_method");
    if state == PaymentStatus::Failed {
        payment.failure = told.word(data, "error_code");
    }
    payment.subscription = data.id_text("subscription_id")?;
    payment.metadata = Some((data.clone(), "metadata"));
    for entry in data.objects("refunds")? {
        payment.refunds.push(back(&entry)?);
    }
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

/// A refund. Its amount and currency may be null.
fn back<'a>(data: &Object<'a>) -> Result<Back<'a>, Malformed> {
    let money = data.amount("amount")?.zip(data.currency("currency")?);
    Ok(Back {
        id: Some(data.need("refund_id", data.id_text("refund_id")?)?),
        money: money.map(|(minor, currency)| Money { minor, currency }),
        status: status(data, "status", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: data.time("created_at").ok().flatten(),
    })
}

fn refund<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = Payment::new(data.need("payment_id", data.id_text("payment_id")?)?);
    payment.refunds.push(back(data)?);
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

/// Its amount is a text of minor units.
fn dispute<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("dispute_id", data.id_text("dispute_id")?)?;
    let mut payment = Payment::new(data.need("payment_id", data.id_text("payment_id")?)?);
    let minor = data.need("amount", data.amount_text("amount")?)?;
    let currency = data.need("currency", data.currency("currency")?)?;
    let status = status(data, "dispute_status", DISPUTE_STATUSES, "a dispute")?;
    payment.disputes.push(Dispute { id, money: Money { minor, currency }, status });
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn subscription<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let key = "subscription_id";
    let mut subscription = Subscription::new(data.need(key, data.id_text(key)?)?);
    subscription.status = Some(status(data, "status", SUBSCRIPTION_STATUSES, "a subscription")?);
    subscription.plan = told.word(data, "product_id");
    subscription.current_period_end = data.time("next_billing_date").ok().flatten();
    subscription.cancel_at_period_end = data.flag("cancel_at_next_billing_date")?;
    if data.has("cancelled_at") {
        let end = data.time("cancelled_at").ok().flatten();
        subscription.ends_at = end.map_or(Said::Null, Said::Value);
    }
    let whose = whose(told, data)?;
    told.subscription(subscription, &whose)
}
