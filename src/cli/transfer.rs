//! `import` and `export`: customers, payments and subscriptions in and out of files (docs/import.md).

mod bounds;
mod document;
mod export;
mod file;
mod import;
mod input;
mod record;
mod report;
mod resume;
mod rows;
mod table;
mod target;

pub(super) use export::Export;
pub(super) use import::Import;

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Format {
    /// One JSON object a line
    Ndjson,
    /// Comma-separated values under a header
    Csv,
}

impl Format {
    /// The one that is asked for, else by the file's ending.
    fn of(asked: Option<Self>, file: &std::path::Path) -> Self {
        let is_table = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        asked.unwrap_or(if is_table { Self::Csv } else { Self::Ndjson })
    }
}

/// What a record is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
enum Kind {
    /// Customers
    #[value(alias = "customer")]
    Customers,
    /// Payments
    #[value(alias = "payment")]
    Payments,
    /// Subscriptions
    #[value(alias = "subscription")]
    Subscriptions,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Customers, Self::Payments, Self::Subscriptions];

    /// What `object` says of one.
    fn object(self) -> &'static str {
        match self {
            Self::Customers => "customer",
            Self::Payments => "payment",
            Self::Subscriptions => "subscription",
        }
    }
}
