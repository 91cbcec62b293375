//! `customer get|list|top|merge|delete`.

use super::{
    Context, Ending,
    output::{self, Output, or_dash, thousands},
};
use crate::{
    model::{
        command::Command,
        customer::Customer,
        id::CustomerId,
        money::Currency,
        ranking::{Metric, Period},
        reference::{Kind, Reference},
        time::Timestamp,
    },
    pipeline::command::{Carried, Outcome},
    store::{
        self, Db,
        browse::{self, CustomerFilter, Found, Page, Position, top::Ranking},
    },
};
use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(super) enum CustomerCommand {
    /// Show one customer
    Get {
        /// Its id (cus_…, also of one that went into it), or the app's own user id
        id: String,
        /// Where it belongs
        #[arg(long, value_name = "NAME", default_value = "live")]
        environment: String,
        #[command(flatten)]
        output: Output,
    },
    /// List customers, newest first
    List {
        /// Whose
        #[arg(long, value_name = "NAME", default_value = "live")]
        environment: String,
        /// With this address
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// With this user id of the app
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
        /// So many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Begin after this one
        #[arg(long, value_name = "ID")]
        starting_after: Option<CustomerId>,
        #[command(flatten)]
        output: Output,
    },
    /// List the customers who paid most
    Top {
        /// Whose
        #[arg(long, value_name = "NAME", default_value = "live")]
        environment: String,
        /// By what: net_spent, total_spent or payment_count
        #[arg(long, default_value = "net_spent")]
        metric: Metric,
        /// Of payments in this currency [default: the environment's reporting_currency]
        #[arg(long, value_name = "CODE")]
        currency: Option<Currency>,
        /// Over which days (UTC, today included): 7d, 30d, 90d or all
        #[arg(long, default_value = "all")]
        period: Period,
        /// So many at most
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Make two customers one; the endpoints are told
    Merge {
        /// The one that stays: its id (cus_…), or the app's own user id
        into: String,
        /// The one that goes into it
        from: String,
        /// The user id that stays, where both have one
        #[arg(long, value_name = "EXTERNAL_ID")]
        keep: Option<String>,
        /// Where they belong
        #[arg(long, value_name = "NAME", default_value = "live")]
        environment: String,
        #[command(flatten)]
        output: Output,
    },
    /// Delete a customer and all that is known of the person, for good; the endpoints are told
    Delete {
        /// Its id (cus_…), or the app's own user id
        id: String,
        /// What becomes of the payments: they stay without customer, or go too
        #[arg(long, value_enum, default_value_t = Payments::Keep)]
        payments: Payments,
        /// Where it belongs
        #[arg(long, value_name = "NAME", default_value = "live")]
        environment: String,
        #[command(flatten)]
        output: Output,
    },
}

/// What becomes of a deleted customer's payments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Payments {
    /// They stay without customer.
    Keep,
    /// They go too.
    Erase,
}

impl CustomerCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        match self {
            Self::Get { id, environment, output } => get(context, &id, &environment, output).await,
            Self::List { environment, email, external_id, limit, starting_after, output } => {
                let filter = CustomerFilter::named(external_id, email);
                let position = starting_after.map_or(Position::Offset(0), Position::After);
                list(context, &environment, &filter, Page { position, limit }, output).await
            }
            Self::Top { environment, metric, currency, period, limit, output } => {
                let reporting = context.config.reporting_currencies();
                let currency = currency
                    .or_else(|| reporting.get(&environment).copied())
                    .unwrap_or_else(Currency::usd);
                let ranking = Ranking { metric, currency, period, limit };
                top(context, &environment, ranking, output).await
            }
            Self::Merge { into, from, keep, environment, output } => {
                let db = context.db().await?;
                let into = id_of(context, &db, &into, &environment).await?;
                let from = id_of(context, &db, &from, &environment).await?;
                let command = Command::Merge { into, from, keep };
                carry_out(context, &db, &environment, command, output).await
            }
            Self::Delete { id, payments, environment, output } => {
                let db = context.db().await?;
                let customer = id_of(context, &db, &id, &environment).await?;
                let erase_payments = payments == Payments::Erase;
                let command = Command::Delete { customer, erase_payments };
                carry_out(context, &db, &environment, command, output).await
            }
        }
    }
}

async fn get(
    context: &Context,
    id: &str,
    environment: &str,
    output: Output,
) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let customer = find(context, &db, id, environment).await?;
    output.thing(&customer, describe);
    Ok(Ending::Clean)
}

/// The customer of an id, or of a user id of the app.
async fn find(context: &Context, db: &Db, id: &str, environment: &str) -> anyhow::Result<Customer> {
    let now = context.clock.now();
    let found = if let Ok(id) = id.parse::<CustomerId>() {
        let mut tx = db.snapshot().await.map_err(store::Error::from)?;
        browse::customer(&mut tx, environment, id, now).await?
    } else {
        let keyring = context.keyring(db).await?;
        let reference = Reference::new(Kind::External, "", id)
            .map_err(|_| anyhow::anyhow!("`{id}` is neither a customer's id nor a user id"))?;
        let reference = keyring.reference_id(environment, &reference);
        let mut tx = db.snapshot().await.map_err(store::Error::from)?;
        browse::lookup(&mut tx, environment, &[reference], now).await?
    };
    match found {
        Found::Here(customer) => Ok(customer),
        Found::Deleted => anyhow::bail!("{id} is deleted"),
        Found::Nothing => {
            anyhow::bail!("there is no customer {id} in the environment {environment}")
        }
    }
}

async fn id_of(
    context: &Context,
    db: &Db,
    id: &str,
    environment: &str,
) -> anyhow::Result<CustomerId> {
    Ok(find(context, db, id, environment).await?.id)
}

/// What the API does, too: the same rules, and the same webhooks, which the daemon sends.
async fn carry_out(
    context: &Context,
    db: &Db,
    environment: &str,
    command: Command,
    output: Output,
) -> anyhow::Result<Ending> {
    let pipeline = context.pipeline(db).await?;
    match pipeline.carry_out(&environment.into(), &command, None).await? {
        Carried::Out(Outcome::Customer(customer, _)) => output.thing(&*customer, describe),
        Carried::Out(Outcome::Deleted(customer)) => {
            output.thing(&*customer, |customer| format!("{} is deleted", customer.id));
        }
        Carried::Refused(refused) => return Err(refused.into()),
        // Links, and keys of requests, come by the API alone.
        Carried::Out(Outcome::Payment(_)) | Carried::Known(_) => {}
    }
    Ok(Ending::Clean)
}

async fn list(
    context: &Context,
    environment: &str,
    filter: &CustomerFilter,
    page: Page<CustomerId>,
    output: Output,
) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.snapshot().await.map_err(store::Error::from)?;
    let slice = browse::customers(&mut tx, environment, filter, page, context.clock.now()).await?;
    let slice = slice
        .ok_or_else(|| anyhow::anyhow!("--starting-after names no customer of {environment}"))?;
    let heads =
        ["ID", "EXTERNAL ID", "NAME", "EMAIL", "NET SPENT", "CURRENCY", "PAYMENTS", "SUBSCRIPTION"];
    output.list(&slice.items, slice.has_more, heads, |customer| {
        [
            customer.id.to_string(),
            or_dash(customer.person.external_id.as_ref()),
            or_dash(customer.person.name.as_ref()),
            or_dash(customer.person.email.as_ref()),
            thousands(customer.net_spent),
            or_dash(customer.primary_currency),
            customer.payment_count.to_string(),
            subscription(customer),
        ]
    });
    Ok(Ending::Clean)
}

fn subscription(customer: &Customer) -> String {
    match serde_json::to_value(customer.subscription_status) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "-".into(),
    }
}

async fn top(
    context: &Context,
    environment: &str,
    ranking: Ranking,
    output: Output,
) -> anyhow::Result<Ending> {
    let db = context.db().await?;
    let mut tx = db.snapshot().await.map_err(store::Error::from)?;
    let ranked = browse::top::top(&mut tx, environment, &ranking, context.clock.now()).await?;
    let heads = ["RANK", "ID", "EXTERNAL ID", "NAME", "EMAIL", "VALUE", "CURRENCY"];
    output.list(&ranked, false, heads, |ranked| {
        let customer = &ranked.customer;
        [
            ranked.rank.to_string(),
            customer.id.to_string(),
            or_dash(customer.person.external_id.as_ref()),
            or_dash(customer.person.name.as_ref()),
            or_dash(customer.person.email.as_ref()),
            thousands(ranked.value),
            ranking.currency.to_string(),
        ]
    });
    Ok(Ending::Clean)
}

/// Money in minor units, as everywhere.
fn describe(customer: &Customer) -> String {
    let identities: Vec<_> = customer
        .person
        .identities
        .iter()
        .map(|known| format!("{}:{}", known.provider, known.uid))
        .collect();
    let mut text = output::fields(&[
        ("id", customer.id.to_string()),
        ("environment", customer.environment.to_string()),
        ("external id", or_dash(customer.person.external_id.as_ref())),
        ("name", or_dash(customer.person.name.as_ref())),
        ("email", or_dash(customer.person.email.as_ref())),
        ("phone", or_dash(customer.person.phone.as_ref())),
        ("tags", customer.person.tags.join(", ")),
        ("identities", identities.join(", ")),
        ("anonymous", customer.person.is_anonymous.to_string()),
        ("subscription", subscription(customer)),
        ("payments", customer.payment_count.to_string()),
        ("first payment", or_dash(customer.first_payment_at.map(Timestamp::to_millis_text))),
        ("last payment", or_dash(customer.last_payment_at.map(Timestamp::to_millis_text))),
        ("version", customer.version.to_string()),
        ("created", customer.created_at.to_millis_text()),
        ("updated", customer.updated_at.to_millis_text()),
    ]);
    if !customer.spend.is_empty() {
        let rows = customer.spend.iter().map(|line| {
            [
                line.currency.to_string(),
                thousands(line.total_spent),
                thousands(line.total_refunded),
                thousands(line.total_disputed_lost),
                thousands(line.net_spent),
                line.payment_count.to_string(),
            ]
        });
        let heads = ["CURRENCY", "SPENT", "REFUNDED", "DISPUTES LOST", "NET", "PAYMENTS"];
        text = format!("{text}\n\n{}", output::table(heads, rows.collect()));
    }
    text
}
