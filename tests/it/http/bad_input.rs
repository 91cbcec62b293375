//! Input that cannot be used, row by row: each is refused with the contract's error, which names what is wrong, and
//! nothing is half done.

use super::{Answer, Api, Request};
use crate::{pipeline::paid, support::services::on_both};
use serde_json::{Value, json};

const INVALID: &str = "invalid_parameter";
const UNKNOWN: &str = "unknown_parameter";
const FILTER: &str = "invalid_filter";

/// No id of anything.
const NONE: &str = "00000000000000000000000000";

/// What is refused, the parameter that is named, and the code.
type Row<T> = (T, &'static str, &'static str);

/// Fields that create, update and identify refuse alike.
fn fields() -> Vec<Row<Value>> {
    let many = |n: usize| (0..n).map(|n| (format!("k{n}"), json!(n))).collect::<Value>();
    vec![
        // Unknown.
        (json!({"nickname": "A"}), "nickname", UNKNOWN),
        (json!({"id": "cus_1"}), "id", UNKNOWN),
        (json!({"total_spent": 500}), "total_spent", UNKNOWN),
        (json!({"Name": "Ada"}), "Name", UNKNOWN),
        // Of a wrong type.
        (json!({"name": 7}), "name", INVALID),
        (json!({"name": ["Ada"]}), "name", INVALID),
        (json!({"email": ["ada@example.org"]}), "email", INVALID),
        (json!({"email_verified": "yes"}), "email_verified", INVALID),
        (json!({"email_verified": null}), "email_verified", INVALID),
        (json!({"phone": 15_555_550_100_u64}), "phone", INVALID),
        (json!({"tags": "vip"}), "tags", INVALID),
        (json!({"tags": {"vip": true}}), "tags", INVALID),
        (json!({"tags": ["ok", 7]}), "tags[1]", INVALID),
        (json!({"metadata": []}), "metadata", INVALID),
        (json!({"metadata": "plan=pro"}), "metadata", INVALID),
        (json!({"is_anonymous": "no"}), "is_anonymous", INVALID),
        (json!({"external_id": 42}), "external_id", INVALID),
        // Nested where nothing may be.
        (json!({"name": {"first": "Ada"}}), "name", INVALID),
        (json!({"metadata": {"k": {}}}), "metadata.k", INVALID),
        (json!({"metadata": {"k": [1]}}), "metadata.k", INVALID),
        (json!({"metadata": {"k": {"k": {"k": 1}}}}), "metadata.k", INVALID),
        // Not of its shape.
        (json!({"email": "ada"}), "email", INVALID),
        (json!({"phone": "5555550100"}), "phone", INVALID),
        (json!({"phone": "+0123456789"}), "phone", INVALID),
        (json!({"phone": "+1234567890123456"}), "phone", INVALID),
        (json!({"phone": "+1 555 CALL NOW"}), "phone", INVALID),
        // Empty.
        (json!({"name": ""}), "name", INVALID),
        (json!({"name": "  "}), "name", INVALID),
        (json!({"tags": ["ok", ""]}), "tags[1]", INVALID),
        (json!({"metadata": {"": 1}}), "metadata.", INVALID),
        (json!({"external_id": ""}), "external_id", INVALID),
        // Over its limit.
        (json!({"name": "x".repeat(201)}), "name", INVALID),
        (json!({"email": format!("{}@example.org", "x".repeat(309))}), "email", INVALID),
        (json!({"tags": vec!["t"; 51]}), "tags", INVALID),
        (json!({"tags": ["ok", "x".repeat(65)]}), "tags[1]", INVALID),
        (json!({"metadata": many(51)}), "metadata", INVALID),
        (
            json!({"metadata": {"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk": 1}}),
            "metadata.kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
            INVALID,
        ),
        (json!({"metadata": {"k": "x".repeat(501)}}), "metadata.k", INVALID),
        (json!({"external_id": "x".repeat(256)}), "external_id", INVALID),
        // With control characters.
        (json!({"name": "A\u{0}"}), "name", INVALID),
        (json!({"name": "A\u{7}da"}), "name", INVALID),
        (json!({"email": "ada\u{1}@example.org"}), "email", INVALID),
        (json!({"phone": "+15555550100\u{0}"}), "phone", INVALID),
        (json!({"tags": ["ok", "a\tb"]}), "tags[1]", INVALID),
        (json!({"metadata": {"k": "a\u{0}"}}), "metadata.k", INVALID),
        (json!({"metadata": {"a\u{1b}": 1}}), "metadata.a\u{1b}", INVALID),
        (json!({"external_id": "a\nb"}), "external_id", INVALID),
    ]
}

/// What names somebody, which create and identify alone take.
fn names() -> Vec<Row<Value>> {
    let long = "x".repeat(256);
    vec![
        (json!({"provider": 7, "provider_uid": "u"}), "provider", INVALID),
        (json!({"provider": "", "provider_uid": "u"}), "provider", INVALID),
        (json!({"provider": "a\u{7}", "provider_uid": "u"}), "provider", INVALID),
        (json!({"provider": "x".repeat(101), "provider_uid": "u"}), "provider", INVALID),
        (json!({"provider": "clerk", "provider_uid": 7}), "provider_uid", INVALID),
        (json!({"provider": "clerk", "provider_uid": ""}), "provider_uid", INVALID),
        (json!({"provider": "clerk", "provider_uid": "a\u{0}"}), "provider_uid", INVALID),
        (json!({"provider": "clerk", "provider_uid": long}), "provider_uid", INVALID),
        (json!({"provider": "clerk", "provider_uid": "u", "kind": "card"}), "kind", INVALID),
        (json!({"provider": "clerk"}), "provider_uid", "missing_parameter"),
        (json!({"provider_uid": "u"}), "provider", "missing_parameter"),
    ]
}

/// Bodies that are no JSON object, or one that is nested without end.
fn unreadable() -> Vec<String> {
    let deep = |open: &str, close: &str| {
        format!(r#"{{"metadata": {{"k": {}1{}}}}}"#, open.repeat(200), close.repeat(200))
    };
    let texts = ["", "{", "[]", "7", "null", "{} {}", r#"{"name": "A}"#, r#"{"name": "A", }"#];
    let mut all: Vec<String> = texts.map(str::to_owned).into();
    all.extend([deep("[", "]"), deep(r#"{"k": "#, "}")]);
    all
}

/// What no list with pages takes.
fn pages() -> Vec<Row<String>> {
    let (unknown, both) = ("unknown_cursor", "paging_conflict");
    let text = |(query, param, code): Row<&str>| (query.to_owned(), param, code);
    [
        ("limit=0", "limit", INVALID),
        ("limit=1001", "limit", INVALID),
        ("limit=-1", "limit", INVALID),
        ("limit=ten", "limit", INVALID),
        ("limit=1.5", "limit", INVALID),
        ("limit=", "limit", INVALID),
        ("limit=1%00", "limit", INVALID),
        ("limit=1&limit=2", "limit", "repeated_parameter"),
        ("offset=-1", "offset", INVALID),
        ("starting_after=x", "starting_after", unknown),
        ("ending_before=x", "ending_before", unknown),
        ("starting_after=evt_00000000000000000000000000", "starting_after", unknown),
        ("starting_after=x&ending_before=y", "ending_before", both),
        ("offset=1&starting_after=x", "offset", both),
        ("offset=1&ending_before=x", "offset", both),
        ("colour=red", "colour", UNKNOWN),
    ]
    .map(text)
    .into()
}

/// What the list of customers does not take: parameters, and `filters` as JSON.
fn conditions() -> (Vec<Row<String>>, Vec<Row<String>>) {
    let long = "x".repeat(256);
    let parameters = vec![
        ("min_spent=1.5".into(), "min_spent", INVALID),
        ("max_spent=lots".into(), "max_spent", INVALID),
        ("currency=%24".into(), "currency", INVALID),
        ("sort_by=name".into(), "sort_by", INVALID),
        ("include_total=yes".into(), "include_total", INVALID),
        ("tags=beta,,vip".into(), "tags", INVALID),
        (format!("tags={}", "x".repeat(65)), "tags", INVALID),
        ("tags=a%07".into(), "tags", INVALID),
        (format!("search={long}"), "search", INVALID),
        ("search=%00".into(), "search", INVALID),
        (format!("email={long}"), "email", INVALID),
        (format!("external_id={long}"), "external_id", INVALID),
    ];
    let deep = format!("{}{{}}{}", r#"{"or":["#.repeat(6), "]}".repeat(6));
    let deeper = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let filters = vec![
        ("{".into(), "filters", FILTER),
        ("[]".into(), "filters", FILTER),
        ("7".into(), "filters", FILTER),
        (deeper, "filters", FILTER),
        (deep, "filters.or.or.or.or.or.or", FILTER),
        (r#"{"color": 1}"#.into(), "filters.color", FILTER),
        (r#"{"email": {"like": "x"}}"#.into(), "filters.email.like", FILTER),
        (r#"{"email": {"gt": "x"}}"#.into(), "filters.email.gt", FILTER),
        (r#"{"total_spent": {"contains": 5}}"#.into(), "filters.total_spent.contains", FILTER),
        (r#"{"tags": {"starts_with": "b"}}"#.into(), "filters.tags.starts_with", FILTER),
        (r#"{"metadata.plan": {"gt": 1}}"#.into(), "filters.metadata.plan.gt", FILTER),
        (r#"{"is_anonymous": {"exists": true}}"#.into(), "filters.is_anonymous.exists", FILTER),
        (r#"{"total_spent": "5"}"#.into(), "filters.total_spent", FILTER),
        (r#"{"total_spent": 1.5}"#.into(), "filters.total_spent", FILTER),
        (
            r#"{"total_spent": {"gte": 99999999999999999999}}"#.into(),
            "filters.total_spent.gte",
            FILTER,
        ),
        (r#"{"created_at": "yesterday"}"#.into(), "filters.created_at", FILTER),
        (r#"{"email": 7}"#.into(), "filters.email", FILTER),
        (r#"{"email": null}"#.into(), "filters.email", FILTER),
        (r#"{"email": ["a"]}"#.into(), "filters.email", FILTER),
        (r#"{"email": {}}"#.into(), "filters.email", FILTER),
        (r#"{"email": {"exists": 1}}"#.into(), "filters.email.exists", FILTER),
        (r#"{"email": {"eq": {"eq": "a"}}}"#.into(), "filters.email.eq", FILTER),
        (
            r#"{"email": {"eq": "a", "case_sensitive": 1}}"#.into(),
            "filters.email.case_sensitive",
            FILTER,
        ),
        (r#"{"email": "a", "email": "b"}"#.into(), "filters.email", FILTER),
        (r#"{"or": []}"#.into(), "filters.or", FILTER),
        (r#"{"or": {"name": "a"}}"#.into(), "filters.or", FILTER),
        (r#"{"name": "a\u0000"}"#.into(), "filters.name", FILTER),
        (format!(r#"{{"name": "{long}"}}"#), "filters.name", FILTER),
        (format!(r#"{{"metadata.k": "{}"}}"#, "x".repeat(501)), "filters.metadata.k", FILTER),
        (r#"{"metadata.k": [1]}"#.into(), "filters.metadata.k", FILTER),
        (r#"{"metadata.": 1}"#.into(), "filters.metadata.", FILTER),
        (r#"{"subscription_status": "sleepy"}"#.into(), "filters.subscription_status", FILTER),
        (format!(r#"{{"or": [{}]}}"#, [r#"{"name": "a"}"#; 51].join(",")), "filters", FILTER),
    ];
    (parameters, filters)
}

/// An object with more members, where it has none of that name.
fn with(body: &Value, more: &Value) -> Value {
    let mut whole = more.clone();
    let fields = body.as_object().expect("an object").clone();
    whole.as_object_mut().expect("an object").extend(fields);
    whole
}

fn refusal(status: u16, code: &str, param: &str) -> (u16, String, Option<String>) {
    (status, code.to_owned(), Some(param.to_owned()))
}

/// Two users, of whom one paid, and a guest.
async fn people(api: &Api) -> [String; 3] {
    let users = [
        json!({"external_id": "u1", "name": "Ada", "tags": ["a"], "metadata": {"a": 1}}),
        json!({"external_id": "u2", "provider": "clerk", "provider_uid": "uid2"}),
        json!({"name": "Guest"}),
    ];
    let mut paths = Vec::new();
    for user in &users {
        let made = api.post("/v1/customers", user).await;
        assert_eq!(made.status, 201, "{}", made.text);
        paths.push(format!("/v1/customers/{}", made.json()["id"].as_str().expect("an id")));
    }
    api.events().process(&[paid(1, "u1", "p1", 500)]).await.expect("it commits");
    paths.try_into().expect("three")
}

/// All that is known of customers, and how much was told and written down of them.
async fn known(api: &Api) -> (Value, Vec<String>, [i64; 3]) {
    let counts = [
        api.count("select count(*) from customers").await,
        api.count("select count(*) from customer_references").await,
        api.count("select count(*) from customer_profiles").await,
    ];
    (api.get("/v1/customers").await.ok(), api.told().await, counts)
}

#[tokio::test]
async fn what_a_write_cannot_use_is_named_and_nothing_is_half_done() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        crate::pipeline::listen(&api.db).await;
        let [ada, _, guest] = people(&api).await;
        let (create, identify) = ("/v1/customers", "/v1/customers/identify");
        let before = known(&api).await;
        // What is good beside what is bad is not done either.
        let good = json!({"name": "Half", "phone": "+15555550199", "tags": ["half"], "metadata": {"half": true}});
        let new = with(&good, &json!({"external_id": "new"}));
        let ones = with(&good, &json!({"external_id": "u1"}));
        let writes = [
            ("POST", create, &new),
            ("POST", identify, &new),
            ("POST", identify, &ones),
            ("PATCH", &ada, &good),
            ("PATCH", &guest, &good),
        ];
        let (both, own) = (fields(), names());
        let rows = both.iter().map(|row| (row, 5)).chain(own.iter().map(|row| (row, 3)));
        for ((body, param, code), many) in rows {
            for (method, path, good) in &writes[..many] {
                let body = with(body, good);
                let answer = api.send_as(&api.write, method, path, &body).await;
                assert_eq!(answer.error(), refusal(400, code, param), "{method} {path} {body}");
            }
            assert_eq!(known(&api).await, before, "{body}");
        }
        for number in ["1e999", &format!("1{}", "0".repeat(200))] {
            let body = format!(r#"{{"external_id": "new", "metadata": {{"n": {number}}}}}"#);
            let sent = send_text(&api, "POST", create, &body).await;
            assert_eq!(sent.error(), refusal(400, INVALID, "metadata.n"), "{number}");
        }
        for text in unreadable() {
            for (method, path, _) in &writes {
                let sent = send_text(&api, method, path, &text).await;
                let expected = (400, "unreadable_request".to_owned(), None);
                assert_eq!(sent.error(), expected, "{method} {path} {text}");
            }
        }
        // Nobody is meant.
        for body in [json!({}), json!({"name": "Half"}), json!({"kind": "auth"})] {
            let (status, code, _) = api.post(identify, &body).await.error();
            assert_eq!((status, code.as_str()), (400, "missing_parameter"), "{body}");
        }
        let two = json!({"external_id": "u1", "customer_id": "u2", "name": "Half"});
        assert_eq!(api.post(identify, &two).await.error(), refusal(400, INVALID, "customer_id"));
        // Together with what is there it is too much.
        let more: Value = (0..50).map(|n| (format!("k{n}"), json!(n))).collect();
        let more = json!({"external_id": "u1", "name": "Half", "metadata": more});
        assert_eq!(api.patch(&ada, &more).await.error(), refusal(400, INVALID, "metadata"));
        assert_eq!(api.post(identify, &more).await.error(), refusal(400, INVALID, "metadata"));
        assert_eq!(known(&api).await, before);
        api.stop().await;
    })
    .await;
}

async fn send_text(api: &Api, method: &'static str, path: &str, body: &str) -> Answer {
    let request = Request::with_body(method, path, body.as_bytes()).key(&api.write);
    request.header("content-type", "application/json").send(api.address).await
}

/// By create and update: identify asks for whoever has it.
#[tokio::test]
async fn a_name_that_somebody_has_is_refused_and_nothing_is_half_done() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        crate::pipeline::listen(&api.db).await;
        let [ada, eve, guest] = people(&api).await;
        let create = "/v1/customers";
        let before = known(&api).await;
        let uid = |external_id: &str| {
            json!({"external_id": external_id, "provider": "clerk", "provider_uid": "uid2"})
        };
        for (method, path, body, code, param) in [
            ("POST", create, json!({"external_id": "u1"}), "external_id_taken", "external_id"),
            ("POST", create, uid("u2"), "external_id_taken", "external_id"),
            ("POST", create, uid("new"), "identity_taken", "provider_uid"),
            ("PATCH", &guest, json!({"external_id": "u1"}), "external_id_taken", "external_id"),
            ("PATCH", &ada, json!({"external_id": "u2"}), "external_id_immutable", "external_id"),
            ("PATCH", &eve, json!({"external_id": "new"}), "external_id_immutable", "external_id"),
        ] {
            let body = with(&body, &json!({"name": "Half", "tags": ["half"]}));
            let answer = api.send_as(&api.write, method, path, &body).await;
            assert_eq!(answer.error(), refusal(409, code, param), "{method} {path} {body}");
            assert_eq!(known(&api).await, before, "{method} {path} {body}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_list_cannot_be_asked_is_refused_and_named() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let [ada, ..] = people(&api).await;
        let of_ada = ["payments", "subscriptions"].map(|list| format!("{ada}/{list}"));
        let all = ["customers", "payments", "conflicts", "webhook-messages", "inbound-events"];
        let lists = all.map(|list| format!("/v1/{list}"));
        let ask = async |path: &str, query: &str, param: &str, code: &str| {
            let answer = api.get_as(&api.admin, &format!("{path}?{query}")).await;
            assert_eq!(answer.error(), refusal(400, code, param), "{path}?{query}");
        };
        let prefixes = ["cus", "pay", "cfl", "msg", "inb", "pay", "sub"];
        for (list, prefix) in lists.iter().chain(&of_ada).zip(prefixes) {
            for (query, param, code) in pages() {
                ask(list, &query, param, code).await;
            }
            for cursor in ["starting_after", "ending_before"] {
                ask(list, &format!("{cursor}={prefix}_{NONE}"), cursor, "unknown_cursor").await;
            }
        }
        for path in [format!("{ada}/timeline"), "/v1/customers/top".to_owned()] {
            for limit in ["0", "1001", "ten", ""] {
                ask(&path, &format!("limit={limit}"), "limit", INVALID).await;
            }
            ask(&path, "colour=red", "colour", UNKNOWN).await;
        }
        ask(&format!("{ada}/timeline"), "starting_after=x", "starting_after", "unknown_cursor")
            .await;
        let (parameters, filters) = conditions();
        for (query, param, code) in parameters {
            ask("/v1/customers", &query, param, code).await;
        }
        for (json, param, code) in filters {
            let query: String = url::form_urlencoded::byte_serialize(json.as_bytes()).collect();
            ask("/v1/customers", &format!("filters={query}"), param, code).await;
        }
        // A cursor that names somebody who is not in that list.
        let ada = ada.rsplit('/').next().expect("an id");
        let elsewhere = format!("sort_by=net_spent&currency=EUR&starting_after={ada}");
        ask("/v1/customers", &elsewhere, "starting_after", "unknown_cursor").await;
        api.stop().await;
    })
    .await;
}
