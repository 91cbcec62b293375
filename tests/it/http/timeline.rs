//! What became of a customer, in one list.

use super::Api;
use crate::{
    pipeline::{event, paid, pipeline, recorded},
    support::services::on_both,
};
use serde_json::{Value, json};

#[tokio::test]
async fn payments_subscriptions_changes_and_merges_stand_in_one_list_newest_first() {
    on_both(async |database| {
        let guest = json!([{"provider": "shop", "uid": "guest_1", "kind": "payment"}]);
        let visit = json!({"id": "p1", "amount": 800, "currency": "USD", "status": "succeeded"});
        let joined = json!({"external_id": "ada", "identities": guest, "customer": {"phone": "+15555550100"}});
        let subscription = json!({"id": "s1", "status": "active"});
        for said in [
            event(1, "payment.recorded", &json!({"identities": guest, "payment": visit})),
            recorded(2, "ada", "Ada"),
            paid(3, "ada", "p2", 500),
            event(4, "customer.recorded", &joined),
            event(5, "subscription.recorded", &json!({"external_id": "ada", "subscription": subscription})),
            recorded(6, "bob", "Bob"),
            paid(7, "bob", "p3", 5),
        ] {
            pipeline(&database.db).process(&[said]).await.expect("it commits");
        }
        let api = Api::start(&database).await;
        let ada = api.get("/v1/customers?external_id=ada").await.listed("id")[0].clone();
        let path = format!("/v1/customers/{}/timeline", ada.as_str().expect("an id"));
        let list = api.get(&path).await.ok();
        let entries = list["data"].as_array().expect("entries").clone();
        let kinds: Vec<&str> = entries.iter().filter_map(|entry| entry["type"].as_str()).collect();
        // The subscription stands where we first heard of it, which is now; two things were said in the fourth second.
        assert_eq!(kinds[0], "subscription");
        let mut middle = kinds[1..3].to_vec();
        middle.sort_unstable();
        assert_eq!(middle, ["merge", "profile"]);
        assert_eq!(kinds[3], "payment");
        assert!(kinds[4..].contains(&"profile") && kinds.last() == Some(&"payment"), "{kinds:?}");
        assert_eq!(entries[0]["subscription"]["subscription_id"], "s1");
        assert_eq!(entries[3]["payment"]["payment_id"], "p2");
        assert_eq!(entries[3]["at"], "2026-01-01T00:00:03.000Z");
        let of = |kind: &str| entries.iter().find(|entry| entry["type"] == kind).expect("one").clone();
        let merge = of("merge");
        assert_eq!((&merge["merge"]["source"], &merge["merge"]["event_id"]), (&json!("app"), &json!("e4")));
        let gone = merge["merge"]["customer_id"].as_str().expect("an id").to_owned();
        assert_ne!(gone, ada);
        assert_eq!(api.get(&format!("/v1/customers/{gone}/timeline")).await.ok(), list);
        let phone = of("profile");
        assert_eq!(phone["profile"]["fields"]["phone"], "+15555550100");
        assert_eq!(phone["at"], "2026-01-01T00:00:04.000Z");

        let mut seen: Vec<Value> = Vec::new();
        let mut next = Some(format!("{path}?limit=2"));
        while let Some(page) = next {
            let page = api.get(&page).await.ok();
            seen.extend(page["data"].as_array().expect("entries").clone());
            let cursor = page["next_cursor"].as_str();
            assert_eq!(page["has_more"], cursor.is_some());
            next = cursor.map(|cursor| format!("{path}?limit=2&starting_after={cursor}"));
        }
        assert_eq!(seen, entries);
        for (query, param) in
            [("starting_after=x", "starting_after"), ("limit=0", "limit"), ("offset=1", "offset")]
        {
            let (status, _, named) = api.get(&format!("{path}?{query}")).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(param)), "{query}");
        }
        let elsewhere = api.get_as(&api.other, &path).await;
        assert_eq!(elsewhere.refused(404), "customer_not_found");
        api.stop().await;
    })
    .await;
}
