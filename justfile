# The commands of the project. `just` lists them; all but `test` and `check` are conveniences.

_list:
    @just --list --unsorted

# Format, lints, documentation, and (where cargo-deny is installed) dependencies
check:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
    if command -v cargo-deny >/dev/null; then cargo deny check; fi

# Everything, on a real PostgreSQL and a real RabbitMQ; arguments go to cargo test
test *arguments:
    scripts/test {{ arguments }}

# The rules alone: what needs no service
test-fast:
    cargo test --lib --locked

# Everything at work in one process, with no service
demo *arguments:
    cargo run --release --locked -- demo {{ arguments }}

# Start PostgreSQL and RabbitMQ in containers
up:
    docker compose up --detach --wait

# Stop them; their data goes
down:
    docker compose down --volumes
