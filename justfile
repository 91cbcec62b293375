# The commands of the project. `just` lists them; all but `test` and `check` are conveniences.

_list:
    @just --list --unsorted

# Format, lints, documentation, and (where the tools are installed) dependencies, alerts and the Dockerfile
check:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
    if command -v cargo-deny >/dev/null; then cargo deny check; fi
    if command -v promtool >/dev/null; then promtool test rules deploy/alerts.test.yml; fi
    if command -v hadolint >/dev/null; then hadolint Dockerfile; fi

# Everything, on a real PostgreSQL and a real RabbitMQ; arguments go to cargo test
test *arguments:
    scripts/test {{ arguments }}

# The rules alone: what needs no service
test-fast:
    cargo test --lib --locked

# Write what the code says of the providers into docs/events.md
docs:
    cargo run --quiet --locked -- providers --markdown > target/providers.md
    sed -i -e '/^<!-- begin: customer-sync providers/,/^<!-- end -->/{//!d}' -e '/^<!-- begin: customer-sync providers/r target/providers.md' docs/events.md

# Write the description of the API anew: examples from real answers, then docs/openapi.json
openapi:
    WRITE_OPENAPI=1 scripts/test --locked --test it -- http::openapi
    WRITE_OPENAPI=1 scripts/test --locked --test it -- http::openapi

# The properties and the differential with new seeds each time, so many times; stops at the first difference and prints its seed
hunt times="20":
    for _ in $(seq {{ times }}); do cargo test --lib --locked --quiet && scripts/differential || exit 1; done

# Fuzz one reader of outside bytes, for so many seconds (needs cargo-fuzz and a nightly toolchain; docs/fuzzing.md)
fuzz target seconds="600":
    test -e fuzz/Cargo.lock || cp Cargo.lock fuzz/Cargo.lock
    cargo +nightly fuzz run --sanitizer none {{ target }} -- -max_total_time={{ seconds }} -max_len=4096

# Histories under faults with a seed, until so many faults were borne (0: until stopped); prints how far it is, and how to repeat it
chaos seed="1" faults="1000":
    CHAOS_SEED={{ seed }} CHAOS_FAULTS={{ faults }} scripts/test --locked --test it -- chaos:: --nocapture

# Four processes on one outbox, one of which is killed again and again, with so many messages; prints how far it is
deliveries count="200000":
    DELIVERIES={{ count }} scripts/test --locked --test it -- daemon::kills:: --nocapture

# Everything at work in one process, with no service
demo *arguments:
    cargo run --release --locked -- demo {{ arguments }}

# Start PostgreSQL and RabbitMQ in containers
up:
    docker compose up --detach --wait postgres rabbitmq

# Start everything in containers: with the daemon, an example receiver, Prometheus and Grafana
stack:
    docker compose up --detach --wait --build

# Stop them; their data stays
down:
    docker compose down

# Stop them and delete all that they keep: customers, queues, metrics, and the key of what was deleted
[confirm("Delete all data of the containers?")]
wipe:
    docker compose down --volumes

# How fast it is, by what this machine allows; arguments go to the harness, `--help` shows them
bench *arguments:
    scripts/bench {{ arguments }}

# What verify, normalize and decide cost, beside the least that they could
bench-rules:
    cargo bench --bench rules
