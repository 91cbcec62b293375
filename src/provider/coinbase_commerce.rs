//! Coinbase Commerce (docs.cdp.coinbase.com/commerce/webhooks). One movement of money is the charge, by its code. The event
//! stands inside an envelope that differs from try to try: its own id and bytes are the event's.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Head, Payment, Told, Whose, names},
    read::Object,
};
use crate::model::{
    authority::Authority,
    money::{LARGEST_AMOUNT, Money},
    payment::PaymentStatus,
    reference::Kind,
    stamp::rank,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "coinbase-commerce",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::COINBASE_COMMERCE),
    places: &[names("metadata.external_id"), names("metadata.user_id")],
    about: About {
        id: "`event.id`",
        time: "`event.created_at`",
        types: &[(
            "charge:*",
            "the payment under the charge's code, and its status by the timeline",
        )],
        setup: "Settings, Notifications: a webhook subscription. The secret is its shared secret.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const STATUSES: &[(&str, PaymentStatus)] = &[
    ("NEW", PaymentStatus::Pending),
    ("SIGNED", PaymentStatus::Pending),
    ("PENDING", PaymentStatus::Pending),
    // Paid too little, too much or too late: somebody must look at it.
    ("UNRESOLVED", PaymentStatus::Pending),
    ("EXPIRED", PaymentStatus::Failed),
    ("FAILED", PaymentStatus::Failed),
    ("CANCELED", PaymentStatus::Canceled),
    ("CONFIRMED", PaymentStatus::Succeeded),
    ("COMPLETED", PaymentStatus::Succeeded),
    ("RESOLVED", PaymentStatus::Succeeded),
    ("REFUND PENDING", PaymentStatus::Succeeded),
    ("REFUNDED", PaymentStatus::Succeeded),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let event = root.need("event", root.child_at("event", "event")?)?;
    let kind = event.need("type", event.text("type")?)?;
    let mut head = Head::of(kind);
    head.id = Some(event.need("id", event.id_text("id")?)?);
    head.hash = root.get("event").map(payment::hash_of);
    head.at = event.time("created_at")?;
    head.ordered = true;
    if kind == "charge:created" {
        head.rank = rank::CREATED;
    }
    let item = payment::item(body, head, |told| {
        if !kind.starts_with("charge:") {
            told.not_mapped(kind);
            return Ok(());
        }
        let data = event.need("data", event.child_at("data", "event.data")?)?;
        charge(told, &data)
    });
    Ok(item)
}

/// The price in its own currency; for a charge without a price, what was paid, in the first payment's.
fn money(data: &Object<'_>) -> Result<Option<Money>, Malformed> {
    let local = |object: Option<Object<'_>>| -> Result<Option<Money>, Malformed> {
        let Some(local) = object.and_then(|object| object.expanded("local")) else {
            return Ok(None);
        };
        let currency = local.need("currency", local.currency("currency")?)?;
        let minor = local.need("amount", local.major("amount", currency.exponent())?)?;
        Ok(Some(Money { minor, currency }))
    };
    if let Some(price) = local(data.expanded("pricing"))? {
        return Ok(Some(price));
    }
    let mut sum: Option<Money> = None;
    for payment in data.objects("payments")? {
        let Some(paid) = local(payment.expanded("value"))? else { continue };
        sum = match sum {
            None => Some(paid),
            Some(sum) if sum.currency == paid.currency => {
                let minor = sum.minor.saturating_add(paid.minor);
                if minor > LARGEST_AMOUNT {
                    return Err(data.wrong("payments", format!("are more than {LARGEST_AMOUNT}")));
                }
                Some(Money { minor, ..sum })
            }
            Some(sum) => Some(sum),
        };
    }
    Ok(sum)
}

fn charge<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = Payment::new(data.need("code", data.id_text("code")?)?);
    // The newest entry stands last.
    let timeline = data.objects("timeline")?;
    let state = match timeline.last() {
        Some(entry) => payment::status(entry, "status", STATUSES, "a charge")?,
        None => return Err(data.wrong("timeline", "is empty")),
    };
    let word = timeline.last().and_then(|entry| entry.text("status").ok().flatten());
    payment.status = Some(state);
    payment.money = money(data)?;
    if word == Some("REFUNDED") {
        payment.refunded = payment.money;
    }
    let since = |status| {
        let entry = timeline.iter().find(|entry| entry.text("status") == Ok(Some(status)));
        entry.and_then(|entry| entry.time("time").ok().flatten())
    };
    payment.paid_at = since("CONFIRMED").or(since("COMPLETED")).or(since("RESOLVED"));
    payment.description = told.word(data, "name");
    if state == PaymentStatus::Failed {
        payment.failure = timeline.last().and_then(|entry| told.word(entry, "status"));
    }
    payment.metadata = Some((data.clone(), "metadata"));
    told.payment(payment, &Whose { named_in: vec![data.clone()], ..Whose::default() })
}
