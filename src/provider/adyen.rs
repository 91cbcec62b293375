//! Adyen's standard notifications (docs.adyen.com/development-resources/webhooks). A body is a batch of items, each signed
//! by itself over eight of its fields: whatever else an item says (when, how, by whom) is not protected and claims nothing.
//!
//! Accounts capture at once unless they ask for another way, so an authorisation is a success of its amount, unless the
//! source is set `manual_capture`; where captures are reported, the sum of their amounts counts instead.

use super::{
    About, Batch, Body, Item, Malformed, Provider,
    payment::{self, Back, Dispute, Head, PAYOUT, Payment, Told, Whose, names},
    read::{Object, short},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{DisputeStatus, ObjectClass, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
};
use serde_json::Value;

pub(crate) const PROVIDER: Provider = Provider {
    name: "adyen",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::ADYEN_ITEM),
    places: &[names("additionalData.shopperReference")],
    about: About {
        id: "none: the item's hash",
        time: "`eventDate`",
        types: &[
            (
                "AUTHORISATION, OFFER_CLOSED, PENDING",
                "the payment under `pspReference` and its status",
            ),
            (
                "CAPTURE, CAPTURE_FAILED, CANCELLATION, TECHNICAL_CANCEL, CANCEL_OR_REFUND",
                "how the payment under `originalReference` went on",
            ),
            (
                "REFUND, REFUND_WITH_DATA, REFUND_FAILED, REFUNDED_REVERSED",
                "a refund of that payment",
            ),
            (
                "CHARGEBACK, CHARGEBACK_REVERSED, NOTIFICATION_OF_CHARGEBACK, REQUEST_FOR_INFORMATION, SECOND_CHARGEBACK, PREARBITRATION_LOST, PREARBITRATION_WON",
                "a dispute of that payment",
            ),
        ],
        setup: "Customer area, Developers, Webhooks: a standard webhook in JSON. The secret is its HMAC key, in hex.",
    },
    read,
    objects: None,
    batch: Some(Batch { list: "notificationItems", beside: &["live"], bare: false }),
    opens: None,
    captures_later: true,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let entry = Object::root(body.json)?;
    let key = "NotificationRequestItem";
    let item = entry.need(key, entry.child_at(key, key)?)?;
    let code = item.need("eventCode", item.text("eventCode")?)?;
    let mut head = Head::of(code);
    head.live = match body.beside.get("live") {
        Some(Value::Bool(live)) => Some(*live),
        Some(Value::String(live)) => Some(live == "true"),
        _ => None,
    };
    head.at = item.time("eventDate").ok().flatten();
    head.ordered = true;
    Ok(payment::item(body, head, |told| tell(told, &item, code)))
}

/// What an item does to its payment.
enum Effect {
    Authorised,
    Captured,
    /// A success taken back, before or after the money came; what it was where none is known.
    Undone(Option<PaymentStatus>),
    Is(PaymentStatus),
    Refund(RefundStatus),
    Dispute(DisputeStatus),
}

fn effect(code: &str, success: bool) -> Result<Effect, String> {
    let undone = "a modification that failed changes nothing";
    Ok(match (code, success) {
        ("AUTHORISATION", true) => Effect::Authorised,
        ("AUTHORISATION" | "OFFER_CLOSED", _) => Effect::Is(PaymentStatus::Failed),
        ("PENDING", _) => Effect::Is(PaymentStatus::Pending),
        ("CAPTURE", true) => Effect::Captured,
        ("CANCELLATION" | "TECHNICAL_CANCEL", true) => {
            Effect::Undone(Some(PaymentStatus::Canceled))
        }
        ("CAPTURE_FAILED", true) => Effect::Undone(Some(PaymentStatus::Failed)),
        ("CANCEL_OR_REFUND", true) => Effect::Undone(None),
        ("CAPTURE" | "CANCELLATION" | "TECHNICAL_CANCEL" | "CANCEL_OR_REFUND", false) => {
            return Err(undone.into());
        }
        ("REFUND" | "REFUND_WITH_DATA", true) => Effect::Refund(RefundStatus::Succeeded),
        ("REFUND" | "REFUND_WITH_DATA", false) | ("REFUND_FAILED" | "REFUNDED_REVERSED", true) => {
            Effect::Refund(RefundStatus::Failed)
        }
        ("NOTIFICATION_OF_CHARGEBACK" | "REQUEST_FOR_INFORMATION", _) => {
            Effect::Dispute(DisputeStatus::Open)
        }
        ("CHARGEBACK" | "SECOND_CHARGEBACK" | "PREARBITRATION_LOST", true) => {
            Effect::Dispute(DisputeStatus::Lost)
        }
        ("CHARGEBACK_REVERSED" | "PREARBITRATION_WON", true) => Effect::Dispute(DisputeStatus::Won),
        (code, _) if code.starts_with("PAYOUT") || code.starts_with("PAIDOUT") => {
            return Err(PAYOUT.into());
        }
        (code, _) => return Err(format!("the type `{}` is not mapped", short(code))),
    })
}

fn tell<'a>(told: &mut Told<'a>, item: &Object<'a>, code: &str) -> Result<(), Malformed> {
    let success = match item.get("success") {
        Some(Value::Bool(success)) => *success,
        Some(Value::String(success)) if success == "true" => true,
        Some(Value::String(success)) if success == "false" => false,
        _ => return Err(item.wrong("success", "is neither true nor false")),
    };
    let effect = match effect(code, success) {
        Ok(effect) => effect,
        Err(why) => {
            told.ignore(why);
            return Ok(());
        }
    };
    let own = item.need("pspReference", item.id_text("pspReference")?)?;
    let original = item.id_text("originalReference")?;
    let amount = item.need("amount", item.object("amount")?)?;
    let minor = amount.need("value", amount.amount("value")?)?;
    let currency = amount.need("currency", amount.currency("currency")?)?;
    let money = Money { minor, currency };
    // A modification names the payment that it changes; its own reference is not the payment's.
    let mut payment = Payment::new(original.unwrap_or_else(|| own.clone()));
    let back = |status, kind, id| Back { id, money: Some(money), status, kind, created_at: None };
    match effect {
        Effect::Authorised if told.body.source.manual_capture => {
            payment.status = Some(PaymentStatus::Authorized);
            payment.money = Some(money);
        }
        Effect::Authorised => {
            payment.status = Some(PaymentStatus::Succeeded);
            payment.money = Some(money);
            payment.captured = Some(money);
            payment.class = ObjectClass::Charge;
        }
        // An account may capture in parts, each under a reference of its own.
        Effect::Captured => {
            payment.status = Some(PaymentStatus::Succeeded);
            payment.captured = Some(money);
            payment.capture = Some(own);
            payment.class = ObjectClass::Intent;
        }
        Effect::Is(status) => {
            payment.status = Some(status);
            payment.money = Some(money);
        }
        // What was authorized and not captured never counted: there is nothing to take back.
        Effect::Undone(Some(PaymentStatus::Canceled)) if told.body.source.manual_capture => {
            payment.status = Some(PaymentStatus::Canceled);
        }
        Effect::Undone(status) => {
            payment.status = status;
            let id = Some(format!("reversal:{own}").into());
            payment.refunds.push(back(RefundStatus::Succeeded, RefundKind::Reversal, id));
        }
        Effect::Refund(status) => {
            payment.refunds.push(back(status, RefundKind::Refund, Some(own)));
        }
        Effect::Dispute(status) => payment.disputes.push(Dispute { id: own, money, status }),
    }
    payment.method = told.word(item, "paymentMethod");
    if payment.status == Some(PaymentStatus::Failed) {
        payment.failure = told.word(item, "reason");
    }
    let mut whose = Whose { named_in: vec![item.clone()], ..Whose::default() };
    if let Some(more) = item.expanded("additionalData") {
        whose.contact = told.contact(&more, ["", "shopperEmail", ""]);
    }
    told.payment(payment, &whose)
}
