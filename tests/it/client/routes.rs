//! Every route, and what is read of it held against what was written.

use super::Rig;
use crate::support::{services::on_both, wait::eventually};
use customer_sync::{
    client::{AtDeletion, CustomerQuery, Details, Error, Field, Name, Sort, TopQuery},
    model::{
        answer::List,
        customer::{BestSubscription, Customer},
        metadata::Scalar,
        payment::Payment,
        ranking::{Metric, Period},
        reference::Kind,
        subscription::SubscriptionStatus,
        timeline::What,
    },
};
use futures_util::TryStreamExt as _;
use serde_json::json;

fn code(error: &Error) -> Option<&str> {
    error.code()
}

#[tokio::test]
async fn customers_are_made_changed_and_found_by_the_client() {
    on_both(async |database| {
        let rig = Rig::new(database).await;
        let client = rig.client();
        let said = Details::new()
            .external_id("user-42")
            .name("Ada Lovelace")
            .email("ada@example.org")
            .email_verified(true)
            .phone("+15555550100")
            .tags(["beta", "vip"])
            .metadata("seats", 3)
            .metadata("plan", "pro")
            .is_anonymous(false);
        let ada = client.customers().create(&said).await.expect("made");
        assert_eq!(ada.person.metadata.get("seats"), Some(&Scalar::from(3)));
        assert_eq!(ada.person.tags, ["beta", "vip"]);
        rig.is_whole(&format!("/v1/customers/{}", ada.id), &ada).await;

        let taken = client.customers().create(&said).await.expect_err("taken");
        let refusal = taken.refusal().expect("the API said so");
        assert_eq!((refusal.status, refusal.code.as_str()), (409, "external_id_taken"));
        assert_eq!(refusal.kind, "conflict_error");
        assert_eq!(refusal.param.as_deref(), Some("external_id"));
        assert_eq!(refusal.details, Some(json!({"customer_id": ada.id})));
        assert!(taken.to_string().contains(&refusal.request_id), "{taken}");

        let changed = Details::new().clear(Field::Phone).without_metadata("plan").name("Ada L.");
        let changed = client.customers().update(ada.id, &changed).await.expect("changed");
        assert_eq!((changed.person.phone, changed.person.metadata.len()), (None, 1));
        let identity =
            Details::new().external_id("user-42").identity("clerk", "user/2 f?").kind(Kind::Auth);
        let known = client.customers().identify(&identity).await.expect("known");
        assert_eq!((known.id, known.person.identities.len()), (ada.id, 1));
        for name in [Name::external_id("user-42"), Name::identity("clerk", "user/2 f?")] {
            let found = client.customers().lookup(&name).await.expect("found");
            assert_eq!(found.id, ada.id, "{name:?}");
        }
        let nobody = client.customers().lookup(&Name::external_id("nobody")).await;
        assert_eq!(nobody.as_ref().map_err(code), Err(Some("customer_not_found")));

        let provenance = client.customers().provenance(ada.id).await.expect("provenance");
        let name = provenance.fields.iter().find(|field| field.field == "name").expect("a name");
        assert_eq!((name.authority.as_deref(), name.source.as_str()), (Some("app"), "api"));
        rig.is_whole(&format!("/v1/customers/{}/provenance", ada.id), &provenance).await;

        let detached = client.customers().detach(ada.id, "clerk", "user/2 f?").await;
        assert_eq!(detached.expect("detached").person.identities, []);
        let other = Details::new().external_id("user-43");
        let other = client.customers().create(&other).await.expect("made");
        let undecided = client.customers().merge(ada.id, other.id, None).await;
        assert_eq!(undecided.as_ref().map_err(code), Err(Some("external_ids_differ")));
        let merged = client.customers().merge(ada.id, other.id, Some("user-42")).await;
        assert_eq!(merged.expect("merged").id, ada.id);
        assert_eq!(client.customers().get(other.id).await.expect("absorbed").id, ada.id);

        let gone = client.customers().delete(ada.id, AtDeletion::ErasePayments).await;
        assert!(gone.expect("deleted").deleted);
        let gone = client.customers().get(ada.id).await;
        assert_eq!(gone.as_ref().map_err(code), Err(Some("customer_deleted")));
        assert!(rig.daemon.stop().await.success());
    })
    .await;
}

#[tokio::test]
async fn lists_are_read_to_their_end_whatever_the_size_of_a_page() {
    on_both(async |database| {
        let rig = Rig::new(database).await;
        let client = rig.client();
        let mut made = Vec::new();
        for n in 0..7 {
            let details = Details::new().external_id(format!("user-{n}"));
            let details = details.tags(if n % 2 == 0 { vec!["even", "all"] } else { vec!["all"] });
            made.push(client.customers().create(&details).await.expect("made").id);
        }
        made.reverse();
        for limit in [1, 3, 7, 100] {
            let query = CustomerQuery::new().limit(limit).sort_by(Sort::CreatedAt);
            let listed: Vec<Customer> =
                client.customers().list(&query).items().try_collect().await.expect("listed");
            let ids: Vec<_> = listed.iter().map(|customer| customer.id).collect();
            assert_eq!(ids, made, "by {limit}");
        }
        let query = CustomerQuery::new().tag("even").tag("all").limit(2).include_total();
        let mut pages = client.customers().list(&query);
        let first: List<Customer> = pages.next_page().await.expect("a page").expect("there is one");
        assert_eq!((first.data.len(), first.has_more), (2, true));
        assert_eq!((first.total, first.total_capped), (Some(4), Some(false)));
        rig.is_whole("/v1/customers?tags=even,all&limit=2&include_total=true", &first).await;
        assert_eq!(pages.next_page().await.expect("a page").expect("the last").data.len(), 2);
        assert!(pages.next_page().await.expect("an end").is_none());
        let filters = json!({"external_id": {"eq": "user-3"}});
        let query = CustomerQuery::new().filters(&filters);
        let found: Vec<Customer> =
            client.customers().list(&query).items().try_collect().await.expect("listed");
        assert_eq!(found.len(), 1);
        let wrong = client.customers().list(&CustomerQuery::new().limit(0)).next_page().await;
        let wrong = wrong.expect_err("refused");
        let refusal = wrong.refusal().expect("by the API");
        assert_eq!((refusal.status, refusal.param.as_deref()), (400, Some("limit")));
        assert!(rig.daemon.stop().await.success());
    })
    .await;
}

#[tokio::test]
async fn payments_and_all_that_hangs_on_them_are_read_as_they_were_written() {
    on_both(async |database| {
        let rig = Rig::new(database).await;
        let client = rig.client();
        let ada = Details::new().external_id("user-42").name("Ada");
        let ada = client.customers().identify(&ada).await.expect("made");
        for (n, amount) in [500, 700, 900].into_iter().enumerate() {
            rig.pay("user-42", &format!("p{n}"), amount).await;
        }
        let subscription = json!({"external_id": "user-42", "subscription": {"id": "s1",
            "status": "active", "plan": "pro", "current_period_end": "2099-01-01T00:00:00Z"}});
        rig.say("e1", "subscription.recorded", &subscription).await;
        let second = json!({"id": "p0", "amount": 500, "currency": "EUR", "status": "succeeded"});
        rig.say("e2", "payment.recorded", &json!({"payment": second})).await;
        let ada = rig
            .customer(ada.id, |ada| {
                let active = BestSubscription::Status(SubscriptionStatus::Active);
                ada.payment_count == 3 && ada.subscription_status == active
            })
            .await;
        assert_eq!(ada.net_spent, 2_100);
        let path = format!("/v1/customers/{}", ada.id);

        let mut pages = client.customers().payments(ada.id);
        let payments = pages.next_page().await.expect("a page").expect("one");
        assert_eq!(payments.data.iter().filter_map(|one| one.amount).sum::<i64>(), 2_100);
        rig.is_whole(&format!("{path}/payments"), &payments).await;
        let one = client.payments().get(payments.data[0].id).await.expect("a payment");
        assert_eq!(one.metadata.get("order"), Some(&Scalar::from(7)));
        rig.is_whole(&format!("/v1/payments/{}", one.id), &one).await;
        let all: Vec<Payment> =
            client.payments().list().items().try_collect().await.expect("listed");
        assert_eq!(all, payments.data);

        let mut pages = client.customers().subscriptions(ada.id);
        let subscriptions = pages.next_page().await.expect("a page").expect("one");
        assert_eq!(subscriptions.data[0].status, SubscriptionStatus::Active);
        rig.is_whole(&format!("{path}/subscriptions"), &subscriptions).await;

        let bob = client.customers().create(&Details::new().name("Bob")).await.expect("made");
        let linked = client.payments().link(one.id, bob.id).await.expect("linked");
        assert_eq!(linked.customer_id, Some(bob.id));
        client.customers().merge(ada.id, bob.id, None).await.expect("merged");

        let mut pages = client.customers().timeline(ada.id);
        let timeline = pages.next_page().await.expect("a page").expect("one");
        let count =
            |is: fn(&What) -> bool| timeline.data.iter().filter(|entry| is(&entry.what)).count();
        assert_eq!(count(|what| matches!(what, What::Payment { .. })), 3);
        assert_eq!(count(|what| matches!(what, What::Subscription { .. })), 1);
        assert_eq!(count(|what| matches!(what, What::Merge { .. })), 1);
        assert!(count(|what| matches!(what, What::Profile { .. })) > 0);
        rig.is_whole(&format!("{path}/timeline"), &timeline).await;

        for (metric, value) in [(Metric::NetSpent, 2_100), (Metric::PaymentCount, 3)] {
            let query = TopQuery {
                metric,
                period: Period::Month,
                limit: Some(5),
                currency: Some("USD".into()),
            };
            let top = client.customers().top(&query).await.expect("a ranking");
            assert_eq!((top.data.len(), top.metric, top.period), (1, metric, Period::Month));
            assert_eq!((top.data[0].rank, top.data[0].value), (1, value));
            assert_eq!(top.data[0].customer.id, ada.id);
        }

        let look = async || {
            let open = client.conflicts().list(Some(false)).next_page().await;
            open.expect("a page").expect("one")
        };
        let open = eventually("the conflict is there", look, |open| !open.data.is_empty()).await;
        assert_eq!(open.data[0].kind, "second_currency");
        rig.is_whole("/v1/conflicts?resolved=false", &open).await;
        let settled = client.conflicts().resolve(open.data[0].id).await.expect("settled");
        assert!(settled.resolved_at.is_some());
        assert!(rig.daemon.stop().await.success());
    })
    .await;
}
