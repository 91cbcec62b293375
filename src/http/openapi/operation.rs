//! What there is to say of one operation, and how that is written down.

use super::{
    errors, examples,
    schema::{Named, Shape},
};
use crate::model::key::Scope;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// A path and a method, and all that can be asked and answered there.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    about: Option<&'static str>,
    /// What a key must be good for; none where no key is needed.
    scope: Option<Scope>,
    parameters: Vec<(Value, Option<Shape>)>,
    body: Option<Body>,
    /// Whether it reads a body, though it asks for none.
    reads: bool,
    /// Whether it refuses parameters that it does not know.
    strict: bool,
    answers: Vec<Answer>,
    refusals: BTreeMap<u16, BTreeSet<&'static str>>,
}

#[derive(Debug)]
struct Body {
    kind: &'static str,
    shape: Shape,
    required: bool,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    about: &'static str,
    kind: &'static str,
    shape: Shape,
    links: Vec<Link>,
}

/// Where a value of an answer leads.
#[derive(Debug)]
struct Link {
    /// The operation.
    to: &'static str,
    /// What it is there: a parameter, or a field of the body.
    name: &'static str,
    is_field: bool,
    /// Where it stands in the answer.
    place: &'static str,
}

/// What bodies are, unless told.
const JSON: &str = "application/json";

impl Operation {
    fn new(
        method: &'static str,
        path: &'static str,
        (tag, id, summary): (&'static str, &'static str, &'static str),
    ) -> Self {
        Self {
            method,
            path,
            id,
            tag,
            summary,
            about: None,
            scope: None,
            parameters: Vec::new(),
            body: None,
            reads: false,
            strict: true,
            answers: Vec::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// A GET; its tag, id and summary.
    pub(super) fn get(
        path: &'static str,
        named: (&'static str, &'static str, &'static str),
    ) -> Self {
        Self::new("get", path, named)
    }

    /// A POST.
    pub(super) fn post(
        path: &'static str,
        named: (&'static str, &'static str, &'static str),
    ) -> Self {
        Self { reads: true, ..Self::new("post", path, named) }
    }

    /// A PATCH.
    pub(super) fn patch(
        path: &'static str,
        named: (&'static str, &'static str, &'static str),
    ) -> Self {
        Self { reads: true, ..Self::new("patch", path, named) }
    }

    /// A DELETE.
    pub(super) fn delete(
        path: &'static str,
        named: (&'static str, &'static str, &'static str),
    ) -> Self {
        Self { reads: true, ..Self::new("delete", path, named) }
    }

    /// More than fits into a summary.
    pub(super) fn about(self, about: &'static str) -> Self {
        Self { about: Some(about), ..self }
    }

    /// Asks for a key.
    pub(super) fn needs(self, scope: Scope) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// Does not look at parameters.
    pub(super) fn tolerant(self) -> Self {
        Self { strict: false, ..self }
    }

    /// Has a part of its path filled in with an id.
    pub(super) fn at<T: ToSchema>(self, name: &'static str) -> Self {
        self.parameter("path", name, "", Shape::of::<T>())
    }

    /// Has a part of its path filled in.
    pub(super) fn part(self, name: &'static str, about: &'static str, schema: Value) -> Self {
        self.parameter("path", name, about, Shape::plain(schema))
    }

    /// Can be asked by a query parameter.
    pub(super) fn query(self, name: &'static str, about: &'static str, schema: Value) -> Self {
        self.parameter("query", name, about, Shape::plain(schema))
    }

    /// Can be asked by a query parameter that is an id.
    pub(super) fn query_id<T: ToSchema>(self, name: &'static str, about: &'static str) -> Self {
        self.parameter("query", name, about, Shape::of::<T>())
    }

    fn parameter(mut self, place: &str, name: &str, about: &str, shape: Shape) -> Self {
        let mut parameter = json!({ "name": name, "in": place, "required": place == "path" });
        if let (Some(fields), false) = (parameter.as_object_mut(), about.is_empty()) {
            fields.insert("description".into(), about.into());
        }
        self.parameters.push((parameter, Some(shape)));
        self
    }

    /// Is a list that is paged by ids of a kind.
    pub(super) fn paged<T: ToSchema>(self) -> Self {
        self.query("limit", "How many: 50 unless told, 100 with `offset`.", whole(1, 1_000))
            .query("offset", "How many of the newest are left out.", whole(0, u32::MAX))
            .query_id::<T>("starting_after", "What is next older than this.")
            .query_id::<T>("ending_before", "What is next newer than this.")
            .refuses(400, &["paging_conflict", "unknown_cursor"])
    }

    /// Can be repeated under an `Idempotency-Key`.
    pub(super) fn repeatable(mut self) -> Self {
        self.parameters.push((json!({ "$ref": "#/components/parameters/IdempotencyKey" }), None));
        self.refuses(409, &["idempotency_params_mismatch", "idempotency_key_in_use"])
    }

    /// Asks for a JSON body.
    pub(super) fn body(self, schema: Value) -> Self {
        let body = Body { kind: JSON, shape: Shape::plain(schema), required: true };
        Self { body: Some(body), ..self }.refuses(400, &["missing_parameter"])
    }

    /// Takes a JSON body that need not be there.
    pub(super) fn maybe_body(self, schema: Value) -> Self {
        let body = Body { kind: JSON, shape: Shape::plain(schema), required: false };
        Self { body: Some(body), ..self }
    }

    /// Takes a body of any kind.
    pub(super) fn any_body(self) -> Self {
        let body = Body { kind: "*/*", shape: Shape::plain(json!({})), required: true };
        Self { body: Some(body), ..self }
    }

    /// Answers so.
    pub(super) fn answers(mut self, status: u16, about: &'static str, shape: Shape) -> Self {
        self.answers.push(Answer { status, about, kind: JSON, shape, links: Vec::new() });
        self
    }

    /// Answers with a text.
    pub(super) fn answers_text(mut self, about: &'static str) -> Self {
        let shape = Shape::plain(json!({ "type": "string" }));
        self.answers.push(Answer {
            status: 200,
            about,
            kind: "text/plain",
            shape,
            links: Vec::new(),
        });
        self
    }

    /// A value of the last answer can be given to other operations, as this parameter of each.
    pub(super) fn leads(
        self,
        place: &'static str,
        to: &'static [(&'static str, &'static str)],
    ) -> Self {
        to.iter()
            .fold(self, |this, &(to, name)| this.link(Link { to, name, is_field: false, place }))
    }

    /// A value of the last answer can be given to another operation, as this field of its body.
    pub(super) fn leads_into(
        self,
        place: &'static str,
        (to, name): (&'static str, &'static str),
    ) -> Self {
        self.link(Link { to, name, is_field: true, place })
    }

    fn link(mut self, link: Link) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.links.push(link);
        }
        self
    }

    /// Can be refused with these codes.
    pub(super) fn refuses(mut self, status: u16, codes: &[&'static str]) -> Self {
        self.refusals.entry(status).or_default().extend(codes);
        self
    }

    /// The operation as OpenAPI writes it down.
    pub(super) fn describe(&self, named: &mut Named) -> Value {
        let mut whole = Map::new();
        whole.insert("operationId".into(), self.id.into());
        whole.insert("tags".into(), json!([self.tag]));
        whole.insert("summary".into(), self.summary.into());
        if let Some(about) = self.about {
            whole.insert("description".into(), about.into());
        }
        let parameters: Vec<Value> =
            self.parameters.iter().map(|one| parameter(one, named)).collect();
        if !parameters.is_empty() {
            whole.insert("parameters".into(), parameters.into());
        }
        if let Some(body) = &self.body {
            whole.insert("requestBody".into(), self.request(body, named));
        }
        whole.insert("responses".into(), self.responses(named));
        let security = match self.scope {
            Some(_) => json!([{ "bearer": [] }, { "header": [] }]),
            None => json!([]),
        };
        whole.insert("security".into(), security);
        if let Some(scope) = self.scope {
            whole.insert("x-scope".into(), scope.as_str().into());
        }
        Value::Object(whole)
    }

    fn request(&self, body: &Body, named: &mut Named) -> Value {
        let schema = named.take(&body.shape);
        let content = content(&schema, examples::named(&format!("{} request", self.id)));
        json!({ "required": body.required, "content": { (body.kind): content } })
    }

    fn responses(&self, named: &mut Named) -> Value {
        let mut all = Map::new();
        let repeatable = self.parameters.iter().any(|(_, shape)| shape.is_none());
        for answer in &self.answers {
            let schema = named.take(&answer.shape);
            let example = examples::named(&format!("{} {}", self.id, answer.status));
            let mut headers =
                json!({ "X-Request-Id": { "$ref": "#/components/headers/RequestId" } });
            if let (true, Some(fields)) = (repeatable, headers.as_object_mut()) {
                let replay = json!({ "$ref": "#/components/headers/IdempotencyReplay" });
                fields.insert("Idempotency-Replay".into(), replay);
            }
            let mut response = json!({
                "description": answer.about,
                "headers": headers,
                "content": { (answer.kind): content(&schema, example) },
            });
            if let (false, Some(fields)) = (answer.links.is_empty(), response.as_object_mut()) {
                let links = answer.links.iter().map(|Link { to, name, is_field, place }| {
                    let kind = if *is_field { "requestBody" } else { "parameters" };
                    ((*to).to_owned(), json!({ "operationId": to, (kind): { (*name): place } }))
                });
                fields.insert("links".into(), Value::Object(links.collect()));
            }
            all.insert(answer.status.to_string(), response);
        }
        for (status, name, ..) in errors::COMMON {
            if self.is_common(status) {
                all.insert(
                    status.to_string(),
                    json!({ "$ref": format!("#/components/responses/{name}") }),
                );
            }
        }
        let mut refusals = self.refusals.clone();
        if self.strict {
            refusals.entry(400).or_default().extend(errors::ANY);
        }
        for (status, codes) in refusals {
            let codes: Vec<&str> = codes.into_iter().collect();
            all.insert(status.to_string(), errors::answer(status, &errors::told(&codes), &codes));
        }
        Value::Object(all)
    }

    /// Whether it can be refused as many others are.
    fn is_common(&self, status: u16) -> bool {
        match status {
            401 | 429 | 503 => self.scope.is_some(),
            403 => self.scope.is_some_and(|scope| scope > Scope::Read),
            408 | 413 => self.reads,
            // Where any body will do, none is of the wrong kind.
            415 => self.reads && self.body.as_ref().is_none_or(|body| body.kind == JSON),
            _ => true,
        }
    }
}

fn parameter((parameter, shape): &(Value, Option<Shape>), named: &mut Named) -> Value {
    let mut parameter = parameter.clone();
    if let (Some(fields), Some(shape)) = (parameter.as_object_mut(), shape) {
        fields.insert("schema".into(), named.take(shape));
    }
    parameter
}

fn content(schema: &Value, example: Option<&Value>) -> Value {
    match example {
        Some(example) => json!({ "schema": schema, "example": example }),
        None => json!({ "schema": schema }),
    }
}

/// The headers that answers have.
pub(super) fn headers() -> Value {
    let text = |about: &str| json!({ "description": about, "schema": { "type": "string" } });
    json!({
        "RequestId": text("The request's id: the one that it gave, or one that was made. The \
            log knows the request by it."),
        "IdempotencyReplay": {
            "description": "The answer is repeated: the request was carried out before, under \
                the same `Idempotency-Key`.",
            "schema": { "const": "true" },
        },
        "RetryAfter": {
            "description": "When to try again, in seconds.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "Challenge": text("How to present a key."),
    })
}

/// The parameters that many operations have in common.
pub(super) fn parameters() -> Value {
    json!({
        "IdempotencyKey": {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Makes it safe to send the request again: for 24 hours it is \
                carried out once under one key.",
            "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" },
        },
    })
}

/// A whole number.
pub(super) fn whole(least: u32, most: u32) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

/// One of some words.
pub(super) fn words(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// A text of so many characters at most.
pub(super) fn text(most: u32) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most, "pattern": TEXT })
}

/// A time as it can be given.
pub(super) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// A text without control characters.
pub(super) const TEXT: &str = "^[^\\x00-\\x1f\\x7f-\\x9f]+$";
