-- The first schema. The same tables, columns and constraints stand in ../sqlite/0001_initial.sql.

-- Facts about this database itself: the fingerprint of secrets.key.
create table settings (
    name text not null primary key,
    value text not null
);

-- Every inbound event with its verdict. Saves work and keeps the record; no rule leans on it.
create table inbound_events (
    id uuid not null primary key,
    environment text,
    source text not null,
    provider_event_id text,
    dedupe_key text,
    kind text,
    verdict text not null,
    reason text,
    notes jsonb not null,
    verified boolean not null,
    refused boolean not null,
    headers jsonb not null,
    body bytea not null,
    occurred_at timestamptz,
    received_at timestamptz not null,
    recorded_at timestamptz not null,
    copies bigint not null,
    resent_changed boolean not null,
    constraint inbound_events_dedupe_key unique (dedupe_key)
);
create index inbound_events_source on inbound_events (source, provider_event_id);
create index inbound_events_verdict on inbound_events (verdict, id);
create index inbound_events_environment on inbound_events (environment, id);
create index inbound_events_refused on inbound_events (environment, source, id) where refused;

-- Which references, payments and subscriptions an inbound event speaks of: what a deletion must find.
create table inbound_subjects (
    subject_id uuid not null,
    inbound_id uuid not null,
    primary key (subject_id, inbound_id)
);

-- The embedded queue: what the HTTP ingress took and no batch has committed yet.
create table intake_queue (
    id uuid not null primary key,
    source text not null,
    headers jsonb not null,
    body bytea not null,
    received_at timestamptz not null,
    leased_until timestamptz
);

-- One name of a customer, with all that is known of it. The id is a keyed hash of (environment, kind,
-- namespace, subject); once it is deleted, the hash and the facts' times are all that is left.
create table customer_references (
    id uuid not null primary key,
    environment text not null,
    kind text not null,
    namespace text not null,
    subject text,
    component uuid not null,
    customer_id uuid,
    closed boolean not null,
    deleted_before boolean not null,
    facts jsonb not null
);
create index customer_references_component on customer_references (component);
create index customer_references_customer on customer_references (customer_id);

-- Totals of the payments that hang on one reference, so that it can move without them being read.
create table reference_totals (
    reference_id uuid not null,
    currency text not null,
    payment_count bigint not null,
    successful_payment_count bigint not null,
    failed_payment_count bigint not null,
    total_spent bigint not null,
    total_refunded bigint not null,
    total_disputed_lost bigint not null,
    first_payment_at timestamptz,
    last_payment_at timestamptz,
    primary key (reference_id, currency)
);

-- A customer: a root among the references. Narrow, since every message raises its version.
create table customers (
    id uuid not null primary key,
    environment text not null,
    root_id uuid not null,
    version bigint not null,
    deleted boolean not null,
    absorbed_into uuid,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index customers_environment on customers (environment, created_at, id) where absorbed_into is null and not deleted;
create index customers_root on customers (root_id);
create index customers_absorbed_into on customers (absorbed_into) where absorbed_into is not null;

-- The person as shown: touched by profile facts alone.
create table customer_profiles (
    customer_id uuid not null primary key,
    environment text not null,
    external_id text,
    name text,
    email text,
    email_key text,
    verified_address uuid,
    phone text,
    is_anonymous boolean not null,
    subscription_status text not null,
    person jsonb not null,
    name_key text,
    search_key text not null
);
create index customer_profiles_external_id on customer_profiles (environment, external_id);
create index customer_profiles_email on customer_profiles (environment, email_key);
create index customer_profiles_phone on customer_profiles (environment, phone);
create index customer_profiles_verified_address on customer_profiles (verified_address) where verified_address is not null;

-- What only Postgres has: tags and metadata by value, and any part of a name where pg_trgm can be had.
create index customer_profiles_person on customer_profiles using gin (person jsonb_path_ops);
do $$
declare
    place text;
begin
    if not exists (select 1 from pg_extension where extname = 'pg_trgm') then
        begin
            create extension pg_trgm schema public;
        exception when others then
            raise notice 'pg_trgm cannot be had: searches by a part of a name read all customers';
        end;
    end if;
    select n.nspname into place from pg_extension x join pg_namespace n on n.oid = x.extnamespace
    where x.extname = 'pg_trgm';
    if place is not null then
        execute format('create index customer_profiles_search on customer_profiles using gin (search_key %I.gin_trgm_ops)', place);
    end if;
end $$;

-- A customer's totals in one currency.
create table customer_totals (
    customer_id uuid not null,
    currency text not null,
    environment text not null,
    payment_count bigint not null,
    successful_payment_count bigint not null,
    failed_payment_count bigint not null,
    total_spent bigint not null,
    total_refunded bigint not null,
    total_disputed_lost bigint not null,
    net_spent bigint not null,
    first_payment_at timestamptz,
    last_payment_at timestamptz,
    primary key (customer_id, currency)
);
create index customer_totals_net_spent on customer_totals (environment, currency, net_spent, customer_id);
create index customer_totals_total_spent on customer_totals (environment, currency, total_spent, customer_id);
create index customer_totals_payment_count on customer_totals (environment, currency, payment_count, customer_id);

-- What was paid on one day (UTC) at one reference, with whose that is: the rankings of a period.
create table customer_days (
    reference_id uuid not null,
    currency text not null,
    day text not null,
    environment text not null,
    customer_id uuid,
    payment_count bigint not null,
    total_spent bigint not null,
    net_spent bigint not null,
    primary key (reference_id, currency, day)
);
create index customer_days_day on customer_days (environment, currency, day, customer_id, payment_count, total_spent, net_spent);

-- One movement of money. owner_id is the reference it is counted at, none while it is nobody's.
create table payments (
    id uuid not null primary key,
    environment text not null,
    namespace text not null,
    provider_payment_id text not null,
    owner_id uuid,
    absorbed_into uuid,
    erased boolean not null,
    status text not null,
    amount bigint,
    currency text,
    amount_refunded bigint not null,
    disputed_lost bigint not null,
    paid_at timestamptz,
    payer_address uuid,
    facts jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index payments_environment on payments (environment, id);
create index payments_owner on payments (owner_id, id);
create index payments_owner_paid_at on payments (owner_id, currency, paid_at) where paid_at is not null;
create index payments_payer_address on payments (payer_address) where payer_address is not null;

-- Every name of a payment. Charge and intent are two names of one.
create table payment_keys (
    environment text not null,
    namespace text not null,
    provider_payment_id text not null,
    payment_id uuid not null,
    primary key (environment, namespace, provider_payment_id)
);
create index payment_keys_payment on payment_keys (payment_id);

create table subscriptions (
    id uuid not null primary key,
    environment text not null,
    namespace text not null,
    provider_subscription_id text not null,
    owner_id uuid,
    status text not null,
    ends_at timestamptz,
    end_announced boolean not null,
    facts jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint subscriptions_key unique (environment, namespace, provider_subscription_id)
);
create index subscriptions_owner on subscriptions (owner_id, id);
create index subscriptions_ends_at on subscriptions (ends_at) where ends_at is not null and not end_announced;

-- Which references a payment or subscription ever named: what a deletion must find.
create table object_references (
    reference_id uuid not null,
    object_id uuid not null,
    kind text not null,
    primary key (reference_id, kind, object_id)
);
create index object_references_object on object_references (object_id);

-- What two sources say and cannot both be true.
create table conflicts (
    id uuid not null primary key,
    environment text not null,
    kind text not null,
    customer_id uuid,
    payment_id uuid,
    detail text not null,
    resolved_at timestamptz,
    created_at timestamptz not null
);
create index conflicts_environment on conflicts (environment, id);
create index conflicts_customer on conflicts (customer_id);

-- Who is told. From breaker to pauses: how it has been answering. rate_at is when its next request may begin, where
-- it has a rate limit.
create table endpoints (
    id uuid not null primary key,
    environment text not null,
    name text,
    url text not null,
    description text,
    event_types jsonb not null,
    headers jsonb not null,
    settings jsonb not null,
    secrets jsonb not null,
    enabled boolean not null,
    disabled_reason text,
    deleted boolean not null,
    breaker text not null,
    paused_until timestamptz,
    failing_since timestamptz,
    failing_message uuid,
    pauses bigint not null,
    rate_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint endpoints_name unique (environment, name)
);

-- What is told: the same for all endpoints.
create table outgoing_events (
    id uuid not null primary key,
    environment text not null,
    kind text not null,
    customer_id uuid,
    payment_id uuid,
    subscription_id uuid,
    version bigint,
    body text not null,
    traceparent text,
    created_at timestamptz not null
);
create index outgoing_events_customer on outgoing_events (customer_id);
create index outgoing_events_payment on outgoing_events (payment_id);

-- One outgoing event on its way to one endpoint. The id is the webhook-id. While it is leased it is due when
-- the lease ends, so that an index finds both what is to be tried again and what a dead process left. One is fresh until a
-- try of it failed or it was sent again by hand: of either kind none is looked for behind the other. One that is ordered waits for those of its endpoint and
-- customer with a lower version.
create table messages (
    id uuid not null primary key,
    event_id uuid not null,
    endpoint_id uuid not null,
    environment text not null,
    customer_id uuid,
    version bigint,
    ordered boolean not null,
    fresh boolean not null,
    status text not null,
    attempts bigint not null,
    due_at timestamptz not null,
    lease uuid,
    leased_until timestamptz,
    created_at timestamptz not null,
    finished_at timestamptz
);
create index messages_first on messages (endpoint_id, due_at) where status = 'pending' and fresh;
create index messages_again on messages (endpoint_id, due_at) where status = 'pending' and not fresh;
create index messages_order on messages (endpoint_id, customer_id, version) where status = 'pending' and ordered;
create index messages_event on messages (event_id);
create index messages_endpoint on messages (endpoint_id, status, id);

-- One try to deliver a message. The row begins with the lease, whose uuid is its id; without a result it was cut short.
-- Of request_headers the values of the endpoint's own are left out.
create table attempts (
    id uuid not null primary key,
    message_id uuid not null,
    endpoint_id uuid not null,
    number bigint not null,
    erased boolean not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    outcome text,
    status_code bigint,
    error text,
    request_headers jsonb,
    response text,
    duration_ms bigint
);
create index attempts_message on attempts (message_id, id);

-- Dead messages sent again: a job, and which ones it means. It goes from endpoint to endpoint: those before
-- place_endpoint are done with, and of that one those up to place.
create table recoveries (
    id uuid not null primary key,
    environment text not null,
    endpoint_id uuid,
    event_type text,
    since timestamptz,
    before timestamptz not null,
    place_endpoint uuid not null,
    place uuid not null,
    recovered bigint not null,
    canceled boolean not null,
    created_at timestamptz not null,
    finished_at timestamptz
);
create index recoveries_environment on recoveries (environment, id);
create index recoveries_endpoint on recoveries (endpoint_id, id);
create index recoveries_running on recoveries (id) where finished_at is null;

-- API keys, hashed.
create table api_keys (
    id uuid not null primary key,
    environment text not null,
    scope text not null,
    name text,
    hash text not null,
    hint text not null,
    created_at timestamptz not null,
    last_used_at timestamptz,
    revoked_at timestamptz,
    constraint api_keys_hash unique (hash)
);

-- What was answered to requests that carry an Idempotency-Key. The id is a keyed hash of (environment, method,
-- path, key), and request one of what was sent; remains is what a deletion leaves of the answer.
create table idempotency_keys (
    id uuid not null primary key,
    request uuid not null,
    status bigint not null,
    answer text not null,
    remains text not null,
    customer_id uuid,
    payment_id uuid,
    created_at timestamptz not null
);
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
    f.customer_id, case when s.ends_at <= now() then 'canceled' else s.status end as status,
    s.ends_at, s.created_at, s.updated_at
from subscriptions s left join customer_references f on f.id = s.owner_id;
