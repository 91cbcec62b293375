//! Reevit's own outgoing webhooks (docs.reevit.io/webhooks; @reevit/node). The type stands under `event`, in older bodies
//! under `type`; success comes as `payment.updated` with `data.status`, so the status is the object's. Each try is signed
//! anew with its own number and time, so that what is the same on every try is `data` alone.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{
        self, Back, Dispute, Head, PAYOUT, Payment, Subscription, Told, Whose, names, status,
    },
    read::Object,
};
use crate::model::{
    authority::Authority,
    payment::{DisputeStatus, ObjectClass, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    stamp::rank,
    subscription::SubscriptionStatus,
    time::Timestamp,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "reevit",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::REEVIT),
    places: &[
        names("customer.external_id"),
        names("metadata.external_id"),
        names("metadata.user_id"),
    ],
    about: About {
        id: "`id`, else `delivery_id`",
        time: "`data.updated_at`, else `timestamp`",
        types: &[
            ("payment.*", "the payment and its status"),
            ("refund.*", "a refund of the payment"),
            ("invoice.*", "the payment of the invoice"),
            ("dispute.*", "a dispute of the payment"),
            ("subscription.*", "the subscription"),
        ],
        setup: "Webhooks: an endpoint. The secret is its signing secret (`whsec_…`), as it is.",
    },
    read,
    objects: None,
    batch: None,
    captures_later: false,
    opens: None,
};

/// Of a part capture the body does not say how much: until then it is authorised.
const STATUSES: &[(&str, PaymentStatus)] = &[
    ("pending", PaymentStatus::Pending),
    ("processing", PaymentStatus::Pending),
    ("abandoned", PaymentStatus::Pending),
    ("requires_action", PaymentStatus::RequiresAction),
    ("failed", PaymentStatus::Failed),
    ("authorized", PaymentStatus::Authorized),
    ("partially_captured", PaymentStatus::Authorized),
    ("expired", PaymentStatus::Canceled),
    ("canceled", PaymentStatus::Canceled),
    ("succeeded", PaymentStatus::Succeeded),
    ("disputed", PaymentStatus::Succeeded),
    ("refunded", PaymentStatus::Succeeded),
    ("partially_refunded", PaymentStatus::Succeeded),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("pending", RefundStatus::Pending),
    ("processing", RefundStatus::Pending),
    ("succeeded", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
    ("canceled", RefundStatus::Failed),
];

const DISPUTE_STATUSES: &[(&str, DisputeStatus)] = &[
    ("open", DisputeStatus::Open),
    ("needs_response", DisputeStatus::Open),
    ("evidence_due", DisputeStatus::Open),
    ("under_review", DisputeStatus::Open),
    ("won", DisputeStatus::Won),
    ("lost", DisputeStatus::Lost),
];

const INVOICE_STATUSES: &[(&str, PaymentStatus)] = &[
    ("pending", PaymentStatus::Pending),
    ("open", PaymentStatus::Pending),
    ("failed", PaymentStatus::Failed),
    ("canceled", PaymentStatus::Canceled),
    ("paid", PaymentStatus::Succeeded),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("trialing", SubscriptionStatus::Trialing),
    ("active", SubscriptionStatus::Active),
    ("past_due", SubscriptionStatus::PastDue),
    ("paused", SubscriptionStatus::Paused),
    ("canceled", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = match root.text("event")? {
        Some(kind) => kind,
        None => root.need("event", root.text("type")?)?,
    };
    let mut head = Head::of(kind);
    head.id = match root.id_text("id")? {
        Some(id) => Some(id),
        None => root.id_text("delivery_id")?,
    };
    if head.id.is_some() {
        head.hash = root.get("data").map(payment::hash_of);
    }
    let own = root.path("data.updated_at").and_then(|at| at.as_str());
    let own = own.and_then(Timestamp::parse);
    head.at = own.or(root.time("timestamp")?).or(root.time("created_at")?);
    head.ordered = true;
    head.live = root.text("mode")?.map(|mode| mode != "sandbox");
    if kind.ends_with(".created") {
        head.rank = rank::CREATED;
    }
    Ok(payment::item(body, head, |told| {
        let read = match kind.split('.').next() {
            Some("payment") => paid,
            Some("refund") => refund,
            Some("dispute") => dispute,
            Some("invoice") => invoice,
            Some("subscription") => subscription,
            Some("payout") => {
                told.ignore(PAYOUT);
                return Ok(());
            }
            _ => {
                told.not_mapped(kind);
                return Ok(());
            }
        };
        match root.child_at("data", "data")? {
            Some(data) => read(told, &data),
            // A paused subscription has an envelope of its own.
            None => read(told, &root),
        }
    }))
}

fn whose<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<Whose<'a>, Malformed> {
    let customer = data.id_text("customer_id")?;
    let mut whose = Whose { customer, named_in: vec![data.clone()], ..Whose::default() };
    if let Some(customer) = data.expanded("customer") {
        if whose.customer.is_none() {
            whose.customer = customer.id_text("id")?;
        }
        whose.contact = told.contact(&customer, ["name", "email", "phone"]);
    }
    Ok(whose)
}

fn paid<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let mut payment = Payment::new(data.need("id", data.id_text("id")?)?);
    let money = data.money("amount")?;
    let state = status(data, "status", STATUSES, "a payment")?;
    payment.status = Some(state);
    payment.money = Some(money);
    if data.text("status")? == Some("refunded") {
        payment.refunded = Some(money);
    }
    payment.method = told.word(data, "method");
    payment.description = told.word(data, "source_description");
    if data.text("source")? == Some("subscription") {
        payment.subscription = data.id_text("source_id")?;
    }
    payment.metadata = Some((data.clone(), "metadata"));
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn refund<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let mut payment = Payment::new(data.need("payment_id", data.id_text("payment_id")?)?);
    payment.refunds.push(Back {
        id: Some(id),
        money: Some(data.money("amount")?),
        status: status(data, "status", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: data.time("created_at").ok().flatten(),
    });
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn dispute<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let id = data.need("id", data.id_text("id")?)?;
    let mut payment = Payment::new(data.need("payment_id", data.id_text("payment_id")?)?);
    let status = status(data, "status", DISPUTE_STATUSES, "a dispute")?;
    payment.disputes.push(Dispute { id, money: data.money("amount")?, status });
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

/// What an invoice says of the payment that it names.
fn invoice<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let Some(id) = data.id_text("payment_id")? else {
        told.ignore("an invoice that names no payment");
        return Ok(());
    };
    let mut payment = Payment::new(id);
    payment.money = Some(data.money("amount")?);
    payment.class = ObjectClass::Invoice;
    payment.status = Some(status(data, "status", INVOICE_STATUSES, "an invoice")?);
    payment.subscription = data.id_text("subscription_id")?;
    let whose = whose(told, data)?;
    told.payment(payment, &whose)
}

fn subscription<'a>(told: &mut Told<'a>, data: &Object<'a>) -> Result<(), Malformed> {
    let own = data.expanded("subscription");
    let data = own.as_ref().unwrap_or(data);
    let mut subscription = Subscription::new(data.need("id", data.id_text("id")?)?);
    subscription.status = Some(status(data, "status", SUBSCRIPTION_STATUSES, "a subscription")?);
    subscription.plan = told.word(data, "plan_id");
    subscription.current_period_end = data.time("next_renewal_at").ok().flatten();
    let whose = whose(told, data)?;
    told.subscription(subscription, &whose)
}
