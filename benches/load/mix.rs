//! Requests of all kinds at once, as apps make them: reads of each route, and writes that meet on the same customers.
//! Shared with the tests, which run less of it.

use anyhow::{Context as _, ensure};
use customer_sync::{
    client::{AtDeletion, Client, CustomerQuery, Details, Error, Name, TopQuery},
    model::id::CustomerId,
};
use futures_util::future::try_join_all;
use std::time::{Duration, Instant};

/// External ids that all connections write to.
const SHARED: usize = 50;

/// What a connection does, one after the other, from a place of its own.
const TURNS: [&str; 20] = [
    "get",
    "get",
    "identify",
    "get",
    "list",
    "lookup",
    "update",
    "get",
    "timeline",
    "create",
    "get",
    "payments",
    "search",
    "identify",
    "get",
    "top",
    "provenance",
    "get",
    "delete",
    "lookup",
];

/// How long one request took, and what it was.
pub(crate) type Took = (&'static str, Duration);

/// Makes so many requests in all, each client one at a time.
///
/// # Errors
/// When one of them fails: none may.
pub(crate) async fn run(clients: &[Client], requests: usize) -> anyhow::Result<Vec<Took>> {
    let each = requests.div_ceil(clients.len().max(1));
    let workers = clients.iter().enumerate();
    let all = try_join_all(workers.map(|(number, client)| work(client, number, each))).await?;
    let all: Vec<Took> = all.into_iter().flatten().collect();
    ensure!(all.len() >= requests, "{} requests were made", all.len());
    Ok(all)
}

/// One connection's requests.
async fn work(client: &Client, number: usize, requests: usize) -> anyhow::Result<Vec<Took>> {
    let mut own: Vec<(CustomerId, String)> = Vec::new();
    let mut took = Vec::with_capacity(requests);
    for request in 0..requests {
        let turn = TURNS.get((number * 7 + request) % TURNS.len()).copied().unwrap_or("get");
        let is_first = own.is_empty() || (turn == "delete" && own.len() < 2);
        let turn = if is_first { "create" } else { turn };
        let begun = Instant::now();
        let made = one(client, turn, &mut own, (number, request)).await;
        made.with_context(|| format!("{turn}, request {request} of connection {number}"))?;
        took.push((turn, begun.elapsed()));
    }
    Ok(took)
}

async fn one(
    client: &Client,
    turn: &str,
    own: &mut Vec<(CustomerId, String)>,
    (number, request): (usize, usize),
) -> Result<(), Error> {
    let customers = client.customers();
    let Some((id, name)) = own.get(request % own.len().max(1)).cloned() else {
        return create(client, own, (number, request)).await;
    };
    match turn {
        "create" => create(client, own, (number, request)).await?,
        "identify" => {
            let shared = format!("shared-{}", (number + request) % SHARED);
            let said = Details::new().external_id(shared).name(format!("Somebody {number}"));
            customers.identify(&said.metadata(format!("by-{}", number % 40), true)).await?;
        }
        "update" => {
            let said = Details::new().name(format!("Ada {request}")).tags(["bench"]);
            customers.update(id, &said).await?;
        }
        "delete" => {
            own.retain(|(known, _)| *known != id);
            customers.delete(id, AtDeletion::ErasePayments).await?;
        }
        "lookup" => drop(customers.lookup(&Name::external_id(name)).await?),
        "list" => drop(customers.list(&CustomerQuery::new().limit(20)).next_page().await?),
        "search" => {
            drop(customers.list(&CustomerQuery::new().external_id(name)).next_page().await?);
        }
        "payments" => drop(customers.payments(id).next_page().await?),
        "timeline" => drop(customers.timeline(id).next_page().await?),
        "provenance" => drop(customers.provenance(id).await?),
        "top" => drop(customers.top(&TopQuery::default()).await?),
        _ => drop(customers.get(id).await?),
    }
    Ok(())
}

async fn create(
    client: &Client,
    own: &mut Vec<(CustomerId, String)>,
    (number, request): (usize, usize),
) -> Result<(), Error> {
    let name = format!("own-{number}-{request}");
    let said = Details::new().external_id(name.clone()).email(format!("{name}@example.org"));
    let made = client.customers().create(&said.metadata("plan", "pro")).await?;
    own.push((made.id, name));
    Ok(())
}
