//! What is known of a customer, field by field.

use super::{ALL, Api, Bias, Dialect, Reevit, Revstack, asked, at, id, names, said};
use crate::{pipeline::event, support::services::on_both};
use serde_json::{Value, json};

#[tokio::test]
async fn row_12_the_name() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        // Revstack takes a name and shows none.
        let made =
            api.create(Revstack, &json!({"customerId": "ada", "name": "Ada Lovelace"})).await;
        assert_eq!(made.get("name"), None);
        let path = at(&api.own("ada").await);
        for dialect in [Reevit, Bias] {
            assert_eq!(api.read(dialect, &path).await["name"], "Ada Lovelace");
            let cleared = api.call(dialect, "PATCH", &path, &json!({"name": null})).await.ok();
            assert_eq!(cleared["name"], Value::Null);
            api.call(dialect, "PATCH", &path, &json!({"name": "Ada Lovelace"})).await.ok();
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_13_the_email() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in ALL {
            let mut new = dialect.person(&format!("{dialect:?}"));
            new["email"] = json!("Ada@example.org");
            let made = api.create(dialect, &new).await;
            assert_eq!(made["email"], "Ada@example.org", "as it was written");
            let wrong = api.call(dialect, "PATCH", &at(&made), &json!({"email": "ada"})).await;
            assert!(said(&wrong, 400).to_string().contains("is no e-mail address"));
        }
        // Three customers may have one address; it is found whatever its case.
        let found = api.get("/v1/customers?email=ada@EXAMPLE.org").await;
        assert_eq!(found.listed("email"), ["Ada@example.org"; 3]);
        let filters = "%7B%22email%22%3A%22ada%40example.org%22%7D";
        let found = api.read(Bias, &format!("?filters={filters}")).await;
        assert_eq!(found["items"].as_array().map(Vec::len), Some(3));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_14_the_phone_number_is_e164() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in [Reevit, Bias] {
            let made = api.create(dialect, &json!({"phone": "+233200000000"})).await;
            assert_eq!(made["phone"], "+233200000000");
            let wrong = api.call(dialect, "POST", "", &json!({"phone": "0200000000"})).await;
            let wrong = said(&wrong, 400);
            let param = match dialect {
                Bias => &wrong["error"]["param"],
                _ => &wrong["details"]["param"],
            };
            assert_eq!(param, "phone");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_15_tags() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let new = |user: &str, tags: Value| json!({"external_id": user, "tags": tags});
        let made = api.create(Reevit, &new("ada", json!(["vip", "beta", "vip"]))).await;
        assert_eq!(made["tags"], json!(["vip", "beta"]));
        api.create(Reevit, &new("bob", json!(["beta"]))).await;
        let found = api.read(Reevit, "?tags=beta,vip").await;
        assert_eq!(found["customers"], json!([made]));
        let changed = api.call(Reevit, "PATCH", &at(&made), &json!({"tags": ["gold"]})).await.ok();
        assert_eq!(changed["tags"], json!(["gold"]));
        assert_eq!(api.get("/v1/customers?tags=gold").await.listed("external_id"), ["ada"]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_16_metadata_of_any_keys() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let metadata = json!({"plan": "pro", "seats": 3, "rate": 1.5, "trial": false});
        for dialect in ALL {
            let mut new = dialect.person("ada");
            new["metadata"] = metadata.clone();
            let shown = api.call(dialect, "POST", "", &new).await;
            assert_eq!(said(&shown, 201)["metadata"], metadata);
            let path = at(&shown.json());
            let many: Value = (0..51).map(|n| (format!("k{n}"), json!(n))).collect();
            for wrong in [
                json!({"k": "x".repeat(501)}),
                json!({"k".repeat(41): 1}),
                json!({"k": {"nested": true}}),
                many,
            ] {
                let body = json!({"metadata": wrong});
                let refused = api.call(dialect, "PATCH", &path, &body).await;
                assert_eq!(refused.status, 400, "{dialect:?} {body}");
            }
            assert_eq!(api.read(dialect, &path).await["metadata"], metadata);
            let gone = api.call(dialect, "DELETE", &path, &Value::Null).await;
            assert!(gone.status < 300);
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_17_metadata_merges_on_update() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in ALL {
            let mut new = dialect.person(&format!("{dialect:?}"));
            new["metadata"] = json!({"a": 1, "b": 2});
            let path = at(&api.create(dialect, &new).await);
            let change = json!({"metadata": {"b": null, "c": "three"}});
            let changed = api.call(dialect, "PATCH", &path, &change).await.ok();
            assert_eq!(changed["metadata"], json!({"a": 1, "c": "three"}), "{dialect:?}");
            if dialect != Revstack {
                let cleared = json!({"metadata": null});
                let cleared = api.call(dialect, "PATCH", &path, &cleared).await.ok();
                assert_eq!(cleared["metadata"], json!({}));
            }
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_18_an_id_with_a_prefix() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for (dialect, prefix) in [(Revstack, "usr_"), (Reevit, "cus_"), (Bias, "cus_")] {
            let made = api.create(dialect, &dialect.person(prefix)).await;
            let bare = id(&made).strip_prefix(prefix).expect("their prefix");
            // All of them are one id in ours.
            let own = api.get(&format!("/v1/customers/cus_{bare}")).await.ok();
            assert_eq!(own["email"], made["email"]);
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_19_the_literal_object() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let made = api.create(Bias, &Bias.person("ada")).await;
        assert_eq!(made["object"], "customer");
        assert_eq!(
            api.get(&format!("/v1/customers{}", at(&made))).await.ok()["object"],
            "customer"
        );
        assert_eq!(api.read(Bias, "").await["object"], "list");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_20_environment_and_live_flag() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for (key, environment, live) in [(&api.admin, "live", true), (&api.other, "test", false)] {
            for dialect in ALL {
                let body = dialect.person(&format!("{dialect:?}"));
                let made = asked(key, dialect, "POST", "/customers", &body);
                let made = said(&made.send(api.address).await, 201);
                match dialect {
                    Revstack => assert_eq!(made["environmentId"], environment),
                    Reevit => assert_eq!(made["mode"], environment),
                    Bias => assert_eq!(made["live"], live),
                }
            }
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_21_when_it_was_created() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let made = async |dialect: Dialect| api.create(dialect, &dialect.person("ada")).await;
        assert_eq!(made(Revstack).await["createdAt"], "2026-03-01T12:00:00.000Z");
        let bias = made(Bias).await;
        assert_eq!(bias["created_at"], 1_772_366_400_000_i64);
        assert_eq!(bias["updated_at"], 1_772_366_400_000_i64);
        let reevit = api.read(Reevit, "/lookup?external_id=ada").await;
        assert_eq!(reevit["created_at"], "2026-03-01T12:00:00.000Z");
        assert_eq!(reevit["updated_at"], "2026-03-01T12:00:00.000Z");
        api.stop().await;
    })
    .await;
}

/// Somebody of whom an auth provider and a payment provider know.
fn known_to_both() -> customer_sync::model::inbound::Raw {
    let identities = json!([{"provider": "clerk", "uid": "user_1", "kind": "auth"},
        {"provider": "stripe", "uid": "cus_9s6", "kind": "payment"}]);
    event(
        1,
        "customer.recorded",
        &json!({"external_id": "ada", "identities": identities, "customer": {}}),
    )
}

#[tokio::test]
async fn row_22_the_auth_providers_uid() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.tell(&[known_to_both()]).await;
        assert_eq!(api.read(Revstack, "/ada").await["providerUid"], "user_1");
        assert_eq!(api.own("ada").await["provider_uid"], "user_1");
        let found = api.get("/v1/customers/lookup?provider=clerk&provider_uid=user_1").await.ok();
        assert_eq!(found["external_id"], "ada");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_23_the_anonymous_flag_falls_when_the_guest_is_known() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let guest = json!({"provider": "firebase", "provider_uid": "anon-1", "is_anonymous": true});
        let guest = said(&api.post("/v1/customers/identify", &guest).await, 201);
        assert_eq!(api.read(Revstack, &at(&guest)).await["isAnonymous"], true);
        let known = json!({"provider": "firebase", "provider_uid": "anon-1", "external_id": "ada"});
        assert_eq!(api.post("/v1/customers/identify", &known).await.ok()["id"], guest["id"]);
        assert_eq!(api.read(Revstack, "/ada").await["isAnonymous"], false);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_24_the_gateways_customer_id() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.tell(&[known_to_both()]).await;
        assert_eq!(api.read(Revstack, "/ada").await["gatewayCustomerId"], "cus_9s6");
        let own = api.own("ada").await;
        assert_eq!(own["gateway_customer_id"], "cus_9s6");
        assert_eq!(own["identities"].as_array().map(Vec::len), Some(2));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_43_every_field_is_optional_and_none_is_made_up() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in [Reevit, Bias] {
            let made = api.create(dialect, &json!({})).await;
            for field in ["name", "email", "phone"] {
                assert_eq!(made.get(field), Some(&Value::Null), "present, and null");
            }
            assert_eq!(made["metadata"], json!({}));
        }
        // Where Revstack has no value it has no field.
        let made = api.create(Revstack, &json!({"customerId": "ada"})).await;
        assert_eq!(names(&made), ["createdAt", "environmentId", "id", "isAnonymous", "metadata"]);
        for dialect in ALL {
            let mut new = dialect.person("eve");
            new["nickname"] = json!("E");
            let refused = said(&api.call(dialect, "POST", "", &new).await, 400);
            assert!(refused.to_string().contains("nickname"), "{refused}");
        }
        assert_eq!(api.count("select count(*) from customers").await, 3);
        api.stop().await;
    })
    .await;
}
