//! Many requests of all kinds at once, none of which fails. The load harness makes 10,000 of them (docs/performance.md).

use super::Rig;
use crate::support::services::on_both;
use customer_sync::client::CustomerQuery;

#[path = "../../../benches/load/mix.rs"]
mod mix;

/// Connections, and what they ask for in all.
const CONNECTIONS: usize = 64;
const REQUESTS: usize = 1_280;

#[tokio::test]
async fn mixed_requests_from_64_connections_all_succeed() {
    on_both(async |database| {
        let rig = Rig::new(database).await;
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| rig.client().with_retries(0)).collect();
        let took = mix::run(&clients, REQUESTS).await.expect("none fails");
        assert_eq!(took.len(), REQUESTS);
        let query = CustomerQuery::new().search("shared-").include_total();
        let shared = rig.client().customers().list(&query).next_page().await;
        let shared = shared.expect("a page").expect("one").total;
        assert!(shared > Some(10), "connections met on the same customers: {shared:?}");
        let doctor = rig.stage.world.run(&["doctor"]).await;
        assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
        assert!(rig.daemon.stop().await.success());
    })
    .await;
}
