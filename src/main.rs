//! The `customer-sync` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    customer_sync::cli::main()
}
