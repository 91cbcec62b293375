//! Lemon Squeezy (docs.lemonsqueezy.com/help/webhooks). One movement of money is the order for what is bought once and for a
//! subscription's first payment, and the subscription's invoice for a renewal.
//!
//! Orders and invoices are numbered each for themselves: their payments are `order:1` and `invoice:1`.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{self, Back, Head, Payment, Subscription, Told, Whose, names, status},
    read::{Object, Said, short},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    stamp::rank,
    subscription::SubscriptionStatus,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "lemon-squeezy",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::LEMON_SQUEEZY),
    places: &[names("custom_data.external_id"), names("custom_data.user_id")],
    about: About {
        id: "`meta.webhook_id`",
        time: "`data.attributes.updated_at`",
        types: &[
            ("order_*", "the payment `order:ID`, and what of it was refunded"),
            (
                "subscription_payment_*",
                "the payment `invoice:ID` of a renewal, and what of it was refunded",
            ),
            ("subscription_*", "the subscription"),
        ],
        setup: "Settings, Webhooks. The secret is the signing secret.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("pending", PaymentStatus::Pending),
    ("failed", PaymentStatus::Failed),
    ("paid", PaymentStatus::Succeeded),
    ("refunded", PaymentStatus::Succeeded),
    ("partial_refund", PaymentStatus::Succeeded),
    ("fraudulent", PaymentStatus::Canceled),
    ("void", PaymentStatus::Canceled),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("on_trial", SubscriptionStatus::Trialing),
    ("active", SubscriptionStatus::Active),
    ("paused", SubscriptionStatus::Paused),
    ("past_due", SubscriptionStatus::PastDue),
    ("unpaid", SubscriptionStatus::Unpaid),
    // Paid until `ends_at`.
    ("cancelled", SubscriptionStatus::Active),
    ("expired", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let meta = root.need("meta", root.child_at("meta", "meta")?)?;
    let kind = meta.need("event_name", meta.text("event_name")?)?;
    let mut head = Head::of(kind);
    head.id = meta.id_text("webhook_id")?;
    let attributes = root.expanded("data").and_then(|data| data.expanded("attributes"));
    let mut test = meta.flag("test_mode")?;
    if let Some(attributes) = &attributes {
        head.at = attributes.time("updated_at")?;
        if test.is_none() {
            test = attributes.flag("test_mode")?;
        }
    }
    head.live = test.map(|test| !test);
    head.ordered = true;
    if kind.ends_with("_created") {
        head.rank = rank::CREATED;
    }
    let item = payment::item(body, head, |told| {
        let data = root.need("data", root.child_at("data", "data")?)?;
        let object = Resource::open(told, &meta, &data)?;
        match data.text("type")? {
            Some("orders") => order(told, &object),
            Some("subscriptions") => subscription(told, &object),
            Some("subscription-invoices") => invoice(told, &object),
            other => {
                let what = short(other.unwrap_or("nothing"));
                told.ignore(format!("a resource of the type `{what}` is not mapped"));
                Ok(())
            }
        }
    });
    Ok(item)
}

/// A JSON:API resource.
struct Resource<'a> {
    id: String,
    attributes: Object<'a>,
    meta: Object<'a>,
    whose: Whose<'a>,
}

impl<'a> Resource<'a> {
    fn open(told: &mut Told<'a>, meta: &Object<'a>, data: &Object<'a>) -> Result<Self, Malformed> {
        let id = data.need("id", data.id_text("id")?)?.into_owned();
        let attributes = data.need("attributes", data.object("attributes")?)?;
        let whose = Whose {
            customer: attributes.id_text("customer_id")?,
            named_in: vec![meta.clone()],
            contact: told.contact(&attributes, ["user_name", "user_email", ""]),
        };
        Ok(Self { id, attributes, meta: meta.clone(), whose })
    }

    fn payment(&self, name: &str, what: &str) -> Result<Payment<'a>, Malformed> {
        let attributes = &self.attributes;
        let money = {
            let minor = attributes.need("total", attributes.amount("total")?)?;
            let currency = attributes.need("currency", attributes.currency("currency")?)?;
            Money { minor, currency }
        };
        let mut payment = Payment::new(format!("{name}:{}", self.id).into());
        let state = status(attributes, "status", PAYMENT_STATUSES, what)?;
        payment.status = Some(state);
        payment.money = Some(money);
        // Older bodies say only that it was refunded.
        let whole = (attributes.text("status")? == Some("refunded")).then_some(money.minor);
        let refunded = attributes.amount("refunded_amount")?.or(whole);
        if state == PaymentStatus::Succeeded {
            payment.refunded = refunded.map(|minor| Money { minor, ..money });
        }
        // It may have been paid before: the money of a fraud goes back.
        if state == PaymentStatus::Canceled {
            payment.refunds.push(Back {
                id: Some(format!("reversal:{name}:{}", self.id).into()),
                money: Some(money),
                status: RefundStatus::Succeeded,
                kind: RefundKind::Reversal,
                created_at: None,
            });
        }
        payment.paid_at = attributes.time("created_at").ok().flatten();
        payment.metadata = Some((self.meta.clone(), "custom_data"));
        Ok(payment)
    }
}

fn order<'a>(told: &mut Told<'a>, order: &Resource<'a>) -> Result<(), Malformed> {
    let mut payment = order.payment("order", "an order")?;
    let item = order.attributes.expanded("first_order_item");
    payment.description = item.and_then(|item| told.word(&item, "product_name"));
    told.payment(payment, &order.whose)
}

fn invoice<'a>(told: &mut Told<'a>, invoice: &Resource<'a>) -> Result<(), Malformed> {
    if invoice.attributes.text("billing_reason")? == Some("initial") {
        told.ignore("the order tells of a subscription's first payment");
        return told.customer(&invoice.whose);
    }
    let mut payment = invoice.payment("invoice", "an invoice")?;
    payment.method = told.word(&invoice.attributes, "card_brand").map(|brand| {
        // A brand is known where a card paid.
        payment::Word { text: "card".into(), ..brand }
    });
    payment.subscription = invoice.attributes.id_text("subscription_id")?;
    told.payment(payment, &invoice.whose)
}

fn subscription<'a>(told: &mut Told<'a>, object: &Resource<'a>) -> Result<(), Malformed> {
    let attributes = &object.attributes;
    let mut subscription = Subscription::new(object.id.clone().into());
    let state = status(attributes, "status", SUBSCRIPTION_STATUSES, "a subscription")?;
    subscription.status = Some(state);
    subscription.plan = told.word(attributes, "variant_id");
    subscription.current_period_end = attributes.time("renews_at").ok().flatten();
    subscription.cancel_at_period_end = attributes.flag("cancelled")?;
    if attributes.has("ends_at") {
        let end = attributes.time("ends_at").ok().flatten();
        subscription.ends_at = end.map_or(Said::Null, Said::Value);
    }
    told.subscription(subscription, &object.whose)
}
