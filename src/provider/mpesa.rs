//! M-Pesa Daraja (developer.safaricom.co.ke): the callback of an STK push, and the confirmation of a payment to a till or
//! paybill (C2B). Neither is signed: a source takes them with `unsigned = true`, behind a secret path and Safaricom's
//! addresses. Amounts are shillings.
//!
//! A push is known by its checkout request until it is paid, then by its receipt too; a C2B confirmation of the same money
//! has that receipt, so that both are one payment. The result of a reversal names it too; its shape is not confirmed.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Back, Head, Payment, Told, Whose, Word},
    read::{Object, decimal},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    time::Timestamp,
};
use chrono::{FixedOffset, NaiveDateTime};
use serde_json::Value;
use std::borrow::Cow;

pub(crate) const PROVIDER: Provider = Provider {
    name: "mpesa",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: None,
    places: &[],
    about: About {
        id: "none: the body's hash",
        time: "`TransactionDate` or `TransTime`; states by rank only",
        types: &[
            (
                "stk_callback, c2b_confirmation",
                "the payment under its checkout request and receipt, and its status",
            ),
            ("reversal_result", "a refund of the payment with that receipt"),
        ],
        setup: "Give the address as `CallBackURL` of each push, or register it as ConfirmationURL; set `unsigned = true`, and let only Safaricom's addresses through: it signs nothing.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

/// The payer called it off.
const CANCELLED: &str = "1032";

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    if let Some(result) = root.child_at("Result", "Result")? {
        return Ok(self::result(body, &result));
    }
    if root.has("TransID") {
        return confirmation(body, &root);
    }
    let inner = root.need("Body", root.child_at("Body", "Body")?)?;
    let push = inner.need("stkCallback", inner.child_at("stkCallback", "Body.stkCallback")?)?;
    let answer = Answer::read(&push)?;
    let mut head = Head::of("stk_callback");
    head.at = answer.find("TransactionDate").and_then(|at| time(&at));
    let item = payment::item(body, head, |told| answer.tell(told, &push));
    Ok(item)
}

/// `20191219102115`, in Nairobi.
fn time(text: &str) -> Option<Timestamp> {
    let nairobi = FixedOffset::east_opt(3 * 3_600)?;
    let local = NaiveDateTime::parse_from_str(text, "%Y%m%d%H%M%S").ok()?;
    let at = local.and_local_timezone(nairobi).single()?;
    Timestamp::from_micros(at.timestamp_micros())
}

fn shillings(minor: i64, place: &Object<'_>) -> Result<Money, Malformed> {
    let currency = "KES".parse().map_err(|_| place.wrong("Amount", "has no currency"))?;
    Ok(Money { minor, currency })
}

/// The value of the item that a member calls so.
fn find<'a>(items: &[Object<'a>], member: &str, name: &str) -> Option<Cow<'a, str>> {
    let named = |item: &&Object<'a>| item.text(member) == Ok(Some(name));
    match items.iter().find(named)?.get("Value")? {
        Value::String(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// What came of something that the account itself asked for. Of these a reversal alone names a customer's payment: by its
/// receipt.
fn result(body: &Body<'_>, result: &Object<'_>) -> Item {
    let parameters = result.expanded("ResultParameters");
    let items = match &parameters {
        Some(parameters) => parameters.objects("ResultParameter").unwrap_or_default(),
        None => Vec::new(),
    };
    let given = |name| find(&items, "Key", name);
    let Some(receipt) = given("OriginalTransactionID") else {
        return payment::item(body, Head::of("result"), |told| {
            told.ignore("it names no customer's payment");
            Ok(())
        });
    };
    let mut head = Head::of("reversal_result");
    let at = given("TransCompletedTime").and_then(|at| time(&at));
    head.at = at;
    let amount = given("Amount");
    payment::item(body, head, |told| {
        let code = result.need("ResultCode", result.id_text("ResultCode")?)?;
        if code != "0" {
            told.ignore("a reversal that failed changes nothing");
            return Ok(());
        }
        let wrong = |why| Malformed(format!("Result.ResultParameters: Amount {why}"));
        let amount = amount.ok_or_else(|| wrong("is missing"))?;
        let minor = decimal::minor(&amount, 2).map_err(wrong)?;
        let id = result.need("TransactionID", result.id_text("TransactionID")?)?;
        let mut payment = Payment::new(receipt);
        payment.refunds.push(Back {
            id: Some(id),
            money: Some(shillings(minor, result)?),
            status: RefundStatus::Succeeded,
            kind: RefundKind::Refund,
            created_at: at,
        });
        told.payment(payment, &Whose::default())
    })
}

/// The answer to an STK push.
struct Answer<'a> {
    code: Cow<'a, str>,
    /// Names and values; none where it failed.
    items: Vec<Object<'a>>,
}

impl<'a> Answer<'a> {
    fn read(push: &Object<'a>) -> Result<Self, Malformed> {
        let code = push.need("ResultCode", push.id_text("ResultCode")?)?;
        let items = match push.object("CallbackMetadata")? {
            Some(metadata) => metadata.objects("Item")?,
            None => Vec::new(),
        };
        Ok(Self { code, items })
    }

    fn find(&self, name: &str) -> Option<Cow<'a, str>> {
        find(&self.items, "Name", name)
    }

    fn tell(&self, told: &mut Told<'a>, push: &Object<'a>) -> Result<(), Malformed> {
        let key = "CheckoutRequestID";
        let mut payment = Payment::new(push.need(key, push.id_text(key)?)?);
        payment.status = Some(match &*self.code {
            "0" => PaymentStatus::Succeeded,
            CANCELLED => PaymentStatus::Canceled,
            _ => PaymentStatus::Failed,
        });
        if payment.status == Some(PaymentStatus::Succeeded) {
            let missing = |name| Malformed(format!("Body.stkCallback.CallbackMetadata: no {name}"));
            let amount = self.find("Amount").ok_or_else(|| missing("Amount"))?;
            let minor = decimal::minor(&amount, 2).map_err(|why| {
                Malformed(format!("Body.stkCallback.CallbackMetadata: Amount {why}"))
            })?;
            payment.money = Some(shillings(minor, push)?);
            let receipt = self.find("MpesaReceiptNumber");
            payment.names.push(receipt.ok_or_else(|| missing("MpesaReceiptNumber"))?);
            let at = push.place("CallbackMetadata");
            payment.method = Some(Word { at, text: "mobile_money".into() });
        } else {
            payment.failure = told.word(push, "ResultCode");
        }
        told.payment(payment, &Whose::default())
    }
}

/// A payment to a till or paybill. The account that the payer typed names somebody only where the source says so.
fn confirmation(body: &Body<'_>, root: &Object<'_>) -> Result<Item, Malformed> {
    let mut head = Head::of("c2b_confirmation");
    let at = root.id_text("TransTime")?;
    head.at = at.and_then(|at| time(&at));
    let root = root.clone();
    Ok(payment::item(body, head, move |told| {
        let mut payment = Payment::new(root.need("TransID", root.id_text("TransID")?)?);
        let minor = root.need("TransAmount", root.major("TransAmount", 2)?)?;
        payment.status = Some(PaymentStatus::Succeeded);
        payment.money = Some(shillings(minor, &root)?);
        let at = root.place("TransactionType");
        payment.method = Some(Word { at, text: "mobile_money".into() });
        payment.description = told.word(&root, "BillRefNumber");
        told.payment(payment, &Whose { named_in: vec![root.clone()], ..Whose::default() })
    }))
}
