//! One, many, and pages of them.

use super::{ALL, Api, Bias, NULL, Reevit, Revstack, at, each, id, names, said};
use crate::support::services::on_both;
use chrono::TimeDelta;
use serde_json::{Value, json};

#[tokio::test]
async fn row_25_get_one() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in ALL {
            let made = api.create(dialect, &dialect.person(&format!("{dialect:?}"))).await;
            assert_eq!(api.read(dialect, &at(&made)).await, made);
            for none in ["/cus_00000000000000000000000000", "/usr_not_exists", "/nonsense"] {
                let answer = api.call(dialect, "GET", none, &NULL).await;
                assert_eq!(answer.status, 404, "{dialect:?} {none}");
            }
        }
        api.stop().await;
    })
    .await;
}

impl Api {
    /// Customers `0`, `1`, … a minute apart; their ids in that order.
    async fn several(&self, many: u32) -> Vec<Value> {
        let mut ids = Vec::new();
        for n in 0..many {
            let new = json!({"external_id": n.to_string(), "name": format!("Customer {n}")});
            ids.push(self.create(Reevit, &new).await["id"].clone());
            self.clock.advance(TimeDelta::minutes(1));
        }
        ids
    }
}

#[tokio::test]
async fn row_26_lists_by_offset_with_data_total_and_has_more() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let mut ids = api.several(102).await;
        ids.reverse();
        let unless_told = api.read(Revstack, "").await;
        assert_eq!(unless_told["data"].as_array().map(Vec::len), Some(100));
        let counted = (&unless_told["total"], &unless_told["hasMore"]);
        assert_eq!(counted, (&json!(102), &json!(true)));
        let page = api.read(Revstack, "?limit=2&offset=100").await;
        assert_eq!((&page["total"], &page["hasMore"]), (&json!(102), &json!(false)));
        let unlike: Vec<String> = each(&page, "data", "id").iter().map(bare).collect();
        assert_eq!(unlike, ids[100..].iter().map(bare).collect::<Vec<_>>());

        let unless_told = api.read(Reevit, "").await;
        assert_eq!(each(&unless_told, "customers", "id"), ids[..50]);
        let page = api.read(Reevit, "?limit=3&offset=7").await;
        assert_eq!(each(&page, "customers", "id"), ids[7..10]);
        assert_eq!(page["total"], 102);
        for wrong in ["?limit=0", "?limit=1001", "?offset=-1", "?starting_after=x", "?page=2"] {
            for dialect in [Revstack, Reevit] {
                let refused = api.call(dialect, "GET", wrong, &NULL).await;
                assert_eq!(refused.status, 400, "{dialect:?} {wrong}");
            }
        }
        api.stop().await;
    })
    .await;
}

/// An id without its prefix.
fn bare(id: &Value) -> String {
    id.as_str().and_then(|id| id.split_once('_')).expect("an id").1.to_owned()
}

#[tokio::test]
async fn row_27_lists_by_cursor() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let mut ids = api.several(7).await;
        ids.reverse();
        let mut seen = Vec::new();
        let mut next = Some("?limit=3".to_owned());
        while let Some(rest) = next {
            let page = api.read(Bias, &rest).await;
            let items = each(&page, "items", "id");
            let last = items.last().and_then(Value::as_str).expect("a page is not empty");
            next = page["has_more"]
                .as_bool()
                .expect("a boolean")
                .then(|| format!("?limit=3&starting_after={last}"));
            seen.extend(items.clone());
            // Who comes meanwhile moves nothing.
            api.create(Bias, &json!({})).await;
        }
        assert_eq!(seen, ids);
        let before =
            |n: usize| format!("?limit=2&ending_before={}", ids[n].as_str().expect("text"));
        assert_eq!(each(&api.read(Bias, &before(4)).await, "items", "id"), ids[2..4]);
        let none = "cus_00000000000000000000000000";
        for (wrong, param) in [
            ("?limit=0".to_owned(), "limit"),
            ("?limit=1001".to_owned(), "limit"),
            (format!("?starting_after={none}"), "starting_after"),
            (format!("?starting_after={none}&ending_before={none}"), "ending_before"),
            ("?offset=1".to_owned(), "offset"),
        ] {
            let refused = said(&api.call(Bias, "GET", &wrong, &NULL).await, 400);
            assert_eq!(refused["error"]["param"], param, "{wrong}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_28_filters_with_and_and_or() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let ids = api.several(4).await;
        let first = api.clock.now().micros() / 1_000 - 4 * 60_000;
        let found = async |filters: Value| {
            let filters: String =
                url::form_urlencoded::byte_serialize(filters.to_string().as_bytes()).collect();
            let mut found = each(&api.read(Bias, &format!("?filters={filters}")).await, "items", "id");
            found.reverse();
            found
        };
        let minute = |n: i64| first + n * 60_000;
        for (filters, expected) in [
            (json!({"name": "customer 2"}), vec![2]),
            (json!({"name": {"contains": "CUSTOMER"}}), vec![0, 1, 2, 3]),
            (json!({"name": {"eq": "customer 2", "case_sensitive": true}}), vec![]),
            (json!({"name": {"or": ["Customer 0", {"ends_with": "3"}]}}), vec![0, 3]),
            (json!({"or": [{"name": "Customer 1"}, {"created_at": {"lt": minute(1)}}]}), vec![0, 1]),
            (json!({"and": [{"created_at": {"gt": minute(0)}}, {"created_at": {"lte": minute(2)}}]}),
                vec![1, 2]),
            (json!({"created_at": minute(3)}), vec![3]),
            (json!({"created_at": {"gte": minute(1)}, "name": {"starts_with": "Cust"}}), vec![1, 2, 3]),
            (json!({"email": {"exists": false}}), vec![0, 1, 2, 3]),
        ] {
            let expected: Vec<Value> = expected.into_iter().map(|n: usize| ids[n].clone()).collect();
            assert_eq!(found(filters.clone()).await, expected, "{filters}");
        }
        for (filters, param) in [
            (r#"{"balance":{"gt":0}}"#, "filters.balance"),
            (r#"{"created_at":"2026-01-01T00:00:00Z"}"#, "filters.created_at"),
            (r#"{"name":{"like":"x"}}"#, "filters.name.like"),
            ("[]", "filters"),
        ] {
            let text: String = url::form_urlencoded::byte_serialize(filters.as_bytes()).collect();
            let refused = api.call(Bias, "GET", &format!("?filters={text}"), &NULL).await;
            assert_eq!(said(&refused, 400)["error"]["param"], param, "{filters}");
        }
        // Reevit's are flat.
        let found = api.read(Reevit, "?search=customer%202").await;
        assert_eq!(each(&found, "customers", "id"), [ids[2].clone()]);
        for (wrong, param) in [
            ("?sort_by=risk_score", "sort_by"),
            ("?sort_desc=false", "sort_desc"),
            ("?sort_order=asc", "sort_order"),
            ("?activity_status=new", "activity_status"),
            ("?min_spend=much", "min_spend"),
        ] {
            let refused = said(&api.call(Reevit, "GET", wrong, &NULL).await, 400);
            assert_eq!(refused["details"]["param"], param);
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_29_the_envelope_of_a_list() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.several(1).await;
        for (dialect, expected) in [
            (Revstack, ["data", "hasMore", "total"].as_slice()),
            (Reevit, &["customers", "total"]),
            (Bias, &["has_more", "items", "object"]),
        ] {
            let list = api.read(dialect, "").await;
            assert_eq!(names(&list), expected);
            assert_eq!(each(&list, dialect.items(), "id").len(), 1);
        }
        let own = api.get("/v1/customers").await.ok();
        assert_eq!(names(&own), ["data", "has_more", "next_cursor", "object"]);
        let id = id(&own["data"][0]).to_owned();
        assert!(id.starts_with("cus_"), "{id}");
        api.stop().await;
    })
    .await;
}
