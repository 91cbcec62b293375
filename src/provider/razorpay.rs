//! Razorpay (razorpay.com/docs/webhooks). An event carries the entities that it touches, each as a snapshot, and is read by
//! what it carries: an order's or invoice's payment is the same payment. Its id is in a header.

use super::{
    About, Body, Item, Malformed, Provider,
    payment::{
        self, Back, Dispute, Head, PAYOUT, Payment, Subscription, Told, Whose, names, status,
    },
    read::{Object, Said},
};
use crate::model::{
    authority::Authority,
    money::Money,
    payment::{DisputeStatus, PaymentStatus, RefundKind, RefundStatus},
    reference::Kind,
    subscription::SubscriptionStatus,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "razorpay",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::RAZORPAY),
    places: &[names("notes.external_id"), names("notes.user_id")],
    about: About {
        id: "header `x-razorpay-event-id`",
        time: "`created_at`",
        types: &[
            ("payment.dispute.*", "a dispute of the payment"),
            ("payment.*, order.paid, invoice.*", "the payment that the event carries"),
            ("refund.*", "a refund of the payment"),
            ("subscription.*", "the subscription"),
        ],
        setup: "Settings, Webhooks. The secret is the webhook's; after a change keep the old one too, old events are repeated under it.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("created", PaymentStatus::Pending),
    ("authorized", PaymentStatus::Authorized),
    ("captured", PaymentStatus::Succeeded),
    ("refunded", PaymentStatus::Succeeded),
    ("failed", PaymentStatus::Failed),
];

const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("created", RefundStatus::Pending),
    ("pending", RefundStatus::Pending),
    ("processed", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
];

const DISPUTE_STATUSES: &[(&str, DisputeStatus)] = &[
    ("open", DisputeStatus::Open),
    ("under_review", DisputeStatus::Open),
    ("action_required", DisputeStatus::Open),
    ("won", DisputeStatus::Won),
    // A retrieval or fraud query that went no further.
    ("closed", DisputeStatus::Won),
    ("lost", DisputeStatus::Lost),
];

const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("created", SubscriptionStatus::Incomplete),
    ("authenticated", SubscriptionStatus::Incomplete),
    ("active", SubscriptionStatus::Active),
    ("pending", SubscriptionStatus::PastDue),
    ("halted", SubscriptionStatus::Unpaid),
    ("paused", SubscriptionStatus::Paused),
    ("cancelled", SubscriptionStatus::Canceled),
    ("completed", SubscriptionStatus::Canceled),
    ("expired", SubscriptionStatus::Canceled),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("event", root.text("event")?)?;
    let mut head = Head::of(kind);
    head.id = body.header_id.map(Into::into);
    head.at = root.seconds("created_at")?;
    head.ordered = true;
    let item = payment::item(body, head, |told| {
        match kind.split('.').next() {
            Some("payout" | "transfer" | "settlement" | "fund_account") => told.ignore(PAYOUT),
            _ if kind.starts_with("payment.downtime.") => told.not_mapped(kind),
            _ => {
                told.not_mapped(kind);
                let payload = root.need("payload", root.child_at("payload", "payload")?)?;
                return Entities::open(&payload).read(told);
            }
        }
        Ok(())
    });
    Ok(item)
}

/// What an event carries.
struct Entities<'a> {
    payment: Option<Object<'a>>,
    refund: Option<Object<'a>>,
    dispute: Option<Object<'a>>,
    subscription: Option<Object<'a>>,
    invoice: Option<Object<'a>>,
    order: Option<Object<'a>>,
}

impl<'a> Entities<'a> {
    fn open(payload: &Object<'a>) -> Self {
        let entity = |key| payload.expanded(key).and_then(|member| member.expanded("entity"));
        Self {
            payment: entity("payment"),
            refund: entity("refund"),
            dispute: entity("dispute"),
            subscription: entity("subscription"),
            invoice: entity("invoice"),
            order: entity("order"),
        }
    }

    /// Payment, refund and dispute tell of one payment; the others whose it is and for what.
    fn read(&self, told: &mut Told<'a>) -> Result<(), Malformed> {
        let whose = self.whose(told)?;
        let named = match (&self.payment, &self.refund, &self.dispute) {
            (Some(payment), _, _) => Some(payment.need("id", payment.id_text("id")?)?),
            (None, Some(other), _) | (None, None, Some(other)) => {
                Some(other.need("payment_id", other.id_text("payment_id")?)?)
            }
            (None, None, None) => None,
        };
        if let Some(id) = named {
            let mut payment = Payment::new(id);
            if let Some(object) = &self.payment {
                money(told, object, &mut payment)?;
            }
            if let Some(refund) = &self.refund {
                payment.refunds.push(back(refund)?);
            }
            if let Some(dispute) = &self.dispute {
                payment.disputes.push(disputed(dispute)?);
            }
            payment.subscription = match (&self.subscription, &self.invoice) {
                (Some(subscription), _) => subscription.id_text("id")?,
                (None, Some(invoice)) => invoice.id_text("subscription_id")?,
                (None, None) => None,
            };
            told.payment(payment, &whose)?;
        }
        match &self.subscription {
            Some(object) => subscription(told, object, &whose),
            None => Ok(()),
        }
    }

    fn whose(&self, told: &mut Told<'a>) -> Result<Whose<'a>, Malformed> {
        let all = [&self.payment, &self.order, &self.invoice, &self.subscription];
        let mut whose = Whose::default();
        for object in all.into_iter().flatten() {
            whose.named_in.push(object.clone());
            whose.customer = whose.customer.or(object.id_text("customer_id")?);
        }
        if let Some(payment) = &self.payment {
            whose.contact = told.contact(payment, ["", "email", "contact"]);
        }
        let details =
            self.invoice.as_ref().and_then(|invoice| invoice.expanded("customer_details"));
        if let Some(details) = details {
            whose.contact.name = told.said(&details, "name");
            if matches!(whose.contact.email, Said::Nothing | Said::Null) {
                whose.contact.email = told.said(&details, "email");
            }
        }
        Ok(whose)
    }
}

fn money<'a>(
    told: &mut Told<'a>,
    object: &Object<'a>,
    payment: &mut Payment<'a>,
) -> Result<(), Malformed> {
    let money = object.money("amount")?;
    let state = status(object, "status", PAYMENT_STATUSES, "a payment")?;
    payment.money = Some(money);
    payment.status = Some(state);
    if state == PaymentStatus::Succeeded {
        let refunded = object.amount("amount_refunded")?;
        payment.refunded = refunded.map(|minor| Money { minor, ..money });
    }
    payment.method = told.word(object, "method");
    payment.description = told.word(object, "description");
    if state == PaymentStatus::Failed {
        payment.failure =
            told.word(object, "error_reason").or_else(|| told.word(object, "error_code"));
    }
    payment.metadata = Some((object.clone(), "notes"));
    Ok(())
}

fn back<'a>(refund: &Object<'a>) -> Result<Back<'a>, Malformed> {
    Ok(Back {
        id: Some(refund.need("id", refund.id_text("id")?)?),
        money: Some(refund.money("amount")?),
        status: status(refund, "status", REFUND_STATUSES, "a refund")?,
        kind: RefundKind::Refund,
        created_at: refund.seconds("created_at").ok().flatten(),
    })
}

fn disputed<'a>(dispute: &Object<'a>) -> Result<Dispute<'a>, Malformed> {
    Ok(Dispute {
        id: dispute.need("id", dispute.id_text("id")?)?,
        money: dispute.money("amount")?,
        status: status(dispute, "status", DISPUTE_STATUSES, "a dispute")?,
    })
}

fn subscription<'a>(
    told: &mut Told<'a>,
    object: &Object<'a>,
    whose: &Whose<'a>,
) -> Result<(), Malformed> {
    let mut subscription = Subscription::new(object.need("id", object.id_text("id")?)?);
    subscription.status = Some(status(object, "status", SUBSCRIPTION_STATUSES, "a subscription")?);
    subscription.plan = told.word(object, "plan_id");
    subscription.current_period_end = object.seconds("current_end").ok().flatten();
    if object.has("ended_at") {
        let ended = object.seconds("ended_at").ok().flatten();
        subscription.ends_at = ended.map_or(Said::Null, Said::Value);
    }
    told.subscription(subscription, whose)
}
