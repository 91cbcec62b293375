//! The demo's closing words.

use super::{checks::Check, tally::Tally};
use crate::{
    cli::{
        output::{fields, table, thousands},
        state::State,
    },
    model::{money::Currency, secret::Secret},
    simulator::History,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, time::Duration};

/// What there is to say.
pub(super) struct Summary<'a> {
    pub(super) seed: u64,
    pub(super) sent: usize,
    pub(super) history: &'a History,
    pub(super) state: &'a State,
    pub(super) tally: &'a Tally,
    pub(super) checks: &'a [Check],
    pub(super) elapsed: Duration,
    pub(super) address: SocketAddr,
    pub(super) key: &'a Secret,
    pub(super) stays: bool,
}

/// So many findings of one check are shown.
const SHOWN: usize = 10;

/// Customers' totals in one currency, minor units.
#[derive(Clone, Copy, Default)]
struct Line {
    customers: i64,
    spent: i64,
    refunded: i64,
    lost: i64,
    net: i64,
}

impl Summary<'_> {
    fn totals(&self) -> BTreeMap<Currency, Line> {
        let mut totals: BTreeMap<Currency, Line> = BTreeMap::new();
        for spend in self.state.customers.iter().flat_map(|customer| &customer.spend) {
            let line = totals.entry(spend.currency).or_default();
            line.customers += 1;
            line.spent += spend.total_spent;
            line.refunded += spend.total_refunded;
            line.lost += spend.total_disputed_lost;
            line.net += spend.net_spent;
        }
        totals
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let totals: BTreeMap<String, Value> = self
            .totals()
            .into_iter()
            .map(|(currency, line)| {
                let value = json!({
                    "customers": line.customers, "total_spent": line.spent,
                    "total_refunded": line.refunded, "total_disputed_lost": line.lost,
                    "net_spent": line.net,
                });
                (currency.to_string(), value)
            })
            .collect();
        json!({
            "seed": self.seed, "sent": self.sent, "events": self.history.events,
            "seconds": self.elapsed.as_secs_f64(),
            "customers": self.state.customers.len(), "payments": self.state.payments.len(),
            "subscriptions": self.state.subscriptions.len(), "totals": totals,
            "deliveries": {"verified": self.tally.verified, "refused": self.tally.refused.len(),
                "messages": self.tally.messages.len(), "by_type": self.tally.types},
            "checks": self.checks, "api": self.url(), "key": self.key.expose(),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let repeated = self.sent.saturating_sub(self.history.events);
        let mut text = fields(&[
            (
                "events sent",
                format!("{}, {} of them again", thousands(self.sent), thousands(repeated)),
            ),
            ("time", format!("{:.1} s", self.elapsed.as_secs_f64())),
            ("customers", thousands(self.state.customers.len())),
            ("payments", thousands(self.state.payments.len())),
            ("subscriptions", thousands(self.state.subscriptions.len())),
            (
                "deliveries",
                format!(
                    "{} verified, {} refused",
                    thousands(self.tally.verified),
                    thousands(self.tally.refused.len())
                ),
            ),
        ]);
        let rows = self.totals().into_iter().map(|(currency, line)| {
            [
                currency.to_string(),
                thousands(line.customers),
                thousands(line.spent),
                thousands(line.refunded),
                thousands(line.lost),
                thousands(line.net),
            ]
        });
        let heads = ["MINOR UNITS", "CUSTOMERS", "SPENT", "REFUNDED", "DISPUTES LOST", "NET"];
        let _ = write!(text, "\n\n{}\n", table(heads, rows.collect()));
        for Check { what, found } in self.checks {
            let verdict = if found.is_empty() { "passed" } else { "FAILED" };
            let _ = write!(text, "\n{verdict}  {what}");
            for line in found.iter().take(SHOWN) {
                let _ = write!(text, "\n          {line}");
            }
            if found.len() > SHOWN {
                let _ = write!(text, "\n          and {} more", found.len() - SHOWN);
            }
        }
        let (url, key) = (self.url(), self.key.expose());
        let api = fields(&[
            ("API", url.clone()),
            ("key", key.to_owned()),
            ("try", format!("curl -H 'Authorization: Bearer {key}' '{url}/v1/customers?limit=3'")),
        ]);
        let _ = write!(text, "\n\n{api}");
        if self.stays {
            text.push_str("\n\nIt stays up until Ctrl-C.");
        }
        text
    }
}
