//! A customer's money, counted from the payments that are truly theirs.

use super::ledger::PaymentRecord;
use crate::model::{money::Currency, payment::PaymentStatus, time::Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Per currency; minor units.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    payments: i64,
    successful: i64,
    failed: i64,
    spent: i64,
    refunded: i64,
    lost: i64,
}

/// Over all payments of one customer.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    lines: BTreeMap<Currency, Line>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Totals {
    /// Counts one payment.
    pub(super) fn count(&mut self, payment: &PaymentRecord) {
        let line = self.lines.entry(payment.currency).or_default();
        line.payments += 1;
        line.failed += i64::from(payment.status == PaymentStatus::Failed);
        if payment.succeeded() {
            line.successful += 1;
            line.spent += payment.captured;
            line.refunded += payment.refunded;
            line.lost += payment.lost;
            self.first = [self.first, payment.paid_at].into_iter().flatten().min();
            self.last = self.last.max(payment.paid_at);
        }
    }

    /// As it stands in a snapshot.
    pub(super) fn form(&self) -> Value {
        let spend: BTreeMap<_, _> = self
            .lines
            .iter()
            .map(|(currency, line)| {
                let form = json!({
                    "total_spent": line.spent,
                    "total_refunded": line.refunded,
                    "total_disputed_lost": line.lost,
                    "net_spent": line.spent - line.refunded - line.lost,
                    "payment_count": line.payments,
                    "successful_payment_count": line.successful,
                    "failed_payment_count": line.failed,
                });
                (currency.to_string(), form)
            })
            .collect();
        let sum = |count: fn(&Line) -> i64| self.lines.values().map(count).sum::<i64>();
        json!({
            "spend": spend,
            "payment_count": sum(|line| line.payments),
            "successful_payment_count": sum(|line| line.successful),
            "failed_payment_count": sum(|line| line.failed),
            "first_payment_at": self.first.map(Timestamp::to_millis_text),
            "last_payment_at": self.last.map(Timestamp::to_millis_text),
        })
    }
}
