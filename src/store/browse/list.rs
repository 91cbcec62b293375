//! Customers by conditions, in an order, page by page. Its statements are put together from pieces, since a caller
//! chooses their shape; the customers themselves are then read as everywhere.

use super::{
    super::{
        Result, Tx,
        codec::Key,
        statement::{Statement, Value},
    },
    Page, Position, Slice,
    condition::{self, Scope},
    customers::by_ids,
    page::Range,
};
use crate::model::{
    customer::Customer,
    filter::{Condition, Filter, Like, Place, TextField},
    id::CustomerId,
    money::Currency,
    time::Timestamp,
};
use std::time::Duration;

/// How long a list may take that somebody chose the shape of.
const LIMIT: Duration = Duration::from_secs(1);

/// How many are counted exactly.
pub const COUNTED: i64 = 10_000;

/// In which order customers are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    /// Newest first.
    #[default]
    Created,
    /// Who spent most first, less what went back. Those without a payment in the currency are left out, as of the next two.
    NetSpent,
    /// Who spent most first.
    TotalSpent,
    /// Who paid most often first, failed payments too.
    PaymentCount,
}

/// Which customers are listed, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct CustomerFilter {
    /// What must hold.
    pub filter: Filter,
    /// In which order.
    pub sort: Sort,
    /// The currency of money in both.
    pub currency: Currency,
}

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Total {
    /// So many, or more.
    pub count: i64,
    /// Whether there are more.
    pub capped: bool,
}

impl Default for CustomerFilter {
    fn default() -> Self {
        Self { filter: Filter::All(Vec::new()), sort: Sort::default(), currency: Currency::usd() }
    }
}

impl CustomerFilter {
    /// With exactly this external_id, and this address whatever its case, where they are given.
    pub fn named(external_id: Option<String>, email: Option<String>) -> Self {
        let whole = Like { place: Place::Whole, case_sensitive: false };
        let text = |field, text| Filter::Is(Condition::Text(field, whole, text));
        let names = [
            external_id.map(|name| text(TextField::ExternalId, name)),
            email.map(|address| text(TextField::Email, address)),
        ];
        Self { filter: Filter::All(names.into_iter().flatten().collect()), ..Self::default() }
    }

    /// How long it may take: as any statement, where nobody chose its shape.
    fn limit(&self) -> Option<Duration> {
        (!self.filter.is_empty()).then_some(LIMIT)
    }
}

impl Sort {
    /// The column of the customer's totals that it goes by.
    fn column(self) -> Option<&'static str> {
        match self {
            Self::Created => None,
            Self::NetSpent => Some("s.net_spent"),
            Self::TotalSpent => Some("s.total_spent"),
            Self::PaymentCount => Some("s.payment_count"),
        }
    }
}

/// A page of customers, newest first or in the order that is asked for; none where the cursor names none of the
/// environment, or none that has a place in that order.
///
/// # Errors
/// [`super::super::Error::TooBroad`] when it takes too long; else when the database fails.
pub async fn customers(
    tx: &mut Tx,
    environment: &str,
    filter: &CustomerFilter,
    page: Page<CustomerId>,
    now: Timestamp,
) -> Result<Option<Slice<Customer>>> {
    let place = match page.cursor() {
        None => None,
        Some(cursor) => match place(tx, environment, filter, cursor).await? {
            None => return Ok(None),
            place => place,
        },
    };
    let range = page.range(|id| id.0);
    let mut statement = Statement::new(tx.dialect());
    select(&mut statement, environment, filter, page, place, range);
    let ids: Vec<(Key,)> = tx.built(statement, filter.limit()).await?;
    let slice = page.slice(ids);
    let ids: Vec<CustomerId> = slice.items.iter().map(|(key,)| CustomerId(key.0)).collect();
    let mut found = by_ids(tx, environment, &ids, now).await?;
    let items = ids.iter().filter_map(|id| found.remove(id)).collect();
    Ok(Some(Slice { items, has_more: slice.has_more }))
}

/// How many customers there are of a kind, counted up to [`COUNTED`].
///
/// # Errors
/// As [`customers`].
pub async fn count_customers(
    tx: &mut Tx,
    environment: &str,
    filter: &CustomerFilter,
) -> Result<Total> {
    let mut statement = Statement::new(tx.dialect());
    statement.push("select count(*) from (select 1 as one");
    from(&mut statement, environment, filter);
    statement.push(" limit ").value(Value::Number(COUNTED + 1)).push(") as counted");
    let rows: Vec<(i64,)> = tx.built(statement, Some(LIMIT)).await?;
    let count = rows.first().map_or(0, |(count,)| *count);
    Ok(Total { count: count.min(COUNTED), capped: count > COUNTED })
}

/// The statement of a page, by itself: what tests look at.
pub fn statement_of(
    mut statement: Statement,
    environment: &str,
    filter: &CustomerFilter,
    page: Page<CustomerId>,
) -> Statement {
    let place = page.cursor().map(|_| Value::Number(0));
    let range = page.range(|id| id.0);
    select(&mut statement, environment, filter, page, place, range);
    statement
}

/// Where a customer stands in the order, beside its id.
async fn place(
    tx: &mut Tx,
    environment: &str,
    filter: &CustomerFilter,
    cursor: CustomerId,
) -> Result<Option<Value>> {
    let sql = match filter.sort {
        Sort::Created => {
            let created: Option<(Timestamp,)> = tx
                .query("select created_at from customers where id = $1 and environment = $2")
                .bind(cursor)
                .bind(environment.to_owned())
                .maybe()
                .await?;
            return Ok(created.map(|(at,)| Value::Time(at)));
        }
        Sort::NetSpent => {
            "select net_spent from customer_totals
             where customer_id = $1 and environment = $2 and currency = $3 and payment_count > 0"
        }
        Sort::TotalSpent => {
            "select total_spent from customer_totals
             where customer_id = $1 and environment = $2 and currency = $3 and payment_count > 0"
        }
        Sort::PaymentCount => {
            "select payment_count from customer_totals
             where customer_id = $1 and environment = $2 and currency = $3 and payment_count > 0"
        }
    };
    let value: Option<(i64,)> = tx
        .query(sql)
        .bind(cursor)
        .bind(environment.to_owned())
        .bind(String::from(filter.currency))
        .maybe()
        .await?;
    Ok(value.map(|(value,)| Value::Number(value)))
}

fn select(
    statement: &mut Statement,
    environment: &str,
    filter: &CustomerFilter,
    page: Page<CustomerId>,
    place: Option<Value>,
    range: Range,
) {
    let (first, second) = match filter.sort.column() {
        None => ("c.created_at", "c.id"),
        Some(column) => (column, "s.customer_id"),
    };
    statement.push("select c.id");
    from(statement, environment, filter);
    if let (Some(place), Some(cursor)) = (place, page.cursor()) {
        let older = matches!(page.position, Position::After(_));
        statement.push(" and (").push(first).push(", ").push(second);
        statement.push(if older { ") < (" } else { ") > (" });
        statement.value(place).push(", ").value(Value::Customer(cursor)).push(")");
    }
    let direction = if range.ascending { " asc" } else { " desc" };
    statement.push(" order by ").push(first).push(direction);
    statement.push(", ").push(second).push(direction);
    statement.push(" limit ").value(Value::Number(range.fetch));
    statement.push(" offset ").value(Value::Number(range.offset));
}

fn from(statement: &mut Statement, environment: &str, filter: &CustomerFilter) {
    let CustomerFilter { filter, sort, currency } = filter;
    let profiles = " left join customer_profiles p on p.customer_id = c.id";
    match sort {
        Sort::Created => {
            statement.push(" from customers c").push(profiles).push(" where c.environment = ");
            statement.text_value(environment);
        }
        Sort::NetSpent | Sort::TotalSpent | Sort::PaymentCount => {
            statement.push(" from customer_totals s join customers c on c.id = s.customer_id");
            statement.push(profiles).push(" where s.environment = ").text_value(environment);
            statement.push(" and s.currency = ").text_value(*currency);
            statement.push(" and s.payment_count > 0");
        }
    }
    statement.push(" and c.absorbed_into is null and not c.deleted");
    if !filter.is_empty() {
        statement.push(" and ");
        condition::add(statement, filter, Scope { environment, currency: *currency });
    }
}
