//! The `customer-sync` program.

fn main() {}
