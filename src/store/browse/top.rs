//! The customers who paid most, of all time and of a period.

use super::{
    super::{Result, Tx},
    customers::by_ids,
};
use crate::model::{
    id::CustomerId,
    money::Currency,
    ranking::{Metric, Period, Ranked},
    time::Timestamp,
};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ranking {
    /// By what.
    pub metric: Metric,
    /// Of payments in this currency.
    pub currency: Currency,
    /// Over which days.
    pub period: Period,
    /// So many at most.
    pub limit: u32,
}

macro_rules! of_all_time {
    ($metric:literal) => {
        concat!(
            "select customer_id, ",
            $metric,
            " from customer_totals where environment = $1 and currency = $2 and payment_count > 0
             order by ",
            $metric,
            " desc, customer_id desc limit $3"
        )
    };
}

macro_rules! of_a_period {
    ($metric:literal) => {
        concat!(
            "select customer_id, cast(sum(",
            $metric,
            ") as bigint) as value from customer_days
             where environment = $1 and currency = $2 and day >= $4 and customer_id is not null
                 and payment_count > 0
             group by customer_id order by value desc, customer_id desc limit $3"
        )
    };
}

/// The customers of a ranking, the first of them first. Those without a payment in it are left out.
///
/// # Errors
/// When the database fails.
pub async fn top(
    tx: &mut Tx,
    environment: &str,
    ranking: &Ranking,
    now: Timestamp,
) -> Result<Vec<Ranked>> {
    let first_day = ranking.period.first_day(now);
    let sql = match (ranking.metric, first_day.is_some()) {
        (Metric::NetSpent, false) => of_all_time!("net_spent"),
        (Metric::TotalSpent, false) => of_all_time!("total_spent"),
        (Metric::PaymentCount, false) => of_all_time!("payment_count"),
        (Metric::NetSpent, true) => of_a_period!("net_spent"),
        (Metric::TotalSpent, true) => of_a_period!("total_spent"),
        (Metric::PaymentCount, true) => of_a_period!("payment_count"),
    };
    let mut query = tx
        .query(sql)
        .bind(environment.to_owned())
        .bind(String::from(ranking.currency))
        .bind(i64::from(ranking.limit));
    if let Some(day) = first_day {
        query = query.bind(day);
    }
    let ranked: Vec<(CustomerId, i64)> = query.all().await?;
    let ids: Vec<CustomerId> = ranked.iter().map(|(id, _)| *id).collect();
    let mut customers = by_ids(tx, environment, &ids, now).await?;
    let place = |(place, (id, value)): (usize, (CustomerId, i64))| {
        Some(Ranked { rank: place.saturating_add(1), value, customer: customers.remove(&id)? })
    };
    Ok(ranked.into_iter().enumerate().filter_map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_begins_with_a_whole_day_and_includes_today() {
        let now = Timestamp::parse("2026-03-01T23:59:59Z").expect("a time");
        assert_eq!(Period::Week.first_day(now).as_deref(), Some("2026-02-23"));
        assert_eq!(Period::Month.first_day(now).as_deref(), Some("2026-01-31"));
        assert_eq!(Period::Quarter.first_day(now).as_deref(), Some("2025-12-02"));
        assert_eq!(Period::All.first_day(now), None);
    }
}
