//! Monnify (developers.monnify.com/docs/webhooks). One movement of money is its transaction reference, which may hold `|`.
//! Amounts are whole units with decimals, as numbers or as texts. A time without a zone is Lagos's.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Back, Head, PAYOUT, Payment, Told, Whose, names, status},
    read::Object,
};
use crate::model::{
    authority::Authority,
    money::{Currency, Money},
    payment::{PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    time::Timestamp,
};
use chrono::{FixedOffset, NaiveDateTime};
use serde_json::{Value, json};

pub(crate) const PROVIDER: Provider = Provider {
    name: "monnify",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::MONNIFY),
    places: &[names("metaData.external_id"), names("metaData.user_id")],
    about: About {
        id: "none: the body's hash",
        time: "`eventData.paidOn`; states by rank only",
        types: &[
            (
                "SUCCESSFUL_TRANSACTION, REJECTED_PAYMENT",
                "the payment under `transactionReference` and its status",
            ),
            ("SUCCESSFUL_REFUND, FAILED_REFUND", "a refund of the payment"),
        ],
        setup: "Developer, Webhook URLs. The secret is the client secret.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("PAID", PaymentStatus::Succeeded),
    ("OVERPAID", PaymentStatus::Succeeded),
    ("PARTIALLY_PAID", PaymentStatus::Succeeded),
    ("REVERSED", PaymentStatus::Succeeded),
    ("PENDING", PaymentStatus::Pending),
    ("ABANDONED", PaymentStatus::Pending),
    ("CANCELLED", PaymentStatus::Canceled),
    ("EXPIRED", PaymentStatus::Canceled),
    ("FAILED", PaymentStatus::Failed),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("COMPLETED", RefundStatus::Succeeded),
    ("PENDING", RefundStatus::Pending),
    ("IN_PROGRESS", RefundStatus::Pending),
    ("FAILED", RefundStatus::Failed),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("eventType", root.text("eventType")?)?;
    let data = root.expanded("eventData");
    let mut head = Head::of(kind);
    let time = |key| data.as_ref().and_then(|data| data.text(key).ok().flatten());
    let told_at = time("paidOn").or(time("completedOn")).or(time("created_on"));
    head.at = told_at.and_then(self::time);
    let written = metadata(data.as_ref());
    let metadata = Object::root(&written)?;
    let item = payment::item(body, head, |told| {
        let read = match kind {
            "SUCCESSFUL_TRANSACTION" => transaction,
            "REJECTED_PAYMENT" => rejected,
            "SUCCESSFUL_REFUND" | "FAILED_REFUND" => refund,
            "SETTLEMENT" => {
                told.ignore(PAYOUT);
                return Ok(());
            }
            _ if kind.ends_with("_DISBURSEMENT") => {
                told.ignore(PAYOUT);
                return Ok(());
            }
            _ => {
                told.not_mapped(kind);
                return Ok(());
            }
        };
        let data = root.need("eventData", root.child_at("eventData", "eventData")?)?;
        read(told, &data, &metadata)
    });
    Ok(item)
}

/// In three forms: ISO 8601 with or without a zone, and `17/11/2021 3:48:10 PM`.
fn time(text: &str) -> Option<Timestamp> {
    let lagos = FixedOffset::east_opt(3_600)?;
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%d/%m/%Y %I:%M:%S %p"];
    let local = || forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    Timestamp::parse(text).or_else(|| {
        let at = local()?.and_local_timezone(lagos).single()?;
        Timestamp::from_micros(at.timestamp_micros())
    })
}

/// The metadata as an object under its key; some bodies hold it as a JSON text.
fn metadata(data: Option<&Object<'_>>) -> Value {
    let given = data.and_then(|data| data.get("metaData"));
    let object = match given {
        Some(Value::Object(_)) => given.cloned(),
        Some(Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    };
    json!({ "metaData": object.unwrap_or_default() })
}

/// Where a body says no currency, it is the naira.
fn currency(data: &Object<'_>) -> Result<Currency, Malformed> {
    match data.currency("currency")? {
        Some(currency) => Ok(currency),
        None => "NGN".parse().map_err(|_| data.wrong("currency", "is missing")),
    }
}

fn money(data: &Object<'_>, key: &str) -> Result<Money, Malformed> {
    let currency = currency(data)?;
    let minor = data.need(key, data.major(key, currency.exponent())?)?;
    Ok(Money { minor, currency })
}

fn opened<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<(Payment<'a>, Whose<'a>), Malformed> {
    let key = "transactionReference";
    let mut payment = Payment::new(data.need(key, data.id_text(key)?)?);
    payment.description = told.word(data, "paymentDescription");
    payment.metadata = Some((metadata.clone(), "metaData"));
    let mut whose = Whose { named_in: vec![metadata.clone()], ..Whose::default() };
    if let Some(customer) = data.expanded("customer") {
        whose.contact = told.contact(&customer, ["name", "email", ""]);
    }
    Ok((payment, whose))
}

fn transaction<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<(), Malformed> {
    let (mut payment, whose) = opened(told, data, metadata)?;
    let paid = money(data, "amountPaid")?;
    payment.status = Some(status(data, "paymentStatus", PAYMENT_STATUSES, "a transaction")?);
    payment.money = Some(paid);
    payment.method = told.word(data, "paymentMethod");
    if data.text("paymentStatus")? == Some("REVERSED") {
        let id = payment.names.first().map(|name| format!("reversal:{name}").into());
        payment.refunds.push(Back {
            id,
            money: Some(paid),
            status: RefundStatus::Succeeded,
            kind: RefundKind::Reversal,
            created_at: None,
        });
    }
    told.payment(payment, &whose)
}

/// Too little or too much came, and was sent back: no payment yet.
fn rejected<'a>(
    told: &mut Told<'a>,
    data: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<(), Malformed> {
    let (mut payment, whose) = opened(told, data, metadata)?;
    payment.status = Some(PaymentStatus::Failed);
    payment.money = Some(money(data, "amount")?);
    let why = data.expanded("paymentRejectionInformation");
    payment.failure = why.and_then(|why| told.word(&why, "rejectionReason"));
    told.payment(payment, &whose)
}

fn refund<'a>(told: &mut Told<'a>, data: &Object<'a>, _: &Object<'a>) -> Result<(), Malformed> {
    let key = "transactionReference";
    let mut payment = Payment::new(data.need(key, data.id_text(key)?)?);
    payment.refunds.push(Back {
        id: data.id_text("refundReference")?,
        money: Some(money(data, "refundAmount")?),
        status: status(data, "refundStatus", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: None,
    });
    told.payment(payment, &Whose::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_lagos_time() {
        let at = Timestamp::parse("2021-11-17T14:48:10Z");
        for text in [
            "17/11/2021 3:48:10 PM",
            "17/11/2021 03:48:10 PM",
            "2021-11-17 15:48:10",
            "2021-11-17 15:48:10.0",
            "2021-11-17T15:48:10",
            "2021-11-17T15:48:10+01:00",
            "2021-11-17T14:48:10Z",
        ] {
            assert_eq!(time(text), at, "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }
}
