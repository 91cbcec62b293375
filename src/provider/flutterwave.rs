//! Flutterwave v3 and v4 (developer.flutterwave.com/docs/webhooks, …/v3.0/docs/webhooks). One movement of money is the
//! charge, by its id; the merchant's reference may stand for several tries and is no name of it.
//!
//! The two differ in how they prove themselves, so each is a provider of its own: v3 sends the secret hash in
//! `verif-hash`, v4 signs the body. Their bodies are told apart by their shape. A refund's and a subscription's event is
//! documented in no shape that could be confirmed: they are ignored.

use super::{
    About, Body, Item, Malformed, Place, Provider,
    payment::{self, Contact, Head, PAYOUT, Payment, Told, Whose, Word, names, status},
    read::{Object, Said},
};
use crate::model::{authority::Authority, money::Money, payment::PaymentStatus, reference::Kind};

/// v3: the header equals the secret hash.
pub(crate) const V3: Provider = Provider {
    name: "flutterwave",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::FLUTTERWAVE_V3),
    places: PLACES,
    about: About {
        id: "none: the body's hash",
        time: "`data.created_at`; states by rank only",
        types: &[("charge.completed", "the payment and its status")],
        setup: "Settings, Webhooks. The secret is the secret hash that you set there.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

/// v4: the body is signed.
pub(crate) const V4: Provider = Provider {
    name: "flutterwave-v4",
    scheme: Some(crate::verify::presets::FLUTTERWAVE_V4),
    about: About {
        id: "`webhook_id`, else `id`",
        time: "`timestamp`",
        types: &[("charge.completed", "the payment and its status")],
        setup: "Settings, Webhooks. The secret is the secret hash that you set there.",
    },
    ..V3
};

const PLACES: &[Place] = &[
    names("meta.external_id"),
    names("meta.user_id"),
    names("meta_data.external_id"),
    names("meta_data.user_id"),
    names("customer.meta.external_id"),
    names("customer.meta.user_id"),
];

const STATUSES: &[(&str, PaymentStatus)] = &[
    ("successful", PaymentStatus::Succeeded),
    ("succeeded", PaymentStatus::Succeeded),
    ("failed", PaymentStatus::Failed),
    ("pending", PaymentStatus::Pending),
    ("voided", PaymentStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let v4 = root.has("type");
    let key = if v4 { "type" } else { "event" };
    let kind = root.need(key, root.text(key)?)?;
    let mut head = Head::of(kind);
    if v4 {
        // Cards carry the one, mobile money the other.
        head.id = root.id_text("webhook_id")?.or(root.id_text("id")?);
        head.at = root.millis("timestamp")?;
        head.ordered = true;
    } else {
        // The charge's own making, the same in all its events: it orders nothing.
        let data = root.expanded("data");
        head.at = data.and_then(|data| data.time("created_at").ok().flatten());
    }
    let item = payment::item(body, head, |told| match kind.split('.').next() {
        Some("charge") => charge(told, &root, v4),
        Some("transfer" | "payout") => {
            told.ignore(PAYOUT);
            Ok(())
        }
        Some("refund" | "subscription") => {
            told.ignore("Flutterwave documents no shape of its refunds and subscriptions");
            Ok(())
        }
        _ => {
            told.not_mapped(kind);
            Ok(())
        }
    });
    Ok(item)
}

fn charge<'a>(told: &mut Told<'a>, root: &Object<'a>, v4: bool) -> Result<(), Malformed> {
    let data = root.need("data", root.child_at("data", "data")?)?;
    let mut payment = Payment::new(data.need("id", data.id_text("id")?)?);
    let currency = data.need("currency", data.currency("currency")?)?;
    let minor = data.need("amount", data.major("amount", currency.exponent())?)?;
    let state = status(&data, "status", STATUSES, "a charge")?;
    payment.money = Some(Money { minor, currency });
    payment.status = Some(state);
    let failed = state == PaymentStatus::Failed;
    if v4 {
        let method = data.expanded("payment_method");
        payment.method = method.and_then(|method| told.word(&method, "type"));
        payment.description = told.word(&data, "description");
        let answer = data.expanded("processor_response").filter(|_| failed);
        payment.failure = answer.and_then(|answer| told.word(&answer, "type"));
        payment.paid_at = data.time("created_datetime").ok().flatten();
    } else {
        payment.method = told.word(&data, "payment_type");
        payment.description = told.word(&data, "narration");
        payment.failure = if failed { told.word(&data, "processor_response") } else { None };
    }
    let metadata = [(&data, "meta"), (root, "meta_data")];
    payment.metadata =
        metadata.into_iter().find(|(object, key)| object.expanded(key).is_some()).map(owned);
    let mut whose = Whose { named_in: vec![data.clone(), root.clone()], ..Whose::default() };
    if let Some(customer) = data.expanded("customer") {
        whose.customer = customer.id_text("id")?;
        whose.contact = contact(told, &customer, v4);
    }
    told.payment(payment, &whose)
}

fn owned<'a>((object, key): (&Object<'a>, &'static str)) -> (Object<'a>, &'static str) {
    (object.clone(), key)
}

fn contact<'a>(told: &mut Told<'a>, customer: &Object<'a>, v4: bool) -> Contact<'a> {
    if !v4 {
        return told.contact(customer, ["name", "email", "phone_number"]);
    }
    let name = match customer.expanded("name") {
        Some(name) => told.joined(&name, &["first", "middle", "last"]),
        None => Said::Nothing,
    };
    let phone = customer.expanded("phone").and_then(|phone| {
        let code = told.word(&phone, "country_code")?;
        let number = told.word(&phone, "number")?;
        let text = format!("+{}{}", code.text.trim_start_matches('+'), number.text);
        Some(Word { text: text.into(), ..number })
    });
    Contact {
        name,
        email: told.said(customer, "email"),
        phone: phone.map_or(Said::Nothing, Said::Value),
    }
}
