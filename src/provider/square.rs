//! Square (developer.squareup.com/docs/webhooks). One movement of money is the payment; an invoice's and an order's events
//! tell of the same one. Its signature covers the webhook's own address, which the source gives as `url`.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{
        self, Back, Contact, Dispute, Head, PAYOUT, Payment, Subscription, Told, Whose, status,
    },
    read::Object,
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{DisputeStatus, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    stamp::rank,
    subscription::SubscriptionStatus,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "square",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::SQUARE),
    // `reference_id` is whatever the seller made of it: a source that keeps the user's id there says so.
    places: &[],
    about: About {
        id: "`event_id`",
        time: "the object's `updated_at`, else `created_at`",
        types: &[
            ("payment.*", "the payment and its status"),
            ("refund.*", "a refund of the payment"),
            ("dispute.*", "a dispute of the payment"),
            ("customer.deleted", "a deletion of the customer id"),
            ("customer.*", "the customer's name, address and phone number"),
            ("subscription.*", "the subscription"),
        ],
        setup: "Developer console, Webhooks. The secret is the signature key. Set `url` of the source to the notification URL, which is signed too.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("PENDING", PaymentStatus::Pending),
    ("APPROVED", PaymentStatus::Authorized),
    ("COMPLETED", PaymentStatus::Succeeded),
    ("CANCELED", PaymentStatus::Canceled),
    ("FAILED", PaymentStatus::Failed),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("PENDING", RefundStatus::Pending),
    ("COMPLETED", RefundStatus::Succeeded),
    ("REJECTED", RefundStatus::Failed),
    ("FAILED", RefundStatus::Failed),
];

const DISPUTE_STATES: &[(&str, DisputeStatus)] = &[
    ("INQUIRY_EVIDENCE_REQUIRED", DisputeStatus::Open),
    ("INQUIRY_PROCESSING", DisputeStatus::Open),
    ("EVIDENCE_REQUIRED", DisputeStatus::Open),
    ("PROCESSING", DisputeStatus::Open),
    ("WAITING_THIRD_PARTY", DisputeStatus::Open),
    ("INQUIRY_CLOSED", DisputeStatus::Won),
    ("WON", DisputeStatus::Won),
    ("LOST", DisputeStatus::Lost),
    ("ACCEPTED", DisputeStatus::Lost),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("PENDING", SubscriptionStatus::Incomplete),
    ("ACTIVE", SubscriptionStatus::Active),
    ("PAUSED", SubscriptionStatus::Paused),
    ("DEACTIVATED", SubscriptionStatus::Unpaid),
    ("CANCELED", SubscriptionStatus::Canceled),
    ("COMPLETED", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("type", root.text("type")?)?;
    let (what, change) = kind.split_once('.').unwrap_or((kind, ""));
    let data = root.expanded("data");
    let object = data.as_ref().and_then(|data| data.expanded("object"));
    // Its libraries' types of a dispute's events name the dispute `object`.
    let object =
        object.and_then(|object| object.expanded(what).or_else(|| object.expanded("object")));
    let mut head = Head::of(kind);
    head.id = root.id_text("event_id")?;
    let version = object.as_ref().and_then(|object| object.time("updated_at").ok().flatten());
    head.at = version.or(root.time("created_at")?);
    head.ordered = true;
    if change == "created" {
        head.rank = rank::CREATED;
    }
    let item = payment::item(body, head, |told| {
        let read = match what {
            "payment" => paid,
            "refund" => refund,
            "dispute" if !change.starts_with("evidence") => dispute,
            "subscription" => subscription,
            "customer" if change == "deleted" => {
                let data = root.need("data", data)?;
                return told.deleted(&data.need("id", data.id_text("id")?)?);
            }
            "customer" => customer,
            "payout" => {
                told.ignore(PAYOUT);
                return Ok(());
            }
            "invoice" | "order" => {
                told.ignore("the payment's own events tell of its money");
                return Ok(());
            }
            _ => {
                told.not_mapped(kind);
                return Ok(());
            }
        };
        let missing = || Malformed(format!("data.object.{what}: is missing"));
        read(told, &object.ok_or_else(missing)?)
    });
    Ok(item)
}

fn money(object: &Object<'_>, key: &str) -> Result<Option<Money>, Malformed> {
    let Some(money) = object.object(key)? else { return Ok(None) };
    money.money("amount").map(Some)
}

fn paid<'a>(told: &mut Told<'a>, object: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = Payment::new(object.need("id", object.id_text("id")?)?);
    let state = status(object, "status", PAYMENT_STATUSES, "a payment")?;
    // With the tip, where there is one.
    let total = match money(object, "total_money")? {
        Some(total) => total,
        None => object.need("amount_money", money(object, "amount_money")?)?,
    };
    payment.status = Some(state);
    payment.money = Some(total);
    if state == PaymentStatus::Succeeded {
        payment.refunded = money(object, "refunded_money")?;
        payment.paid_at = object.time("created_at").ok().flatten();
    }
    payment.method = told.word(object, "source_type");
    payment.description = told.word(object, "note");
    if let Some(card) = object.expanded("card_details")
        && state == PaymentStatus::Failed
        && let Some(error) = card.objects("errors")?.first()
    {
        payment.failure = told.word(error, "code");
    }
    let customer = object.id_text("customer_id")?;
    let contact = told.contact(object, ["", "buyer_email_address", ""]);
    told.payment(payment, &Whose { customer, named_in: vec![object.clone()], contact })
}

fn refund<'a>(told: &mut Told<'a>, object: &Object<'a>) -> Result<(), Malformed> {
    let id = object.need("id", object.id_text("id")?)?;
    let Some(of) = object.id_text("payment_id")? else {
        told.ignore("a refund of no payment");
        return Ok(());
    };
    let mut payment = Payment::new(of);
    payment.refunds.push(Back {
        id: Some(id),
        money: Some(object.need("amount_money", money(object, "amount_money")?)?),
        status: status(object, "status", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: object.time("created_at").ok().flatten(),
    });
    told.payment(payment, &Whose::default())
}

fn dispute<'a>(told: &mut Told<'a>, object: &Object<'a>) -> Result<(), Malformed> {
    // Before 2021 it was `dispute_id`.
    let id = object.id_text("id")?.or(object.id_text("dispute_id")?);
    let disputed = object.need("disputed_payment", object.object("disputed_payment")?)?;
    let key = "payment_id";
    let mut payment = Payment::new(disputed.need(key, disputed.id_text(key)?)?);
    payment.disputes.push(Dispute {
        id: object.need("id", id)?,
        money: object.need("amount_money", money(object, "amount_money")?)?,
        status: status(object, "state", DISPUTE_STATES, "a dispute")?,
    });
    told.payment(payment, &Whose::default())
}

fn subscription<'a>(told: &mut Told<'a>, object: &Object<'a>) -> Result<(), Malformed> {
    let mut subscription = Subscription::new(object.need("id", object.id_text("id")?)?);
    let state = status(object, "status", SUBSCRIPTION_STATUSES, "a subscription")?;
    subscription.status = Some(state);
    let plan = told.word(object, "plan_variation_id");
    subscription.plan = plan.or_else(|| told.word(object, "plan_id"));
    // A day without a time says that it ends then, not when.
    let ends = object.text("canceled_date").ok().flatten().is_some();
    subscription.cancel_at_period_end = Some(ends && state != SubscriptionStatus::Canceled);
    let customer = object.id_text("customer_id")?;
    let named_in = vec![object.clone()];
    told.subscription(subscription, &Whose { customer, named_in, ..Whose::default() })
}

fn customer<'a>(told: &mut Told<'a>, object: &Object<'a>) -> Result<(), Malformed> {
    let id = object.need("id", object.id_text("id")?)?;
    let contact = Contact {
        name: told.joined(object, &["given_name", "family_name"]),
        ..told.contact(object, ["", "email_address", "phone_number"])
    };
    told.person(&id, object, &contact, None)
}
