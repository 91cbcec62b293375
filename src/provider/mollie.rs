//! Mollie's next-generation webhooks (docs.mollie.com/reference/webhooks-new), with the object in them. The classic ones hold
//! an id to be asked for and no event: they are `rejected`, since they are no JSON.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Back, Dispute, Head, PAYOUT, Payment, Told, Whose, status},
    read::{Object, short},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{DisputeStatus, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "mollie",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::MOLLIE),
    places: &[payment::names("metadata.external_id"), payment::names("metadata.user_id")],
    about: About {
        id: "`id`",
        time: "`createdAt`",
        types: &[
            (
                "payment.*, payment-link.paid, sales-invoice.*",
                "the payment of the object that the event carries",
            ),
            ("capture.*", "what was captured of the payment"),
            ("refund.*", "a refund of the payment"),
            ("chargeback.*", "a dispute of the payment"),
        ],
        setup: "A next-generation webhook that sends full events. The secret is its signing secret. Classic webhooks hold no event.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const STATUSES: &[(&str, PaymentStatus)] = &[
    ("open", PaymentStatus::Pending),
    ("draft", PaymentStatus::Pending),
    ("issued", PaymentStatus::Pending),
    ("pending", PaymentStatus::Pending),
    ("authorized", PaymentStatus::Authorized),
    ("paid", PaymentStatus::Succeeded),
    ("failed", PaymentStatus::Failed),
    ("expired", PaymentStatus::Canceled),
    ("canceled", PaymentStatus::Canceled),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("queued", RefundStatus::Pending),
    ("pending", RefundStatus::Pending),
    ("processing", RefundStatus::Pending),
    ("refunded", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
    ("canceled", RefundStatus::Failed),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("type", root.text("type")?)?;
    let mut head = Head::of(kind);
    head.id = Some(root.need("id", root.id_text("id")?)?);
    head.at = root.time("createdAt")?;
    head.ordered = true;
    let entity = root.expanded("_embedded").and_then(|embedded| embedded.expanded("entity"));
    let mode = entity.as_ref().and_then(|entity| entity.text("mode").ok().flatten());
    head.live = mode.map(|mode| mode == "live");
    let item = payment::item(body, head, |told| {
        let Some(entity) = &entity else {
            told.ignore("an event without its object says no more than that something changed");
            return Ok(());
        };
        match entity.text("resource")? {
            Some("payment") => paid(told, entity, "amount", None),
            Some("payment-link") => link(told, entity),
            Some("sales-invoice") => paid(told, entity, "totalAmount", None),
            Some("refund") => refund(told, entity),
            Some("chargeback") => chargeback(told, entity),
            Some("capture") => capture(told, entity),
            Some("payout") => {
                told.ignore(PAYOUT);
                Ok(())
            }
            other => {
                let what = short(other.unwrap_or("nothing"));
                told.ignore(format!("a resource of the type `{what}` is not mapped"));
                Ok(())
            }
        }
    });
    Ok(item)
}

/// An amount in whole units with its currency.
fn amount(entity: &Object<'_>, key: &str) -> Result<Option<Money>, Malformed> {
    let Some(amount) = entity.object(key)? else { return Ok(None) };
    let currency = amount.need("currency", amount.currency("currency")?)?;
    let minor = amount.need("value", amount.major("value", currency.exponent())?)?;
    Ok(Some(Money { minor, currency }))
}

/// What all that is paid has; its state where it has no word for it.
fn paid<'a>(
    told: &mut Told<'a>,
    entity: &Object<'a>,
    key: &str,
    state: Option<PaymentStatus>,
) -> Result<(), Malformed> {
    let mut payment = Payment::new(entity.need("id", entity.id_text("id")?)?);
    payment.status = Some(match (entity.text("status")?, state) {
        (None, Some(state)) => state,
        _ => status(entity, "status", STATUSES, "a payment")?,
    });
    payment.money = amount(entity, key)?;
    payment.captured = amount(entity, "amountCaptured")?.filter(|captured| captured.minor > 0);
    payment.refunded = amount(entity, "amountRefunded")?;
    payment.paid_at = entity.time("paidAt").ok().flatten();
    payment.method = told.word(entity, "method");
    payment.description = told.word(entity, "description");
    payment.subscription = entity.id_text("subscriptionId")?;
    payment.metadata = Some((entity.clone(), "metadata"));
    let customer = entity.id_text("customerId")?;
    let named_in = vec![entity.clone()];
    told.payment(payment, &Whose { customer, named_in, ..Whose::default() })
}

/// A link has no status: it is paid once it says when.
fn link<'a>(told: &mut Told<'a>, entity: &Object<'a>) -> Result<(), Malformed> {
    if entity.flag("reusable")? == Some(true) {
        told.ignore("a reusable link stands for many payments: their own events tell of them");
        return Ok(());
    }
    let is_paid = entity.text("paidAt")?.is_some();
    let state = if is_paid { PaymentStatus::Succeeded } else { PaymentStatus::Pending };
    paid(told, entity, "amount", Some(state))
}

/// The payment that a refund, a chargeback or a capture is of.
fn of<'a>(entity: &Object<'a>) -> Result<Payment<'a>, Malformed> {
    let key = "paymentId";
    entity.need(key, entity.id_text(key)?).map(Payment::new)
}

fn refund<'a>(told: &mut Told<'a>, entity: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = of(entity)?;
    payment.refunds.push(Back {
        id: Some(entity.need("id", entity.id_text("id")?)?),
        money: Some(entity.need("amount", amount(entity, "amount")?)?),
        status: status(entity, "status", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: entity.time("createdAt").ok().flatten(),
    });
    told.payment(payment, &Whose::default())
}

/// The money is gone until the chargeback is reversed.
fn chargeback<'a>(told: &mut Told<'a>, entity: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = of(entity)?;
    let is_reversed = entity.text("reversedAt")?.is_some();
    payment.disputes.push(Dispute {
        id: entity.need("id", entity.id_text("id")?)?,
        money: entity.need("amount", amount(entity, "amount")?)?,
        status: if is_reversed { DisputeStatus::Won } else { DisputeStatus::Lost },
    });
    told.payment(payment, &Whose::default())
}

/// A payment may be captured in parts. What it says itself that it captured counts where that is more.
fn capture<'a>(told: &mut Told<'a>, entity: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = of(entity)?;
    if entity.need("status", entity.text("status")?)? != "succeeded" {
        told.ignore("a capture that took nothing changes nothing");
        return Ok(());
    }
    payment.status = Some(PaymentStatus::Succeeded);
    payment.captured = amount(entity, "amount")?;
    payment.capture = Some(entity.need("id", entity.id_text("id")?)?);
    told.payment(payment, &Whose::default())
}
