//! `export`: everything of an environment, page by page on one snapshot.

use super::{
    Format, Kind, record,
    resume::{self, Begun},
    table,
    target::Target,
};
use crate::{
    cli::{
        Context, Ending, Usage,
        output::{self, Output, thousands},
        traffic,
    },
    config::is_environment,
    model::{customer::Customer, id::CustomerId, reference::ReferenceId, time::Timestamp},
    store::{
        self, Tx,
        browse::{
            self, CustomerFilter, Found, Page, Position,
            export::{Counts, Member},
        },
    },
};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Write as _, path::PathBuf, str::FromStr};

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Where to; `-` writes to standard output
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Whose
    #[arg(long, value_name = "NAME", default_value = "live")]
    environment: String,
    /// How it is written; without it by the file's ending
    #[arg(long)]
    format: Option<Format>,
    /// These alone
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<Kind>,
    /// Go on with FILE.partial, which an export left that was cut off; begin where there is none
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    output: Output,
}

/// So many at a time: all that is in memory at once.
const PAGE: u32 = 500;

impl Export {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        if !is_environment(&self.environment) {
            return Err(Usage(format!("`{}` cannot name an environment", self.environment)).into());
        }
        let mut kinds = if self.only.is_empty() { Kind::ALL.to_vec() } else { self.only.clone() };
        kinds.sort_unstable();
        kinds.dedup();
        let format = Format::of(self.format, &self.file);
        self.can_resume()?;
        let db = context.db().await?;
        let mut tx = db.snapshot().await.map_err(store::Error::from)?;
        tx.stay().await.map_err(store::Error::from)?;
        let bar = bar(&mut tx, &self.environment, &kinds).await?;
        let (mut target, begun) = if self.resume {
            Target::go_on(&self.file, |partial| resume::begun(partial, format, &kinds))?
        } else {
            (Target::open(&self.file)?, Begun::default())
        };
        bar.inc(begun.written.values().sum());
        let now = context.clock.now();
        let mut writer = Writer::new(format, &kinds, &mut target, &begun)?;
        let mut run = Run { tx: &mut tx, environment: &self.environment, bar: &bar, now };
        for kind in &kinds {
            let after = match &begun.last {
                Some((last, _)) if kind < last => continue,
                Some((last, id)) if kind == last => Some(id.as_str()),
                _ => None,
            };
            match kind {
                Kind::Customers => run.customers(&mut writer, after).await?,
                Kind::Payments => run.payments(&mut writer, after).await?,
                Kind::Subscriptions => run.subscriptions(&mut writer, after).await?,
            }
        }
        let written = writer.finish()?;
        target.keep()?;
        bar.finish_and_clear();
        self.tell(&written);
        Ok(Ending::Clean)
    }

    /// Only a file can be gone on with.
    fn can_resume(&self) -> Result<(), Usage> {
        let is_other = std::fs::metadata(&self.file).is_ok_and(|it| !it.is_file());
        if self.resume && (is_other || self.file.as_os_str() == "-") {
            return Err(Usage("--resume goes on with a file: name one".to_owned()));
        }
        Ok(())
    }

    /// Beside the records, where those go to standard output.
    fn tell(&self, written: &BTreeMap<&'static str, u64>) {
        let count = |kind: Kind| written.get(kind.object()).copied().unwrap_or(0);
        let counts = Kind::ALL.map(count);
        let [customers, payments, subscriptions] = counts;
        let summary = json!({
            "environment": self.environment, "file": self.file.display().to_string(),
            "customers": customers, "payments": payments, "subscriptions": subscriptions,
        });
        let text = |_: &Value| {
            let [customers, payments, subscriptions] = counts.map(thousands);
            format!("{customers} customers, {payments} payments, {subscriptions} subscriptions")
        };
        if self.file.as_os_str() != "-" {
            self.output.thing(&summary, text);
        } else if self.output.json {
            output::note(&summary);
        } else {
            output::note(text(&summary));
        }
    }
}

/// A bar that knows how much there is, where somebody looks at it.
async fn bar(tx: &mut Tx, environment: &str, kinds: &[Kind]) -> anyhow::Result<ProgressBar> {
    let bar = traffic::bar(0, "exported");
    if !bar.is_hidden() {
        let Counts { customers, payments, subscriptions } =
            browse::export::counts(tx, environment).await?;
        let count = |kind: &Kind| match kind {
            Kind::Customers => customers,
            Kind::Payments => payments,
            Kind::Subscriptions => subscriptions,
        };
        bar.set_length(u64::try_from(kinds.iter().map(count).sum::<i64>()).unwrap_or(0));
    }
    Ok(bar)
}

struct Run<'a> {
    tx: &'a mut Tx,
    environment: &'a str,
    bar: &'a ProgressBar,
    now: Timestamp,
}

impl Run<'_> {
    /// The oldest first, so that an import makes them in the order in which they were made.
    async fn customers(
        &mut self,
        writer: &mut Writer<'_>,
        after: Option<&str>,
    ) -> anyhow::Result<()> {
        let filter = CustomerFilter::default();
        let mut page = self.first_page(after)?;
        let begun = page.cursor();
        loop {
            let found =
                browse::customers(self.tx, self.environment, &filter, page, self.now).await?;
            let slice = found.ok_or_else(|| self.stranger(after))?;
            self.write_customers(writer, slice.items.iter().rev()).await?;
            self.bar.inc(u64::try_from(slice.items.len()).unwrap_or(0));
            match slice.items.first().filter(|_| slice.has_more) {
                Some(newest) => page.position = Position::Before(newest.id),
                None => break,
            }
        }
        let Some(begun) = begun else { return Ok(()) };
        // What went into a customer after that one was written has no record of its own any more.
        for id in browse::export::grown(self.tx, self.environment, begun).await? {
            let found = browse::customer(self.tx, self.environment, id, self.now).await?;
            if let Found::Here(customer) = found {
                self.write_customers(writer, std::iter::once(&customer)).await?;
            }
        }
        Ok(())
    }

    async fn write_customers(
        &mut self,
        writer: &mut Writer<'_>,
        customers: impl Iterator<Item = &Customer> + Clone,
    ) -> anyhow::Result<()> {
        let mut members: BTreeMap<CustomerId, Vec<Member>> = BTreeMap::new();
        let ids = customers.clone().map(|customer| customer.id);
        for member in browse::export::members(self.tx, ids).await? {
            members.entry(member.customer_id).or_default().push(member);
        }
        for customer in customers {
            let members = members.remove(&customer.id).unwrap_or_default();
            writer.write(Kind::Customers, &record::customer(customer, &members))?;
        }
        Ok(())
    }

    /// From the oldest on, or from behind the last that was written.
    fn first_page<Id: FromStr>(&self, after: Option<&str>) -> anyhow::Result<Page<Id>> {
        let position = match after.map(str::parse) {
            None => Position::Oldest,
            Some(Ok(id)) => Position::Before(id),
            Some(Err(_)) => return Err(self.stranger(after)),
        };
        Ok(Page { position, limit: PAGE })
    }

    fn stranger(&self, after: Option<&str>) -> anyhow::Error {
        let (id, environment) = (after.unwrap_or_default(), self.environment);
        anyhow::anyhow!(
            "the last record, {id}, is not of the environment {environment} of this database: export anew, without --resume"
        )
    }

    async fn payments(
        &mut self,
        writer: &mut Writer<'_>,
        after: Option<&str>,
    ) -> anyhow::Result<()> {
        let mut page = self.first_page(after)?;
        loop {
            let found = browse::payments_with_facts(self.tx, self.environment, page).await?;
            let slice = found.ok_or_else(|| self.stranger(after))?;
            let named = slice.items.iter().flat_map(|(_, facts)| facts.references.all());
            let named: std::collections::BTreeSet<ReferenceId> = named.collect();
            let names = browse::export::names(self.tx, named).await?;
            for (payment, facts) in slice.items.iter().rev() {
                writer.write(Kind::Payments, &record::payment(payment, facts, &names))?;
            }
            self.bar.inc(u64::try_from(slice.items.len()).unwrap_or(0));
            match slice.items.first().filter(|_| slice.has_more) {
                Some((newest, _)) => page.position = Position::Before(newest.id),
                None => return Ok(()),
            }
        }
    }

    async fn subscriptions(
        &mut self,
        writer: &mut Writer<'_>,
        after: Option<&str>,
    ) -> anyhow::Result<()> {
        let mut page = self.first_page(after)?;
        loop {
            let (environment, now) = (self.environment, self.now);
            let found = browse::subscriptions_with_facts(self.tx, environment, page, now).await?;
            let slice = found.ok_or_else(|| self.stranger(after))?;
            let named = slice.items.iter().flat_map(|(_, facts)| facts.references.all());
            let named: std::collections::BTreeSet<ReferenceId> = named.collect();
            let names = browse::export::names(self.tx, named).await?;
            for (subscription, facts) in slice.items.iter().rev() {
                let record = record::subscription(subscription, facts, &names);
                writer.write(Kind::Subscriptions, &record)?;
            }
            self.bar.inc(u64::try_from(slice.items.len()).unwrap_or(0));
            match slice.items.first().filter(|_| slice.has_more) {
                Some((newest, _)) => page.position = Position::Before(newest.id),
                None => return Ok(()),
            }
        }
    }
}

/// Writes records in a format, and counts them.
struct Writer<'t> {
    form: Form<'t>,
    written: BTreeMap<&'static str, u64>,
}

enum Form<'t> {
    Lines(&'t mut Target),
    Table { out: Box<csv::Writer<&'t mut Target>>, columns: Vec<&'static str> },
}

impl<'t> Writer<'t> {
    /// Goes on behind what was begun.
    fn new(
        format: Format,
        kinds: &[Kind],
        target: &'t mut Target,
        begun: &Begun,
    ) -> anyhow::Result<Self> {
        let form = match format {
            Format::Ndjson => Form::Lines(target),
            Format::Csv => {
                let columns = table::columns(kinds);
                let mut out = csv::Writer::from_writer(target);
                if begun.length == 0 {
                    out.write_record(&columns)?;
                }
                Form::Table { out: Box::new(out), columns }
            }
        };
        Ok(Self { form, written: begun.written.clone() })
    }

    fn write(&mut self, kind: Kind, record: &Value) -> anyhow::Result<()> {
        match &mut self.form {
            Form::Lines(out) => writeln!(out, "{record}")?,
            Form::Table { out, columns } => {
                out.write_record(columns.iter().map(|column| table::cell(record, column)))?;
            }
        }
        *self.written.entry(kind.object()).or_default() += 1;
        Ok(())
    }

    fn finish(self) -> anyhow::Result<BTreeMap<&'static str, u64>> {
        match self.form {
            Form::Lines(out) => out.flush()?,
            Form::Table { mut out, .. } => out.flush()?,
        }
        Ok(self.written)
    }
}
