//! Braintree (developer.paypal.com/braintree/docs/guides/webhooks): a form of two fields, of which one is base64 of an XML
//! document. It is read by what its subject holds (a transaction, a subscription with its transactions, a dispute): the
//! status is the object's. Amounts are whole units with decimals.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{
        self, Back, Contact, Dispute, Head, PAYOUT, Payment, Subscription, Told, Whose, names,
        status,
    },
    read::{Object, Said},
};
use crate::{
    model::{
        authority::Authority,
        money::Money,
        payment::{DisputeStatus, PaymentStatus, RefundKind, RefundStatus},
        reference::Kind,
        subscription::SubscriptionStatus,
        time::Timestamp,
    },
    verify::scheme::form_field,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

mod xml;

pub(crate) const PROVIDER: Provider = Provider {
    name: "braintree",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::BRAINTREE),
    places: &[names("custom_fields.external_id"), names("custom_fields.user_id")],
    about: About {
        id: "none: the body's hash",
        time: "the notification's `timestamp`",
        types: &[
            ("subscription_*", "the subscription, and the payments of its terms"),
            ("dispute_*", "a dispute of the payment"),
            (
                "transaction_*, local_payment_*, refund_failed",
                "the payment and its status, or a refund of another",
            ),
        ],
        setup: "Settings, API, Webhooks. The secret is the private key of the API.",
    },
    read,
    objects: None,
    batch: None,
    captures_later: false,
    opens: Some(open),
};

/// The field that holds the notification.
const PAYLOAD: &str = "bt_payload";

/// What is submitted for settlement is sold: nobody has to do anything more.
const STATUSES: &[(&str, PaymentStatus)] = &[
    ("authorizing", PaymentStatus::Pending),
    ("authorized", PaymentStatus::Authorized),
    ("authorization_expired", PaymentStatus::Canceled),
    ("processor_declined", PaymentStatus::Failed),
    ("gateway_rejected", PaymentStatus::Failed),
    ("failed", PaymentStatus::Failed),
    ("settlement_declined", PaymentStatus::Failed),
    ("voided", PaymentStatus::Canceled),
    ("submitted_for_settlement", PaymentStatus::Succeeded),
    ("settlement_pending", PaymentStatus::Succeeded),
    ("settling", PaymentStatus::Succeeded),
    ("settlement_confirmed", PaymentStatus::Succeeded),
    ("settled", PaymentStatus::Succeeded),
];

const DISPUTE_STATUSES: &[(&str, DisputeStatus)] = &[
    ("open", DisputeStatus::Open),
    ("disputed", DisputeStatus::Open),
    ("under_review", DisputeStatus::Open),
    ("won", DisputeStatus::Won),
    ("lost", DisputeStatus::Lost),
    ("accepted", DisputeStatus::Lost),
    ("auto_accepted", DisputeStatus::Lost),
    ("expired", DisputeStatus::Lost),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("Pending", SubscriptionStatus::Incomplete),
    ("Active", SubscriptionStatus::Active),
    ("Past Due", SubscriptionStatus::PastDue),
    ("Canceled", SubscriptionStatus::Canceled),
    ("Expired", SubscriptionStatus::Canceled),
];

/// The notification in a form, or in a JSON object of the same fields.
fn open(bytes: &[u8]) -> Result<Value, Malformed> {
    let json: Option<Value> = serde_json::from_slice(bytes).ok();
    let payload = match &json {
        Some(json) => json.get(PAYLOAD).and_then(Value::as_str).map(Into::into),
        None => form_field(bytes, PAYLOAD),
    };
    let payload = payload.ok_or_else(|| Malformed(format!("{PAYLOAD}: is missing")))?;
    let text: String = payload.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let document =
        STANDARD.decode(text).map_err(|_| Malformed(format!("{PAYLOAD}: is no base64")))?;
    let document =
        String::from_utf8(document).map_err(|_| Malformed(format!("{PAYLOAD}: holds no UTF-8")))?;
    xml::json(&document).map_err(|Malformed(why)| Malformed(format!("{PAYLOAD}: {why}")))
}

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let notification = root.need("notification", root.child_at("notification", "notification")?)?;
    let kind = notification.need("kind", notification.text("kind")?)?;
    let mut head = Head::of(kind);
    head.at = notification.time("timestamp")?;
    head.ordered = true;
    Ok(payment::item(body, head, |told| tell(told, &notification, kind)))
}

fn tell<'a>(told: &mut Told<'a>, notification: &Object<'a>, kind: &str) -> Result<(), Malformed> {
    if kind.starts_with("disbursement") {
        told.ignore(PAYOUT);
        return Ok(());
    }
    let Some(subject) = notification.expanded("subject") else {
        told.not_mapped(kind);
        return Ok(());
    };
    // What could not be done comes with the object that it was to be done to.
    let subject = subject.expanded("api_error_response").unwrap_or(subject);
    if let Some(subscription) = subject.expanded("subscription") {
        return subscribed(told, &subscription);
    }
    if let Some(dispute) = subject.expanded("dispute") {
        return disputed(told, &dispute);
    }
    let local = ["local_payment", "local_payment_funded"];
    let holder = local.iter().find_map(|key| subject.expanded(key)).unwrap_or(subject);
    if let Some(transaction) = holder.expanded("transaction") {
        return moved(told, &transaction, None);
    }
    told.not_mapped(kind);
    Ok(())
}

fn whose<'a>(told: &mut Told<'a>, transaction: &Object<'a>) -> Result<Whose<'a>, Malformed> {
    let mut whose = Whose { named_in: vec![transaction.clone()], ..Whose::default() };
    if let Some(customer) = transaction.expanded("customer") {
        whose.customer = customer.id_text("id")?;
        let name = told.joined(&customer, &["first_name", "last_name"]);
        whose.contact = Contact { name, ..told.contact(&customer, ["", "email", "phone"]) };
    }
    Ok(whose)
}

/// An amount with its currency; none where the body gives no currency.
fn money(object: &Object<'_>, key: &str) -> Result<Option<Money>, Malformed> {
    let Some(currency) = object.currency("currency_iso_code")? else { return Ok(None) };
    let minor = object.need(key, object.major(key, currency.exponent())?)?;
    Ok(Some(Money { minor, currency }))
}

/// A transaction: a sale is a payment, a credit for an earlier sale its refund.
fn moved<'a>(
    told: &mut Told<'a>,
    transaction: &Object<'a>,
    subscription: Option<&str>,
) -> Result<(), Malformed> {
    let id = transaction.need("id", transaction.id_text("id")?)?;
    let state = match transaction.text("status")? {
        Some(_) => Some(status(transaction, "status", STATUSES, "a transaction")?),
        None => None,
    };
    let amount = money(transaction, "amount")?;
    let refunded = transaction.id_text("refunded_transaction_id")?;
    let whose = whose(told, transaction)?;
    if let Some(sale) = refunded {
        let mut payment = Payment::new(sale);
        let money = transaction.need("currency_iso_code", amount)?;
        payment.refunds.push(Back {
            id: Some(id),
            money: Some(money),
            status: refund_status(state),
            kind: RefundKind::Refund,
            created_at: transaction.time("created_at").ok().flatten(),
        });
        return told.payment(payment, &whose);
    }
    if transaction.text("type")? == Some("credit") {
        told.ignore("a credit that names no sale is no customer's payment");
        return Ok(());
    }
    let mut payment = Payment::new(id.clone());
    payment.status = state;
    payment.money = amount;
    let word = transaction.text("status")?.unwrap_or_default();
    // It was submitted before it was declined or voided: what counted as sold is taken back.
    if let (Some(money), "settlement_declined" | "voided") = (amount, word) {
        payment.refunds.push(Back {
            id: Some(format!("reversal:{id}").into()),
            money: Some(money),
            status: RefundStatus::Succeeded,
            kind: RefundKind::Reversal,
            created_at: None,
        });
    }
    payment.paid_at = transaction.time("created_at").ok().flatten();
    payment.method = told.word(transaction, "payment_instrument_type");
    if state == Some(PaymentStatus::Failed) {
        payment.failure = told.word(transaction, "processor_response_code");
    }
    payment.subscription = match subscription {
        Some(id) => Some(id.to_owned().into()),
        None => transaction.id_text("subscription_id")?,
    };
    payment.metadata = Some((transaction.clone(), "custom_fields"));
    told.payment(payment, &whose)
}

fn refund_status(state: Option<PaymentStatus>) -> RefundStatus {
    match state {
        Some(PaymentStatus::Succeeded) => RefundStatus::Succeeded,
        Some(PaymentStatus::Failed | PaymentStatus::Canceled) => RefundStatus::Failed,
        _ => RefundStatus::Pending,
    }
}

/// A subscription with its latest transactions. It names no customer: they do.
fn subscribed<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let mut subscription = Subscription::new(id.clone());
    if data.text("status")?.is_some() {
        let state = status(data, "status", SUBSCRIPTION_STATUSES, "a subscription")?;
        subscription.status = Some(state);
        if state == SubscriptionStatus::Canceled {
            let ended = data.time("updated_at").ok().flatten();
            subscription.ends_at = ended.map_or(Said::Nothing, Said::Value);
        }
    }
    subscription.plan = told.word(data, "plan_id");
    subscription.current_period_end = day(data, "billing_period_end_date");
    let transactions = data.objects("transactions")?;
    let mut owner = Whose::default();
    for transaction in &transactions {
        let whose = whose(told, transaction)?;
        if whose.customer.is_some() {
            owner = whose;
            break;
        }
    }
    told.subscription(subscription, &owner)?;
    transactions.iter().try_for_each(|transaction| moved(told, transaction, Some(id.as_ref())))
}

/// The beginning of a day, in UTC.
fn day(object: &Object<'_>, key: &str) -> Option<Timestamp> {
    let day = object.text(key).ok().flatten()?;
    Timestamp::parse(&format!("{day}T00:00:00Z"))
}

fn disputed<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    if data.text("kind")?.is_some_and(|kind| kind.eq_ignore_ascii_case("retrieval")) {
        told.ignore("a retrieval asks for a document and takes no money");
        return Ok(());
    }
    let transaction = data.need("transaction", data.object("transaction")?)?;
    let mut payment = Payment::new(transaction.need("id", transaction.id_text("id")?)?);
    let key = if data.text("amount_disputed")?.is_some() { "amount_disputed" } else { "amount" };
    let money = money(data, key)?;
    payment.disputes.push(Dispute {
        id: data.need("id", data.id_text("id")?)?,
        money: data.need("currency_iso_code", money)?,
        status: status(data, "status", DISPUTE_STATUSES, "a dispute")?,
    });
    let whose = whose(told, &transaction)?;
    told.payment(payment, &whose)
}
