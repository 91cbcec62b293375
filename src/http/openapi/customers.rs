//! Customers: what can be asked of them.

use super::{
    fields::{NOT_BLANK, TAGS, by_name, currency, names, object, profile, together, whole_number},
    operation::{Operation, TEXT, text, whole, words},
    schema::Shape,
};
use crate::{
    http::command::Gone,
    model::{
        customer::Customer, id::CustomerId, key::Scope, payment::Payment, provenance::Provenance,
        ranking::Top, subscription::Subscription, timeline::Entry,
    },
};
use serde_json::{Value, json};

pub(super) const TAG: &str = "Customers";

/// Who the last answer is about can be asked for in these ways.
const ABOUT_ONE: &[(&str, &str)] = &[
    ("getCustomer", "id"),
    ("updateCustomer", "id"),
    ("deleteCustomer", "id"),
    ("mergeCustomers", "id"),
    ("listCustomerPayments", "id"),
    ("listCustomerSubscriptions", "id"),
    ("getCustomerTimeline", "id"),
    ("getCustomerProvenance", "id"),
];

const ITS_ID: &str = "$response.body#/id";
const ITS_NAME: &str = "$response.body#/external_id";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        list(),
        create(),
        identify(),
        lookup(),
        top(),
        one(),
        update(),
        delete(),
        merge(),
        detach(),
    ]
    .into_iter()
    .chain(of_one())
    .collect()
}

fn list() -> Operation {
    let total = json!({
        "type": "integer", "maximum": 10_000,
        "description": "How many there are on all pages, exact up to 10000; where it was asked \
            for.",
    });
    let capped =
        json!({ "type": "boolean", "description": "Whether there are more than `total`." });
    let answer = Shape::list::<Customer>().with("total", total).with("total_capped", capped);
    Operation::get("/v1/customers", (TAG, "listCustomers", "List customers"))
        .about(
            "All that is given must hold. A list with conditions is given up after a \
            second: `query_too_broad`.",
        )
        .needs(Scope::Read)
        .paged::<CustomerId>()
        .query("external_id", "Exactly this one.", text(255))
        .query("email", "This address, whatever its case.", text(255))
        .query(
            "search",
            "This text somewhere in external_id, name, email or phone, whatever \
            its case; or a `cus_…` id.",
            text(255),
        )
        .query(
            "tags",
            "Has all of these tags, with commas between.",
            json!({ "type": "string", "pattern": TAGS }),
        )
        .query("min_spent", "`total_spent` in `currency`, minor units.", whole_number())
        .query("max_spent", "`total_spent` in `currency`, minor units.", whole_number())
        .query(
            "currency",
            "Of money in this list; unless told, the environment's reporting \
            currency.",
            currency(),
        )
        .query("filters", FILTERS, filters())
        .query(
            "sort_by",
            "Newest or most first; what is no time leaves out who has no payment \
            in `currency`.",
            words(&["created_at", "net_spent", "total_spent", "payment_count"]),
        )
        .query(
            "include_total",
            "Whether to count; with `offset` that is done unless it is \
            `false`.",
            json!({ "type": "boolean" }),
        )
        .answers(200, "A page.", answer)
        .refuses(400, &["invalid_filter", "query_too_broad"])
}

const FILTERS: &str = "Conditions in JSON: an object of fields, each with a value or an object \
    of operators, and `and` or \
    `or` with lists of such objects, nested five deep at most. All must hold. Texts (`email`, `name`, `phone`, \
    `external_id`) take `eq`, `contains`, `starts_with`, `ends_with`, `case_sensitive` and `exists`; numbers \
    (`total_spent`, `net_spent`, `payment_count`) and times (`created_at`, `updated_at`, `last_payment_at`) take `eq`, \
    `gt`, `gte`, `lt`, `lte` and `exists`; `tags` and `metadata.KEY` take `eq` and `exists`; `is_anonymous` and \
    `subscription_status` take `eq`.";

fn filters() -> Value {
    json!({
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": { "type": "object" },
        "examples": [r#"{"email":{"ends_with":"@example.org"},"or":[{"net_spent":{"gte":5000}},{"metadata.plan":"pro"}]}"#],
    })
}

fn create() -> Operation {
    Operation::post("/v1/customers", (TAG, "createCustomer", "Make a customer"))
        .about("Without any name it is a customer of its own, known by its id.")
        .needs(Scope::Write)
        .repeatable()
        .body(together(object(&[names(), profile()], &[])))
        .answers(201, "It is made.", Shape::of::<Customer>())
        .leads(ITS_ID, ABOUT_ONE)
        .leads(ITS_NAME, &[("lookUpCustomer", "external_id")])
        .leads_into(ITS_NAME, ("identifyCustomer", "external_id"))
        .refuses(409, &["external_id_taken", "identity_taken", "field_owned"])
}

fn identify() -> Operation {
    let alias = json!({ "customer_id": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": TEXT,
        "description": "Another name of `external_id`." } });
    Operation::post(
        "/v1/customers/identify",
        (TAG, "identifyCustomer", "The customer of a name, made where there is none"),
    )
    .about(
        "By `external_id`, by `provider` and `provider_uid`, or both: then the identity \
            is this user's from now on.",
    )
    .needs(Scope::Write)
    .repeatable()
    .body(by_name(together(object(&[names(), alias, profile()], &[]))))
    .answers(200, "It was there.", Shape::of::<Customer>())
    .leads(ITS_ID, ABOUT_ONE)
    .answers(201, "It is made.", Shape::of::<Customer>())
    .leads(ITS_ID, ABOUT_ONE)
    .refuses(409, &["external_ids_differ", "field_owned"])
}

fn lookup() -> Operation {
    Operation::get("/v1/customers/lookup", (TAG, "lookUpCustomer", "One customer, by a name of it"))
        .about("By `external_id`, or by `provider` and `provider_uid`.")
        .needs(Scope::Read)
        .query("external_id", "The app's own user id.", text(255))
        .query(
            "provider",
            "The namespace of the source: its name, unless set otherwise.",
            text(100),
        )
        .query(
            "provider_uid",
            "An auth provider's UID, or a payment provider's customer id.",
            text(255),
        )
        .answers(200, "The customer.", Shape::of::<Customer>())
        .leads(ITS_ID, ABOUT_ONE)
        .refuses(400, &["missing_parameter"])
        .refuses(404, &["customer_not_found", "customer_deleted"])
}

fn top() -> Operation {
    Operation::get("/v1/customers/top", (TAG, "listTopCustomers", "Who paid most"))
        .about(
            "A payment counts on the day on which it was paid, and a refund or lost dispute \
            lowers that day.",
        )
        .needs(Scope::Read)
        .query(
            "metric",
            "By what; `net_spent` unless told.",
            words(&["net_spent", "total_spent", "payment_count"]),
        )
        .query(
            "currency",
            "Of payments in this currency; unless told, the environment's \
            reporting currency.",
            currency(),
        )
        .query(
            "period",
            "Today (UTC) and the days before; `all` unless told.",
            words(&["7d", "30d", "90d", "all"]),
        )
        .query("limit", "How many; 10 unless told.", whole(1, 100))
        .answers(200, "The ranking.", Shape::of::<Top>())
}

fn one() -> Operation {
    Operation::get("/v1/customers/{id}", (TAG, "getCustomer", "One customer"))
        .about("Also by the id of a customer that went into it.")
        .needs(Scope::Read)
        .at::<CustomerId>("id")
        .answers(200, "The customer.", Shape::of::<Customer>())
        .refuses(404, GONE)
}

const GONE: &[&str] = &["customer_not_found", "customer_deleted"];

fn update() -> Operation {
    let external_id = json!({ "external_id": {
        "type": ["string", "null"], "minLength": 1, "maxLength": 255, "pattern": TEXT,
        "description": "Can be given to a customer that has none; one that is there stays.",
    } });
    Operation::patch("/v1/customers/{id}", (TAG, "updateCustomer", "Change a customer's profile"))
        .about("What is absent stays, null clears. Metadata is merged: null takes a key away.")
        .needs(Scope::Write)
        .at::<CustomerId>("id")
        .repeatable()
        .body(object(&[external_id, profile()], &[]))
        .answers(200, "The customer as it is now.", Shape::of::<Customer>())
        .refuses(404, GONE)
        .refuses(409, &["external_id_taken", "external_id_immutable", "field_owned"])
}

fn delete() -> Operation {
    Operation::delete("/v1/customers/{id}", (TAG, "deleteCustomer", "Delete a customer for good"))
        .about("What was known of the person is erased everywhere; the `external_id` is free.")
        .needs(Scope::Admin)
        .at::<CustomerId>("id")
        .query(
            "payments",
            "Whether its payments stay, without customer, or go too; `keep` unless told.",
            words(&["keep", "erase"]),
        )
        .repeatable()
        .answers(200, "What is left of it: id and figures.", Shape::of::<Gone<'static>>())
        .refuses(404, GONE)
}

fn merge() -> Operation {
    let fields = json!({
        "from": { "type": "string", "pattern": "^cus_[0-7][0-9a-hjkmnp-tv-z]{25}$", "description": "The other customer's id." },
        "keep": { "type": "string", "minLength": 1, "pattern": NOT_BLANK,
            "description": "Where both have an `external_id`: the one that stays." },
    });
    Operation::post(
        "/v1/customers/{id}/merge",
        (TAG, "mergeCustomers", "Another customer goes into this one"),
    )
    .about(
        "The one with an `external_id` is left, else the one in the path; the other id \
            answers with it.",
    )
    .needs(Scope::Admin)
    .at::<CustomerId>("id")
    .repeatable()
    .body(object(&[fields], &["from"]))
    .answers(200, "The customer that is left.", Shape::of::<Customer>())
    .refuses(404, GONE)
    .refuses(409, &["external_ids_differ"])
}

fn detach() -> Operation {
    Operation::delete(
        "/v1/customers/{id}/identities/{provider}/{uid}",
        (TAG, "detachIdentity", "One identity is not its own"),
    )
    .about(
        "It is a customer of its own, with all that hangs under it. With `external_id` \
            as provider a merge of two is undone.",
    )
    .needs(Scope::Admin)
    .at::<CustomerId>("id")
    .part(
        "provider",
        "The namespace, or `external_id`.",
        json!({ "type": "string", "minLength": 1 }),
    )
    .part(
        "uid",
        "The UID, the customer id, or the external_id.",
        json!({ "type": "string", "minLength": 1 }),
    )
    .repeatable()
    .answers(200, "The customer as it is now.", Shape::of::<Customer>())
    .refuses(404, &["customer_not_found", "customer_deleted", "identity_not_found"])
    .refuses(409, &["identity_is_root"])
}

/// What hangs on one customer.
fn of_one() -> [Operation; 4] {
    [
        Operation::get(
            "/v1/customers/{id}/payments",
            (TAG, "listCustomerPayments", "List a customer's payments"),
        )
        .needs(Scope::Read)
        .at::<CustomerId>("id")
        .paged::<crate::model::id::PaymentId>()
        .answers(200, "A page.", Shape::list::<Payment>())
        .refuses(404, GONE),
        Operation::get(
            "/v1/customers/{id}/subscriptions",
            (TAG, "listCustomerSubscriptions", "List a customer's subscriptions"),
        )
        .needs(Scope::Read)
        .at::<CustomerId>("id")
        .paged::<crate::model::id::SubscriptionId>()
        .answers(200, "A page.", Shape::list::<Subscription>())
        .refuses(404, GONE),
        Operation::get(
            "/v1/customers/{id}/timeline",
            (TAG, "getCustomerTimeline", "What became of a customer"),
        )
        .about(
            "Payments, subscriptions, changes of the profile and merges in one list, newest \
                first.",
        )
        .needs(Scope::Read)
        .at::<CustomerId>("id")
        .query("limit", "How many: 50 unless told.", whole(1, 1_000))
        .query(
            "starting_after",
            "The `next_cursor` of the page before.",
            json!({ "type": "string", "pattern": "^-?[0-9]+[.][0-9a-f]{32}$" }),
        )
        .answers(200, "A page.", Shape::list::<Entry>())
        .refuses(400, &["unknown_cursor"])
        .refuses(404, GONE),
        Operation::get(
            "/v1/customers/{id}/provenance",
            (TAG, "getCustomerProvenance", "Whose word each field is"),
        )
        .needs(Scope::Read)
        .at::<CustomerId>("id")
        .answers(200, "Each field of which something was said.", Shape::of::<Provenance>())
        .refuses(404, GONE),
    ]
}
