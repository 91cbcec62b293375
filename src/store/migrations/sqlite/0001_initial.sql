-- The first schema. The same tables, columns and constraints stand in ../postgres/0001_initial.sql.

-- Facts about this database itself: the fingerprint of secrets.key.
create table settings (
    name text not null primary key,
    value text not null
) strict;

-- Every inbound event with its verdict. Saves work and keeps the record; no rule leans on it.
create table inbound_events (
    id text not null primary key,
    environment text,
    source text not null,
    provider_event_id text,
    dedupe_key text,
    kind text,
    verdict text not null,
    reason text,
    notes text not null,
    verified integer not null,
    refused integer not null,
    headers text not null,
    body blob not null,
    occurred_at text,
    received_at text not null,
    recorded_at text not null,
    copies integer not null,
    resent_changed integer not null,
    constraint inbound_events_dedupe_key unique (dedupe_key)
) strict;
create index inbound_events_source on inbound_events (source, provider_event_id);
create index inbound_events_verdict on inbound_events (verdict, id);
create index inbound_events_environment on inbound_events (environment, id);
create index inbound_events_refused on inbound_events (environment, source, id) where refused;

-- Which references, payments and subscriptions an inbound event speaks of: what a deletion must find.
create table inbound_subjects (
    subject_id text not null,
    inbound_id text not null,
    primary key (subject_id, inbound_id)
) strict;

-- The embedded queue: what the HTTP ingress took and no batch has committed yet.
create table intake_queue (
    id text not null primary key,
    source text not null,
    headers text not null,
    body blob not null,
    received_at text not null,
    leased_until text
) strict;

-- One name of a customer, with all that is known of it. The id is a keyed hash of (environment, kind,
-- namespace, subject); once it is deleted, the hash and the facts' times are all that is left.
create table customer_references (
    id text not null primary key,
    environment text not null,
    kind text not null,
    namespace text not null,
    subject text,
    component text not null,
    customer_id text,
    closed integer not null,
    deleted_before integer not null,
    facts text not null
) strict;
create index customer_references_component on customer_references (component);
create index customer_references_customer on customer_references (customer_id);

-- Totals of the payments that hang on one reference, so that it can move without them being read.
create table reference_totals (
    reference_id text not null,
    currency text not null,
    payment_count integer not null,
    successful_payment_count integer not null,
    failed_payment_count integer not null,
    total_spent integer not null,
    total_refunded integer not null,
    total_disputed_lost integer not null,
    first_payment_at text,
    last_payment_at text,
    primary key (reference_id, currency)
) strict;

-- A customer: a root among the references. Narrow, since every message raises its version.
create table customers (
    id text not null primary key,
    environment text not null,
    root_id text not null,
    version integer not null,
    deleted integer not null,
    absorbed_into text,
    created_at text not null,
    updated_at text not null
) strict;
create index customers_environment on customers (environment, created_at, id) where absorbed_into is null and not deleted;
create index customers_root on customers (root_id);
create index customers_absorbed_into on customers (absorbed_into) where absorbed_into is not null;

-- The person as shown: touched by profile facts alone.
create table customer_profiles (
    customer_id text not null primary key,
    environment text not null,
    external_id text,
    name text,
    email text,
    email_key text,
    verified_address text,
    phone text,
    is_anonymous integer not null,
    subscription_status text not null,
    person text not null,
    name_key text,
    search_key text not null
) strict;
create index customer_profiles_external_id on customer_profiles (environment, external_id);
create index customer_profiles_email on customer_profiles (environment, email_key);
create index customer_profiles_phone on customer_profiles (environment, phone);
create index customer_profiles_verified_address on customer_profiles (verified_address) where verified_address is not null;

-- A customer's totals in one currency.
create table customer_totals (
    customer_id text not null,
    currency text not null,
    environment text not null,
    payment_count integer not null,
    successful_payment_count integer not null,
    failed_payment_count integer not null,
    total_spent integer not null,
    total_refunded integer not null,
    total_disputed_lost integer not null,
    net_spent integer not null,
    first_payment_at text,
    last_payment_at text,
    primary key (customer_id, currency)
) strict;
create index customer_totals_net_spent on customer_totals (environment, currency, net_spent, customer_id);
create index customer_totals_total_spent on customer_totals (environment, currency, total_spent, customer_id);
create index customer_totals_payment_count on customer_totals (environment, currency, payment_count, customer_id);

-- What was paid on one day (UTC) at one reference, with whose that is: the rankings of a period.
create table customer_days (
    reference_id text not null,
    currency text not null,
    day text not null,
    environment text not null,
    customer_id text,
    payment_count integer not null,
    total_spent integer not null,
    net_spent integer not null,
    primary key (reference_id, currency, day)
) strict;
create index customer_days_day on customer_days (environment, currency, day, customer_id, payment_count, total_spent, net_spent);

-- One movement of money. owner_id is the reference it is counted at, none while it is nobody's.
create table payments (
    id text not null primary key,
    environment text not null,
    namespace text not null,
    provider_payment_id text not null,
    owner_id text,
    absorbed_into text,
    erased integer not null,
    status text not null,
    amount integer,
    currency text,
    amount_refunded integer not null,
    disputed_lost integer not null,
    paid_at text,
    payer_address text,
    facts text not null,
    created_at text not null,
    updated_at text not null
) strict;
create index payments_environment on payments (environment, id);
create index payments_owner on payments (owner_id, id);
create index payments_owner_paid_at on payments (owner_id, currency, paid_at) where paid_at is not null;
create index payments_payer_address on payments (payer_address) where payer_address is not null;

-- Every name of a payment. Charge and intent are two names of one.
create table payment_keys (
    environment text not null,
    namespace text not null,
    provider_payment_id text not null,
    payment_id text not null,
    primary key (environment, namespace, provider_payment_id)
) strict;
create index payment_keys_payment on payment_keys (payment_id);

create table subscriptions (
    id text not null primary key,
    environment text not null,
    namespace text not null,
    provider_subscription_id text not null,
    owner_id text,
    status text not null,
    ends_at text,
    end_announced integer not null,
    facts text not null,
    created_at text not null,
    updated_at text not null,
    constraint subscriptions_key unique (environment, namespace, provider_subscription_id)
) strict;
create index subscriptions_owner on subscriptions (owner_id, id);
create index subscriptions_ends_at on subscriptions (ends_at) where ends_at is not null and not end_announced;

-- Which references a payment or subscription ever named: what a deletion must find.
create table object_references (
    reference_id text not null,
    object_id text not null,
    kind text not null,
    primary key (reference_id, kind, object_id)
) strict;
create index object_references_object on object_references (object_id);

-- What two sources say and cannot both be true.
create table conflicts (
    id text not null primary key,
    environment text not null,
    kind text not null,
    customer_id text,
    payment_id text,
    detail text not null,
    resolved_at text,
    created_at text not null
) strict;
create index conflicts_environment on conflicts (environment, id);
create index conflicts_customer on conflicts (customer_id);

-- Who is told. From breaker to pauses: how it has been answering. rate_at is when its next request may begin, where
-- it has a rate limit.
create table endpoints (
    id text not null primary key,
    environment text not null,
    name text,
    url text not null,
    description text,
    event_types text not null,
    headers text not null,
    settings text not null,
    secrets text not null,
    enabled integer not null,
    disabled_reason text,
    deleted integer not null,
    breaker text not null,
    paused_until text,
    failing_since text,
    failing_message text,
    pauses integer not null,
    rate_at text,
    created_at text not null,
    updated_at text not null,
    constraint endpoints_name unique (environment, name)
) strict;

-- What is told: the same for all endpoints.
create table outgoing_events (
    id text not null primary key,
    environment text not null,
    kind text not null,
    customer_id text,
    payment_id text,
    subscription_id text,
    version integer,
    body text not null,
    traceparent text,
    created_at text not null
) strict;
create index outgoing_events_customer on outgoing_events (customer_id);
create index outgoing_events_payment on outgoing_events (payment_id);

-- One outgoing event on its way to one endpoint. The id is the webhook-id. While it is leased it is due when
-- the lease ends, so that an index finds both what is to be tried again and what a dead process left. One is fresh until a
-- try of it failed or it was sent again by hand: of either kind none is looked for behind the other. One that is ordered waits for those of its endpoint and
-- customer with a lower version.
create table messages (
    id text not null primary key,
    event_id text not null,
    endpoint_id text not null,
    environment text not null,
    customer_id text,
    version integer,
    ordered integer not null,
    fresh integer not null,
    status text not null,
    attempts integer not null,
    due_at text not null,
    lease text,
    leased_until text,
    created_at text not null,
    finished_at text
) strict;
create index messages_first on messages (endpoint_id, due_at) where status = 'pending' and fresh;
create index messages_again on messages (endpoint_id, due_at) where status = 'pending' and not fresh;
create index messages_order on messages (endpoint_id, customer_id, version) where status = 'pending' and ordered;
create index messages_event on messages (event_id);
create index messages_endpoint on messages (endpoint_id, status, id);

-- One try to deliver a message. The row begins with the lease, whose uuid is its id; without a result it was cut short.
-- Of request_headers the values of the endpoint's own are left out.
create table attempts (
    id text not null primary key,
    message_id text not null,
    endpoint_id text not null,
    number integer not null,
    erased integer not null,
    started_at text not null,
    finished_at text,
    outcome text,
    status_code integer,
    error text,
    request_headers text,
    response text,
    duration_ms integer
) strict;
create index attempts_message on attempts (message_id, id);

-- Dead messages sent again: a job, and which ones it means. It goes from endpoint to endpoint: those before
-- place_endpoint are done with, and of that one those up to place.
create table recoveries (
    id text not null primary key,
    environment text not null,
    endpoint_id text,
    event_type text,
    since text,
    before text not null,
    place_endpoint text not null,
    place text not null,
    recovered integer not null,
    canceled integer not null,
    created_at text not null,
    finished_at text
) strict;
create index recoveries_environment on recoveries (environment, id);
create index recoveries_endpoint on recoveries (endpoint_id, id);
create index recoveries_running on recoveries (id) where finished_at is null;

-- API keys, hashed.
create table api_keys (
    id text not null primary key,
    environment text not null,
    scope text not null,
    name text,
    hash text not null,
    hint text not null,
    created_at text not null,
    last_used_at text,
    revoked_at text,
    constraint api_keys_hash unique (hash)
) strict;

-- What was answered to requests that carry an Idempotency-Key. The id is a keyed hash of (environment, method,
-- path, key), and request one of what was sent; remains is what a deletion leaves of the answer.
create table idempotency_keys (
    id text not null primary key,
    request text not null,
    status integer not null,
    answer text not null,
    remains text not null,
    customer_id text,
    payment_id text,
    created_at text not null
) strict;
create index idempotency_keys_customer on idempotency_keys (customer_id) where customer_id is not null;
create index idempotency_keys_payment on idempotency_keys (payment_id) where payment_id is not null;
create index idempotency_keys_created_at on idempotency_keys (created_at);

-- For reports: views whose names and columns stay as they are (docs/reporting.md). Nothing is written through them.
create view reporting_customers as
select c.id as customer_id, c.environment, p.external_id, p.name, p.email, p.phone, p.is_anonymous,
    p.subscription_status, c.version, c.created_at, c.updated_at
from customers c join customer_profiles p on p.customer_id = c.id
where c.absorbed_into is null and not c.deleted;

create view reporting_spend as
select t.customer_id, t.environment, t.currency, t.payment_count, t.successful_payment_count,
    t.failed_payment_count, t.total_spent, t.total_refunded, t.total_disputed_lost, t.net_spent,
    t.first_payment_at, t.last_payment_at
from customer_totals t join customers c on c.id = t.customer_id
where t.payment_count > 0 and t.currency <> '' and c.absorbed_into is null and not c.deleted;

create view reporting_days as
select d.customer_id, d.environment, d.currency, d.day, cast(sum(d.payment_count) as bigint) as payment_count,
    cast(sum(d.total_spent) as bigint) as total_spent, cast(sum(d.net_spent) as bigint) as net_spent
from customer_days d
where d.payment_count > 0 and d.customer_id is not null
group by d.customer_id, d.environment, d.currency, d.day;

create view reporting_payments as
select p.id as payment_id, p.environment, p.namespace as provider, p.provider_payment_id, f.customer_id,
    p.status, p.amount, p.currency, p.amount_refunded, p.disputed_lost, p.paid_at, p.created_at, p.updated_at
from payments p left join customer_references f on f.id = p.owner_id
where p.absorbed_into is null and not p.erased;

create view reporting_subscriptions as
select s.id as subscription_id, s.environment, s.namespace as provider, s.provider_subscription_id,
    f.customer_id, case when s.ends_at <= strftime('%Y-%m-%dT%H:%M:%f000Z', 'now') then 'canceled' else s.status end as status,
    s.ends_at, s.created_at, s.updated_at
from subscriptions s left join customer_references f on f.id = s.owner_id;
