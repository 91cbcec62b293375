//! Paddle Billing (developer.paddle.com/webhooks). One movement of money is the transaction; refunds and chargebacks are
//! adjustments of it. Amounts are texts in the currency's lowest denomination.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{
        self, Back, Dispute, Head, PAYOUT, Payment, Subscription, Told, Whose, names, status,
    },
    read::{Object, Said, short},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{DisputeStatus, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    stamp::rank,
    subscription::SubscriptionStatus,
    time::Timestamp,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "paddle",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::PADDLE),
    places: &[names("custom_data.external_id"), names("custom_data.user_id")],
    about: About {
        id: "`event_id`",
        time: "`data.updated_at`, else `occurred_at`",
        types: &[
            ("transaction.*", "the payment and its status"),
            ("adjustment.*", "a refund or dispute of the payment"),
            ("customer.*", "the customer's name, address and phone number"),
            ("subscription.*", "the subscription"),
        ],
        setup: "Developer tools, Notifications. The secret is the endpoint's secret key (`pdl_ntfset_…`).",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("draft", PaymentStatus::Pending),
    ("ready", PaymentStatus::Pending),
    ("billed", PaymentStatus::Pending),
    ("past_due", PaymentStatus::Failed),
    ("paid", PaymentStatus::Succeeded),
    ("completed", PaymentStatus::Succeeded),
    ("canceled", PaymentStatus::Canceled),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("pending_approval", RefundStatus::Pending),
    ("approved", RefundStatus::Succeeded),
    ("rejected", RefundStatus::Failed),
    ("reversed", RefundStatus::Failed),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("trialing", SubscriptionStatus::Trialing),
    ("active", SubscriptionStatus::Active),
    ("past_due", SubscriptionStatus::PastDue),
    ("paused", SubscriptionStatus::Paused),
    ("canceled", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("event_type", root.text("event_type")?)?;
    let data = root.expanded("data");
    let mut head = Head::of(kind);
    head.id = root.id_text("event_id")?;
    // The zero date stands for none.
    let version = data
        .as_ref()
        .and_then(|data| data.time("updated_at").ok().flatten())
        .filter(|at| *at > Timestamp::from_seconds(0).unwrap_or(Timestamp::FIRST));
    head.at = version.or(root.time("occurred_at")?);
    head.ordered = true;
    let (object, change) = kind.split_once('.').unwrap_or((kind, ""));
    if matches!(change, "created" | "imported") {
        head.rank = rank::CREATED;
    }
    let item = payment::item(body, head, |told| {
        let read = match object {
            "transaction" => transaction,
            "adjustment" => adjustment,
            "subscription" => subscription,
            "customer" => customer,
            "payout" => {
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

fn whose<'a>(data: &Object<'a>) -> Result<Whose<'a>, Malformed> {
    let customer = data.id_text("customer_id")?;
    Ok(Whose { customer, named_in: vec![data.clone()], ..Whose::default() })
}

fn transaction<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = Payment::new(data.need("id", data.id_text("id")?)?);
    let mut state = status(data, "status", PAYMENT_STATUSES, "a transaction")?;
    let currency = data.need("currency_code", data.currency("currency_code")?)?;
    let details = data.object("details")?;
    let totals = details.as_ref().map(|details| details.object("totals")).transpose()?.flatten();
    if let Some(totals) = totals {
        let minor = totals.amount_text("grand_total")?;
        payment.money = minor.map(|minor| Money { minor, currency });
    }
    if state == PaymentStatus::Succeeded && payment.money.is_none() {
        return Err(data.wrong("details.totals.grand_total", "is missing"));
    }
    // The newest try stands first. A transaction whose payment failed is ready for another.
    if let Some(tried) = data.objects("payments")?.first() {
        let error = told.word(tried, "error_code");
        if state == PaymentStatus::Pending && tried.text("status")? == Some("error") {
            state = PaymentStatus::Failed;
        }
        if state == PaymentStatus::Failed {
            payment.failure = error;
        }
        payment.paid_at = tried.time("captured_at").ok().flatten();
        let method = tried.expanded("method_details");
        payment.method = method.and_then(|method| told.word(&method, "type"));
    }
    payment.status = Some(state);
    payment.subscription = data.id_text("subscription_id")?;
    payment.metadata = Some((data.clone(), "custom_data"));
    told.payment(payment, &whose(data)?)
}

/// A chargeback and its reverse are two adjustments of one dispute: the transaction's.
fn adjustment<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let transaction = data.need("transaction_id", data.id_text("transaction_id")?)?;
    let totals = data.need("totals", data.object("totals")?)?;
    let minor = totals.need("total", totals.amount_text("total")?)?;
    let currency = data.need("currency_code", data.currency("currency_code")?)?;
    let money = Money { minor, currency };
    let state = status(data, "status", REFUND_STATUSES, "an adjustment")?;
    let dispute =
        |status| Dispute { id: format!("chargeback:{transaction}").into(), money, status };
    let mut payment = Payment::new(transaction.clone());
    match data.need("action", data.text("action")?)? {
        "refund" => payment.refunds.push(Back {
            id: Some(id),
            money: Some(money),
            status: state,
            kind: RefundKind::Refund,
            created_at: data.time("created_at").ok().flatten(),
        }),
        "chargeback" => payment.disputes.push(dispute(DisputeStatus::Lost)),
        "chargeback_warning" => payment.disputes.push(dispute(DisputeStatus::Open)),
        "chargeback_reverse" | "chargeback_warning_reverse" => {
            payment.disputes.push(dispute(DisputeStatus::Won));
        }
        "credit" | "credit_reverse" => {
            told.ignore("a credit to the balance moves no money");
            return Ok(());
        }
        other => {
            told.ignore(format!("the action `{}` is not mapped", short(other)));
            return Ok(());
        }
    }
    told.payment(payment, &whose(data)?)
}

fn subscription<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let mut subscription = Subscription::new(data.need("id", data.id_text("id")?)?);
    let state = status(data, "status", SUBSCRIPTION_STATUSES, "a subscription")?;
    subscription.status = Some(state);
    let price = data.objects("items")?.first().and_then(|item| item.expanded("price"));
    subscription.plan = price.and_then(|price| told.word(&price, "id"));
    let period = data.expanded("current_billing_period");
    subscription.current_period_end =
        period.and_then(|period| period.time("ends_at").ok().flatten());
    let planned = data.expanded("scheduled_change");
    let cancel = planned.filter(|change| change.text("action") == Ok(Some("cancel")));
    subscription.cancel_at_period_end = Some(cancel.is_some());
    let canceled = data.time("canceled_at").ok().flatten();
    let end = match state {
        SubscriptionStatus::Canceled => canceled,
        _ => cancel.and_then(|change| change.time("effective_at").ok().flatten()),
    };
    subscription.ends_at = end.map_or(Said::Null, Said::Value);
    told.subscription(subscription, &whose(data)?)
}

/// What a checkout writes into `custom_data` names nobody here, unless the source says that only its server writes it.
fn customer<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let contact = told.contact(data, ["name", "email", ""]);
    told.person(&id, data, &contact, Some("custom_data"))
}
