//! Hubtel's checkout callback (developers.hubtel.com; hubtel.readme.io/reference/checkout-callback). It is not signed: a
//! source takes it with `unsigned = true`. Amounts are cedis with decimals, and nothing in a body names a customer.
//!
//! A client of another party checks `X-Hubtel-Signature`, which Hubtel's own pages do not know: a source that has `secrets`
//! checks it too.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Head, Payment, Told, Whose, status},
    read::Object,
};
use crate::model::{authority::Authority, money::Money, payment::PaymentStatus, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "hubtel",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::HUBTEL),
    places: &[],
    about: About {
        id: "none: the body's hash",
        time: "the receipt; states by rank only",
        types: &[("checkout.callback", "the payment and its status")],
        setup: "Give the address as `callbackUrl` of each checkout, set `unsigned = true`, and let only Hubtel's addresses through: it documents no signature.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const STATUSES: &[(&str, PaymentStatus)] = &[
    ("Success", PaymentStatus::Succeeded),
    ("Paid", PaymentStatus::Succeeded),
    ("Pending", PaymentStatus::Pending),
    ("Unpaid", PaymentStatus::Pending),
    ("Failed", PaymentStatus::Failed),
    ("Cancelled", PaymentStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let code = root.need("ResponseCode", root.id_text("ResponseCode")?)?;
    let item = payment::item(body, Head::of("checkout.callback"), |told| {
        let data = root.need("Data", root.child_at("Data", "Data")?)?;
        checkout(told, &root, &data, &code)
    });
    Ok(item)
}

fn checkout<'a>(
    told: &mut Told<'a>,
    root: &Object<'a>,
    data: &Object<'a>,
    code: &str,
) -> Result<(), Malformed> {
    let mut payment = Payment::new(data.need("CheckoutId", data.id_text("CheckoutId")?)?);
    let stated = if data.has("Status") { data } else { root };
    let mut state = status(stated, "Status", STATUSES, "a checkout")?;
    // 0000 alone is success; a word that says more is not believed.
    if state == PaymentStatus::Succeeded && code != "0000" {
        state = PaymentStatus::Pending;
    }
    let currency = "GHS".parse().map_err(|_| data.wrong("Amount", "has no currency"))?;
    let minor = data.need("Amount", data.major("Amount", 2)?)?;
    payment.status = Some(state);
    payment.money = Some(Money { minor, currency });
    let details = data.expanded("PaymentDetails");
    payment.method = details.and_then(|details| told.word(&details, "PaymentType"));
    if state == PaymentStatus::Failed {
        payment.failure = told.word(root, "ResponseCode");
    } else {
        payment.description = told.word(data, "Description");
    }
    told.payment(payment, &Whose { named_in: vec![data.clone()], ..Whose::default() })
}
