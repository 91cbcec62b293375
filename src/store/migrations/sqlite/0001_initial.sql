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
create index customers_environment on customers (environment, id);
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
    verified_email_key text,
    phone text,
    is_anonymous integer not null,
    subscription_status text not null,
    person text not null
) strict;
create index customer_profiles_external_id on customer_profiles (environment, external_id);
create index customer_profiles_email on customer_profiles (environment, email_key);
create index customer_profiles_verified_email on customer_profiles (environment, verified_email_key);

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
create index customer_totals_net_spent on customer_totals (environment, currency, net_spent);

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
    match_email text,
    facts text not null,
    created_at text not null,
    updated_at text not null
) strict;
create index payments_environment on payments (environment, id);
create index payments_owner on payments (owner_id, id);
create index payments_owner_paid_at on payments (owner_id, currency, paid_at) where paid_at is not null;
create index payments_match_email on payments (environment, match_email) where match_email is not null;

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
    primary key (reference_id, object_id)
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

-- Who is told.
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
    created_at text not null
) strict;
create index outgoing_events_customer on outgoing_events (customer_id);
create index outgoing_events_payment on outgoing_events (payment_id);

-- One outgoing event on its way to one endpoint. The id is the webhook-id. While it is leased it is due when
-- the lease ends, so that one index finds what is to be tried again and what a dead process left.
create table messages (
    id text not null primary key,
    event_id text not null,
    endpoint_id text not null,
    environment text not null,
    customer_id text,
    status text not null,
    attempts integer not null,
    due_at text not null,
    lease text,
    leased_until text,
    created_at text not null,
    finished_at text
) strict;
create index messages_due on messages (endpoint_id, due_at) where status = 'pending';
create index messages_event on messages (event_id);
create index messages_endpoint on messages (endpoint_id, status, id);

-- One try to deliver a message. The row begins with the lease, whose uuid is its id; without a result it was cut short.
create table attempts (
    id text not null primary key,
    message_id text not null,
    endpoint_id text not null,
    number integer not null,
    started_at text not null,
    finished_at text,
    outcome text,
    status_code integer,
    error text,
    response text,
    duration_ms integer
) strict;
create index attempts_message on attempts (message_id, id);

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
