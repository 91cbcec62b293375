//! `customer get|list`.

use super::{
    Context, Ending,
    output::{self, Output, or_dash, thousands},
};
use crate::{
    model::{
        customer::Customer,
        id::CustomerId,
        reference::{Kind, Reference},
        time::Timestamp,
    },
    store::{
        self,
        browse::{self, CustomerFilter, Found, Page, Position},
    },
};
use clap::Subcommand;

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
}

impl CustomerCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        match self {
            Self::Get { id, environment, output } => get(context, &id, &environment, output).await,
            Self::List { environment, email, external_id, limit, starting_after, output } => {
                let filter = CustomerFilter { external_id, email };
                let position = starting_after.map_or(Position::Offset(0), Position::After);
                list(context, &environment, &filter, Page { position, limit }, output).await
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
    let now = context.clock.now();
    let found = if let Ok(id) = id.parse::<CustomerId>() {
        let mut tx = db.snapshot().await.map_err(store::Error::from)?;
        browse::customer(&mut tx, environment, id, now).await?
    } else {
        let keyring = context.keyring(&db).await?;
        let reference = Reference::new(Kind::External, "", id)
            .map_err(|_| anyhow::anyhow!("`{id}` is neither a customer's id nor a user id"))?;
        let reference = keyring.reference_id(environment, &reference);
        let mut tx = db.snapshot().await.map_err(store::Error::from)?;
        browse::lookup(&mut tx, environment, &[reference], now).await?
    };
    match found {
        Found::Here(customer) => {
            output.thing(&customer, describe);
            Ok(Ending::Clean)
        }
        Found::Deleted => anyhow::bail!("{id} is deleted"),
        Found::Nothing => {
            anyhow::bail!("there is no customer {id} in the environment {environment}")
        }
    }
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
