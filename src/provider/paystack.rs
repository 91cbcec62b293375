//! Paystack (paystack.com/docs/payments/webhooks). One movement of money is its reference.
//!
//! A body has no event id, and no time that would tell which of two states is the newer: their ranks do. Amounts come in
//! hundredths of every currency, XOF too (not confirmed), and are kept so.

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
    payment::{DisputeStatus, ObjectClass, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    subscription::SubscriptionStatus,
    time::Timestamp,
};
use serde_json::{Value, json};

pub(crate) const PROVIDER: Provider = Provider {
    name: "paystack",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::PAYSTACK),
    places: &[names("metadata.external_id"), names("metadata.user_id")],
    about: About {
        id: "none: the body's hash",
        time: "`data.paid_at`, else `data.created_at`; states by rank only",
        types: &[
            ("charge.dispute.*", "a dispute of the payment"),
            ("charge.*", "the payment under `data.reference` and its status"),
            ("refund.*", "a refund of the payment"),
            ("invoice.*", "for which subscription its transaction paid"),
            ("subscription.*", "the subscription"),
            (
                "customeridentification.*, dedicatedaccount.*",
                "the customer's name, address and phone number",
            ),
        ],
        setup: "Settings, API Keys & Webhooks. The secret is the API's secret key (`sk_…`).",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("success", PaymentStatus::Succeeded),
    // Taken back as a whole: it had succeeded.
    ("reversed", PaymentStatus::Succeeded),
    ("failed", PaymentStatus::Failed),
    // The payer may still come back to it.
    ("abandoned", PaymentStatus::Pending),
    ("pending", PaymentStatus::Pending),
    ("ongoing", PaymentStatus::Pending),
    ("processing", PaymentStatus::Pending),
    ("queued", PaymentStatus::Pending),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("pending", RefundStatus::Pending),
    ("processing", RefundStatus::Pending),
    ("needs-attention", RefundStatus::Pending),
    ("processed", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("active", SubscriptionStatus::Active),
    ("non-renewing", SubscriptionStatus::Active),
    ("attention", SubscriptionStatus::PastDue),
    ("complete", SubscriptionStatus::Canceled),
    ("completed", SubscriptionStatus::Canceled),
    ("cancelled", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("event", root.text("event")?)?;
    let data = root.expanded("data");
    let mut head = Head::of(kind);
    if let Some(data) = &data {
        head.at = time(kind, data);
        head.live = data.text("domain").ok().flatten().map(|domain| domain == "live");
    }
    let written = metadata(data.as_ref());
    let metadata = Object::root(&written)?;
    let item = payment::item(body, head, |told| match group(kind) {
        Group::Ignored(why) => {
            told.ignore(why);
            Ok(())
        }
        Group::Unknown => {
            told.not_mapped(kind);
            Ok(())
        }
        Group::Read(read) => read(told, &root.need("data", root.object("data")?)?, &metadata),
    });
    Ok(item)
}

type Read<'a> = fn(&mut Told<'a>, &Object<'a>, &Object<'a>) -> Result<(), Malformed>;

enum Group<'a> {
    Read(Read<'a>),
    Ignored(&'static str),
    Unknown,
}

fn group<'a>(kind: &str) -> Group<'a> {
    match kind.split('.').next().unwrap_or_default() {
        "charge" if kind.starts_with("charge.dispute.") => Group::Read(dispute),
        "charge" => Group::Read(charge),
        "refund" => Group::Read(refund),
        "invoice" => Group::Read(invoice),
        "subscription" if kind != "subscription.expiring_cards" => Group::Read(subscription),
        "customeridentification" => Group::Read(|told, data, _| person(told, data)),
        "dedicatedaccount" => Group::Read(dedicated_account),
        "paymentrequest" => Group::Ignored("a payment request's money comes with `charge.success`"),
        "transfer" => Group::Ignored(PAYOUT),
        _ => Group::Unknown,
    }
}

/// When it happened, where the body says so: a charge's success, a subscription's making.
fn time(kind: &str, data: &Object<'_>) -> Option<Timestamp> {
    let at = |key| data.time(key).ok().flatten();
    match kind {
        "subscription.create" => at("createdAt").max(at("created_at")),
        _ if kind.starts_with("charge.dispute.") => at("updated_at").or(at("created_at")),
        _ if kind.starts_with("charge.") || kind.starts_with("invoice.") => {
            at("paid_at").or(at("paidAt")).or(at("created_at"))
        }
        _ => None,
    }
}

/// The metadata as an object under its key: Paystack gives it as such, as the JSON text that the integration wrote, or,
/// where there is none, as `""`, 0 or null.
fn metadata(data: Option<&Object<'_>>) -> Value {
    let given = data.and_then(|data| data.get("metadata"));
    let object = match given {
        Some(Value::Object(_)) => given.cloned(),
        Some(Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    };
    json!({ "metadata": object.unwrap_or_default() })
}

fn whose<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<Whose<'a>, Malformed> {
    let mut whose = Whose { named_in: vec![metadata.clone()], ..Whose::default() };
    if let Some(customer) = data.expanded("customer") {
        whose.customer = customer.id_text("customer_code")?;
        whose.contact = contact(told, &customer);
    }
    Ok(whose)
}

fn contact<'a>(told: &mut Told<'a>, customer: &Object<'a>) -> Contact<'a> {
    let phone = match told.said(customer, "international_format_phone") {
        Said::Value(phone) => Said::Value(phone),
        Said::Null | Said::Nothing => told.said(customer, "phone"),
    };
    let email = told.said(customer, "email");
    Contact { name: told.joined(customer, &["first_name", "last_name"]), email, phone }
}

fn money(object: &Object<'_>) -> Result<Money, Malformed> {
    let minor = object.need("amount", object.amount_text("amount")?)?;
    let currency = object.need("currency", object.currency("currency")?)?;
    Ok(Money { minor, currency })
}

fn charge<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<(), Malformed> {
    let reference = data.need("reference", data.id_text("reference")?)?;
    let whose = whose(told, data, metadata)?;
    let mut payment = transaction(data, Payment::new(reference))?;
    payment.method = told.word(data, "channel");
    if payment.status == Some(PaymentStatus::Failed) {
        payment.failure = told.word(data, "gateway_response");
    }
    payment.metadata = Some((metadata.clone(), "metadata"));
    told.payment(payment, &whose)
}

/// Status and money of a transaction.
fn transaction<'a>(data: &Object<'a>, mut payment: Payment<'a>) -> Result<Payment<'a>, Malformed> {
    let money = money(data)?;
    payment.status = Some(status(data, "status", PAYMENT_STATUSES, "a transaction")?);
    payment.money = Some(money);
    if data.text("status")? == Some("reversed") {
        let id = payment.names.first().map(|name| format!("reversal:{name}").into());
        payment.refunds.push(Back {
            id,
            money: Some(money),
            status: RefundStatus::Succeeded,
            kind: RefundKind::Reversal,
            created_at: None,
        });
    }
    Ok(payment)
}

/// A refund has an id in no sample and a reference once it is under way; until then its amount stands for it.
fn refund<'a>(told: &mut Told<'a>, data: &Object<'a>, _: &Object<'a>) -> Result<(), Malformed> {
    let key = "transaction_reference";
    let mut payment = Payment::new(data.need(key, data.id_text(key)?)?);
    let id = data.id_text("id")?;
    payment.refunds.push(Back {
        id: id.or(data.id_text("refund_reference")?),
        money: Some(money(data)?),
        status: status(data, "status", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: None,
    });
    told.payment(payment, &Whose::default())
}

fn dispute<'a>(told: &mut Told<'a>, data: &Object<'a>, _: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let transaction = data.need("transaction", data.object("transaction")?)?;
    let reference = transaction.need("reference", transaction.id_text("reference")?)?;
    let disputed = data.amount_text("refund_amount")?.filter(|minor| *minor > 0);
    let minor = match disputed {
        Some(minor) => minor,
        None => transaction.need("amount", transaction.amount_text("amount")?)?,
    };
    let currency = match data.currency("currency")? {
        Some(currency) => currency,
        None => transaction.need("currency", transaction.currency("currency")?)?,
    };
    let status = match (data.text("status")?, data.text("resolution")?) {
        (Some("resolved" | "archived"), Some("declined")) => DisputeStatus::Won,
        (Some("resolved" | "archived"), Some(_)) => DisputeStatus::Lost,
        _ => DisputeStatus::Open,
    };
    let mut payment = Payment::new(reference);
    payment.disputes.push(Dispute { id, money: Money { minor, currency }, status });
    let whose = whose(told, data, data)?;
    told.payment(payment, &whose)
}

/// An invoice says for which subscription its transaction paid. It carries the transaction's money under the same
/// reference as `charge.success`.
fn invoice<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<(), Malformed> {
    let whose = whose(told, data, metadata)?;
    let transaction = data.expanded("transaction");
    let reference = match &transaction {
        Some(transaction) => transaction.id_text("reference")?.map(|id| (transaction, id)),
        None => None,
    };
    let Some((transaction, reference)) = reference else {
        told.ignore("an invoice without a transaction moved no money");
        return told.customer(&whose);
    };
    let mut payment = self::transaction(transaction, Payment::new(reference))?;
    payment.class = ObjectClass::Invoice;
    if let Some(subscription) = data.expanded("subscription") {
        payment.subscription = subscription.id_text("subscription_code")?;
    }
    told.payment(payment, &whose)
}

fn subscription<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<(), Malformed> {
    let key = "subscription_code";
    let mut subscription = Subscription::new(data.need(key, data.id_text(key)?)?);
    let state = status(data, "status", SUBSCRIPTION_STATUSES, "a subscription")?;
    subscription.status = Some(state);
    if state == SubscriptionStatus::Active {
        let ends = data.text("status")? == Some("non-renewing");
        subscription.cancel_at_period_end = Some(ends);
    }
    subscription.current_period_end = data.time("next_payment_date").ok().flatten();
    if let Some(plan) = data.expanded("plan") {
        subscription.plan = told.word(&plan, "plan_code");
    }
    let whose = whose(told, data, metadata)?;
    told.subscription(subscription, &whose)
}

/// `customeridentification.*`: the customer's own code and address, and what was found out about the person, which is
/// none of ours.
fn person<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let customer = data.need("customer_code", data.id_text("customer_code")?)?;
    let contact = contact(told, data);
    told.customer(&Whose { customer: Some(customer), named_in: Vec::new(), contact })
}

fn dedicated_account<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<(), Malformed> {
    let whose = whose(told, data, metadata)?;
    told.customer(&whose)
}
