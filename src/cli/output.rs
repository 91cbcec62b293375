//! The one place that prints: lines, aligned fields and tables for people, JSON for programs.

use serde::Serialize;
use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
};

/// For whom a command prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::Args)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Output {
    /// Prints a thing: as JSON, or as the people's text that a function makes.
    pub(crate) fn thing<T: Serialize>(self, thing: &T, text: impl FnOnce(&T) -> String) {
        if self.json { json(thing) } else { line(text(thing)) }
    }

    /// Prints a list: as the API answers with lists, or as a table with one row each.
    pub(crate) fn list<T: Serialize, const N: usize>(
        self,
        items: &[T],
        has_more: bool,
        heads: [&str; N],
        row: impl Fn(&T) -> [String; N],
    ) {
        if self.json {
            return json(
                &serde_json::json!({"object": "list", "data": items, "has_more": has_more}),
            );
        }
        if items.is_empty() {
            return line("nothing");
        }
        line(table(heads, items.iter().map(row).collect()));
        if has_more {
            line("… and more");
        }
    }
}

/// Prints a line.
pub(crate) fn line(text: impl Display) {
    // Nobody reads on: there is nobody to tell.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a line on standard error: what is told beside a command's own output.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error with its causes, on standard error.
pub(crate) fn error(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
}

/// Prints a value as JSON, indented where a person looks on.
pub(crate) fn json(value: &impl Serialize) {
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    line(text.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
}

/// `name  value` lines, the values aligned. Lines of an empty value are left out.
pub(crate) fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let shown = pairs.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{name:width$}  {value}")).collect::<Vec<_>>().join("\n")
}

/// Columns two spaces apart under their heads.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut all = vec![heads.map(str::to_owned)];
    all.extend(rows);
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let render = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, w)| format!("{cell:w$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(render).collect::<Vec<_>>().join("\n")
}

/// A value, or `-` where there is none.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A number with its thousands apart: `12 345`.
pub(crate) fn thousands(number: impl Display) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let mut out = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_fields_are_aligned() {
        let rows = vec![["1".to_owned(), "é".to_owned()], ["22".to_owned(), String::new()]];
        assert_eq!(table(["N", "NAME"], rows), "N   NAME\n1   é\n22");
        let text = fields(&[("a", "1".into()), ("long", "2".into()), ("none", String::new())]);
        assert_eq!(text, "a     1\nlong  2");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(thousands(1_234_567), "1 234 567");
        assert_eq!((thousands(-1_000), thousands(12)), ("-1 000".into(), "12".into()));
    }
}
