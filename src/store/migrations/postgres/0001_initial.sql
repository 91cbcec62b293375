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
create index customers_environment on customers (environment, id);
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
    verified_email_key text,
    phone text,
    is_anonymous boolean not null,
    subscription_status text not null,
    person jsonb not null
);
create index customer_profiles_external_id on customer_profiles (environment, external_id);
create index customer_profiles_email on customer_profiles (environment, email_key);
create index customer_profiles_verified_email on customer_profiles (environment, verified_email_key);

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
create index customer_totals_net_spent on customer_totals (environment, currency, net_spent);

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
    match_email text,
    facts jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index payments_environment on payments (environment, id);
create index payments_owner on payments (owner_id, id);
create index payments_owner_paid_at on payments (owner_id, currency, paid_at) where paid_at is not null;
create index payments_match_email on payments (environment, match_email) where match_email is not null;

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
    primary key (reference_id, object_id)
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

-- Who is told.
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
    created_at timestamptz not null
);
create index outgoing_events_customer on outgoing_events (customer_id);
create index outgoing_events_payment on outgoing_events (payment_id);

-- One outgoing event on its way to one endpoint. The id is the webhook-id. While it is leased it is due when
-- the lease ends, so that one index finds what is to be tried again and what a dead process left.
create table messages (
    id uuid not null primary key,
    event_id uuid not null,
    endpoint_id uuid not null,
    environment text not null,
    customer_id uuid,
    status text not null,
    attempts bigint not null,
    due_at timestamptz not null,
    lease uuid,
    leased_until timestamptz,
    created_at timestamptz not null,
    finished_at timestamptz
);
create index messages_due on messages (endpoint_id, due_at) where status = 'pending';
create index messages_event on messages (event_id);
create index messages_endpoint on messages (endpoint_id, status, id);

-- One try to deliver a message. The row begins with the lease, whose uuid is its id; without a result it was cut short.
create table attempts (
    id uuid not null primary key,
    message_id uuid not null,
    endpoint_id uuid not null,
    number bigint not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    outcome text,
    status_code bigint,
    error text,
    response text,
    duration_ms bigint
);
create index attempts_message on attempts (message_id, id);

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
