//! Held against `serde_json_path`, which takes all of RFC 9535, wherever that one's floats can tell two numbers apart.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use serde_json_path::JsonPath;

fn found(path: &str, body: &Value) -> Vec<Value> {
    Path::parse(path).expect(path).all(body).into_iter().cloned().collect()
}

#[test]
fn names_indexes_slices_wildcards_and_one_level_of_filters_are_taken() {
    let body =
        json!({"a": [{"n": "x", "v": 1}, {"n": "y", "v": 2.50}], "of": "y", "b c": {"d": null}});
    assert_eq!(found("$.a[0].v", &body), [json!(1)]);
    assert_eq!(found("$.a[-1].n", &body), [json!("y")]);
    assert_eq!(found("$.a[-3].n", &body), Vec::<Value>::new());
    assert_eq!(found("$.a[*].v", &body), [json!(1), json!(2.50)]);
    assert_eq!(found("$.a[1:].v", &body), [json!(2.50)]);
    assert_eq!(found("$['b c'].d", &body), [json!(null)]);
    assert_eq!(found("$.a[?@.n == $.of].v", &body), [json!(2.50)]);
    assert_eq!(found("$.a[?@.n != 'x' && @.v > 2].n", &body), [json!("y")]);
    assert_eq!(found("$.a[?(@.v < 2 || !@.v) && @.n].n", &body), [json!("x")]);
    assert_eq!(found("$[?@.d == null].d", &body), [json!(null)]);
    assert_eq!(found("$[?@['d'] == null][\"d\"]", &body), [json!(null)]);
    assert_eq!(found("$.none.there", &body), Vec::<Value>::new());
    assert_eq!(found("$", &body), std::slice::from_ref(&body));
    assert_eq!(found("$['\\u0061'][ 0 ]['\\'\"']", &json!({"a": [{"'\"": 7}]})), [json!(7)]);
}

#[test]
fn numbers_are_compared_by_their_value_however_they_are_written() {
    let body: Value = serde_json::from_str(
        r#"{"a": [{"n": 5.0}, {"n": 50}], "of": 9007199254740993,
            "ids": [{"id": 9007199254740992}, {"id": 9007199254740993}, {"id": 9.007199254740993e15}]}"#,
    )
    .expect("JSON");
    assert_eq!(found("$.a[?@.n == 5].n", &body).len(), 1);
    assert_eq!(found("$.a[?@.n > 5.5].n", &body), [json!(50)]);
    let same: Vec<_> = found("$.ids[?@.id == $.of].id", &body);
    assert_eq!(
        same.iter().map(Value::to_string).collect::<Vec<_>>(),
        ["9007199254740993", "9.007199254740993e+15"]
    );
    assert_eq!(found("$.ids[?@.id < $.of].id", &body), [json!(9_007_199_254_740_992_u64)]);
    assert_eq!(found("$.ids[?@.id != 9007199254740993].id", &body).len(), 1);
    assert_eq!(
        found("$.a[?@.none <= $.none]", &body).len(),
        2,
        "what is absent equals what is absent"
    );
}

#[test]
fn from_the_end() {
    let body = json!({"a": [{"n": [1, 2]}, {"n": [2, 1]}, {"n": []}], "of": [0, 2]});
    assert_eq!(found("$.a[?@.n[-1] == 2].n[0]", &body), [json!(1)]);
    assert_eq!(found("$.a[?@.n[-1] == $.of[-1]].n[0]", &body), [json!(1)]);
    assert_eq!(found("$.a[?@.n[-1] == @.none].n", &body), [json!([])]);
    assert_eq!(found("$[?!(@.a == $[-1])]", &json!([null])), [json!(null)]);
}

#[test]
fn what_has_no_order() {
    let body = json!([false, true, null, [1], {"a": 1}, "x", 1]);
    assert_eq!(found("$[?@ >= true]", &body), [json!(true)]);
    assert_eq!(found("$[?@ <= true]", &body), [json!(true)]);
    assert_eq!(found("$[?@ < true || @ > false]", &body), Vec::<Value>::new());
    assert_eq!(found("$[?@ > $[3] || @ > $[4]]", &body), Vec::<Value>::new());
    assert_eq!(found("$[?@ <= null]", &body), [json!(null)]);
    assert_eq!(found("$[?@ <= $[3]]", &body), [json!([1])]);
    assert_eq!(found("$[?@ >= $[4]]", &body), [json!({"a": 1})]);
    assert_eq!(found("$[?$.none >= $.other]", &body).len(), 7);
    assert_eq!(found("$[?@ <= 'x']", &body), [json!("x")]);
}

#[test]
fn what_is_no_jsonpath_or_could_read_a_body_twice_is_refused_with_its_place() {
    for (path, at, why) in [
        ("data.id", 1, "begins with `$`"),
        ("", 1, "begins with `$`"),
        ("$.a.[b", 5, "a name"),
        ("$.a[b]", 5, "a name in quotes"),
        ("$.a[?@.b = 1]", 10, "`]`"),
        ("$.a b", 4, "`.` or `[`"),
        ("$.a[01]", 5, "no index"),
        ("$.a[?@.b == 01]", 13, "no number"),
        ("$.a['b", 5, "not closed"),
        ("$.a['\\x']", 5, "no text"),
        ("$.ä[", 5, "a name in quotes"),
        ("$..id", 3, "`..`"),
        ("$.a['x', 'y']", 8, "one selector"),
        ("$.a[0, 1]", 6, "one selector"),
        ("$.a[?@.b[?@.c]]", 10, "single places"),
        ("$[?$.b[*]]", 8, "single places"),
        ("$[?@.b.*]", 8, "single places"),
        ("$[?@.b[0:1]]", 9, "single places"),
        ("$[?@.a == @..b]", 13, "`..`"),
        ("$[?((((( @.a )))))]", 8, "parentheses"),
        ("$[?(@.a]", 8, "`)`"),
        ("$[?'a']", 7, "comparison"),
        ("$[?!@.a == 1]", 9, "`!`"),
        ("$[?length(@.a) > 1]", 4, "a place"),
        ("$[?@.a == b]", 11, "a place"),
    ] {
        let error = Path::parse(path).expect_err(path);
        let place = format!("at character {at} of `{path}`: ");
        assert!(error.starts_with(&place) && error.contains(why), "{path}: {error}");
    }
    assert!(Path::parse(&format!("$.{}", "a".repeat(500))).expect_err("long").contains("500"));
    // Inside a text nothing of this means anything.
    for path in ["$['a..b, [?*:(']", "$[?@.a == \"..,*?:\\\"\"].b", "$.a[?@.b == 1][?@.c].d[*]"] {
        Path::parse(path).expect(path);
    }
}

fn values() -> impl Strategy<Value = Value> {
    let numbers = prop_oneof![
        (-3_i64..4).prop_map(|n| json!(n)),
        Just(json!(1.5)),
        Just(serde_json::from_str("1.0").expect("JSON")),
        Just(serde_json::from_str("1e0").expect("JSON")),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        numbers,
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn places(first: i64) -> impl Strategy<Value = String> + Clone {
    let step = prop_oneof![
        "[abc]".prop_map(|name| format!(".{name}")),
        "[abc]".prop_map(|name| format!("['{name}']")),
        (first..3).prop_map(|index| format!("[{index}]")),
    ];
    ("[@$]", prop::collection::vec(step, 0..3)).prop_map(|(from, steps)| from + &steps.concat())
}

fn tests() -> impl Strategy<Value = String> {
    let literals = vec!["null", "true", "1", "1.50", "-2e0", "'a'", "\"b\""];
    let literal = prop::sample::select(literals).prop_map(str::to_owned);
    // In a comparison the library finds nothing at an index that counts from the end; `from_the_end` holds ours to the RFC.
    let compared = places(0);
    let operand = prop_oneof![compared.clone(), literal.clone()];
    let operator = prop::sample::select(vec!["==", "!=", "<"]);
    // The library takes two places that are both absent for unequal here, and has an order for what has none;
    // `what_has_no_order` holds ours to the RFC.
    let other_operator = prop::sample::select(vec![">", "<=", ">="]);
    let ordered = prop::sample::select(vec!["1", "1.50", "-2e0", "'a'", "\"b\""]);
    let basic = prop_oneof![
        places(-2),
        places(-2).prop_map(|place| format!("!{place}")),
        (operand.clone(), operator, operand).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (compared, other_operator, ordered).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
    ];
    basic.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} && {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}||{b}")),
            inner.prop_map(|inner| format!("!( {inner} )")),
        ]
    })
}

fn paths() -> impl Strategy<Value = String> {
    let bound =
        || prop::option::of(-4_i64..5).prop_map(|at| at.map_or(String::new(), |at| at.to_string()));
    let segment = prop_oneof![
        3 => "[abc]".prop_map(|name| format!(".{name}")),
        1 => Just("[*]".to_owned()),
        1 => Just(".*".to_owned()),
        1 => (-3_i64..4).prop_map(|index| format!("[{index}]")),
        1 => (bound(), bound(), bound()).prop_map(|(a, b, c)| format!("[{a}:{b}:{c}]")),
        2 => tests().prop_map(|test| format!("[?{test}]")),
    ];
    prop::collection::vec(segment, 0..4).prop_map(|segments| format!("${}", segments.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_means_what_the_rfc_says(path in paths(), body in values()) {
        let own = Path::parse(&path).map_err(TestCaseError::fail)?;
        let library = JsonPath::parse(&path).expect("the library takes it");
        prop_assert_eq!(own.all(&body), library.query(&body).all(), "{}", path);
    }

    #[test]
    fn what_is_taken_is_jsonpath(text in "\\$[.a\\[\\]0-9'\"*?@ =<>!&|(),:-]{0,12}") {
        if Path::parse(&text).is_ok() {
            prop_assert!(JsonPath::parse(&text).is_ok(), "{}", text);
        }
    }
}
