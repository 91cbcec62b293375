//! A table as one row after another: the first names the columns; commas, semicolons or tabs stand between the cells.

use super::{
    bounds::{Kept, LONGEST},
    document::Next,
    file::{Entry, Give, Piece, Place, pass_on},
    table,
};
use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read},
};

type Table<R> = csv::Reader<Kept<R>>;

/// What there is in the place of a row.
enum Row {
    None,
    /// Its cells were read, unless there is a reason why not.
    Whole {
        line: u64,
        original: Vec<u8>,
        bad: Option<&'static str>,
    },
    /// It has no end within what is read of one.
    Endless {
        line: u64,
    },
}

/// Reads a table to its end, or until it is enough.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(mut reader: impl BufRead, give: &mut Give<'_>) -> io::Result<()> {
    let beginning = beginning(&mut reader)?;
    let delimiter = delimiter(&beginning);
    let reader = io::Cursor::new(beginning).chain(reader);
    let mut table = csv::ReaderBuilder::new();
    // The header is read as any row is: its bytes are wanted too.
    let table = table.delimiter(delimiter).flexible(true).has_headers(false);
    let mut table = table.from_reader(Kept::new(reader));
    let mut cells = csv::StringRecord::new();
    let (line, header) = match next(&mut table, &mut cells)? {
        Row::None => return Ok(()),
        Row::Endless { line } => {
            bad(give, line, format!("the header has no end within {LONGEST} bytes"), Vec::new());
            return Ok(());
        }
        Row::Whole { line, bad: Some(why), .. } => {
            bad(give, line, format!("the header cannot be read: {why}"), Vec::new());
            return Ok(());
        }
        Row::Whole { line, original, bad: None } => (line, original),
    };
    let columns: Vec<String> = cells.iter().map(|name| name.trim().to_owned()).collect();
    if let Err(why) = check(&columns) {
        bad(give, line, why, Vec::new());
        return Ok(());
    }
    if give(Piece::Header(header)) == Next::Enough {
        return Ok(());
    }
    rows(table, &columns, give)
}

/// Whether a row names columns.
fn check(columns: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = columns.iter().find(|column| !seen.insert(column.as_str())) {
        return Err(format!("two columns are called `{twice}`"));
    }
    if !columns.iter().any(|column| table::is_column(column)) {
        return Err("the header is missing: no column of the first row is known".to_owned());
    }
    Ok(())
}

fn rows<R: Read>(mut table: Table<R>, columns: &[String], give: &mut Give<'_>) -> io::Result<()> {
    let mut cells = csv::StringRecord::new();
    loop {
        let (line, original, read) = match next(&mut table, &mut cells)? {
            Row::None => return Ok(()),
            Row::Endless { line } => {
                let why = format!(
                    "the row has no end within {LONGEST} bytes, and nothing behind it was imported: a quotation mark \
                     without its second one?"
                );
                let (original, rest) = table.into_inner().into_parts();
                let place = Place::Line(line);
                let entry = Entry { place, value: Err(why), original, is_cut: true };
                if give(Piece::Entry(entry)) == Next::More {
                    pass_on(io::BufReader::new(rest), None, give)?;
                }
                return Ok(());
            }
            Row::Whole { line, original, bad: Some(why) } => {
                (line, original, Err(format!("the row cannot be read: {why}")))
            }
            Row::Whole { line, original, bad: None } => {
                let read = if cells.len() == columns.len() {
                    table::record(columns.iter().map(String::as_str).zip(cells.iter()))
                } else {
                    let (cells, names) = (cells.len(), columns.len());
                    Err(format!("the row has {cells} cells, and the header names {names} columns"))
                };
                (line, original, read)
            }
        };
        let entry = Entry { place: Place::Line(line), value: read, original, is_cut: false };
        if give(Piece::Entry(entry)) == Next::Enough {
            return Ok(());
        }
    }
}

fn next<R: Read>(table: &mut Table<R>, cells: &mut csv::StringRecord) -> io::Result<Row> {
    let line = table.position().line();
    let read = table.read_record(cells);
    if table.get_ref().is_over() {
        return Ok(Row::Endless { line });
    }
    let why = match read {
        Ok(false) => return Ok(Row::None),
        Ok(true) => None,
        Err(error) => match error.into_kind() {
            csv::ErrorKind::Io(error) => return Err(error),
            csv::ErrorKind::Utf8 { .. } => Some("it is no UTF-8"),
            _ => Some("it is no row of a table"),
        },
    };
    let end = table.position().byte();
    let taken = table.get_mut().take_to(end);
    // The end of the row before, and empty lines.
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let before = taken.iter().take_while(|byte| is_end(byte));
    let lines = before.filter(|byte| **byte == b'\n').count();
    let line = line.saturating_add(u64::try_from(lines).unwrap_or(u64::MAX));
    let original = trim(&taken, is_end);
    let unclosed = table.get_ref().is_at_end() && is_unclosed(original);
    let bad = why.or(unclosed.then_some("a quotation mark is without its second one"));
    Ok(Row::Whole { line, original: original.to_owned(), bad })
}

fn trim(bytes: &[u8], is_end: impl Fn(&u8) -> bool) -> &[u8] {
    let mut rest = bytes;
    while let [first, after @ ..] = rest
        && is_end(first)
    {
        rest = after;
    }
    while let [before @ .., last] = rest
        && is_end(last)
    {
        rest = before;
    }
    rest
}

/// Whether the last row goes on over lines that were none of it.
fn is_unclosed(last: &[u8]) -> bool {
    // An odd number of marks parts it into an even number of pieces.
    let pieces = last.split(|byte| *byte == b'"').count();
    pieces.is_multiple_of(2) && last.contains(&b'\n')
}

fn bad(give: &mut Give<'_>, line: u64, why: String, original: Vec<u8>) {
    let entry = Entry { place: Place::Line(line), value: Err(why), original, is_cut: false };
    give(Piece::Entry(entry));
}

/// All up to the end of the first line that is not empty, or as much as a record may have.
fn beginning(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    loop {
        let begin = lines.len();
        let left = u64::try_from(LONGEST.saturating_sub(begin)).unwrap_or_default();
        reader.by_ref().take(left).read_until(b'\n', &mut lines)?;
        if !matches!(lines.get(begin..), Some(b"\n" | b"\r\n")) {
            return Ok(lines);
        }
    }
}

/// What stands most often in the header, of the three that programs write.
fn delimiter(header: &[u8]) -> u8 {
    let count = |delimiter: u8| header.split(|byte| *byte == delimiter).count();
    // Of equal ones the last wins: the comma.
    [b'\t', b';', b','].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    type Line = (u64, Result<Value, String>);

    /// The entries, and what a file of the bad rows is.
    fn read_all(text: &[u8]) -> (Vec<Line>, Vec<u8>) {
        let (mut all, mut rejected) = (Vec::new(), Vec::new());
        // A small buffer: what is read must not depend on where it ends.
        read(io::BufReader::with_capacity(16, text), &mut |piece| {
            match piece {
                Piece::Header(header) => rejected = [header.as_slice(), b"\n"].concat(),
                Piece::Entry(entry) => {
                    let Place::Line(line) = entry.place else { panic!("{}", entry.place) };
                    if entry.value.is_err() {
                        let end: &[u8] = if entry.is_cut { b"" } else { b"\n" };
                        rejected.extend([entry.original.as_slice(), end].concat());
                    }
                    all.push((line, entry.value));
                }
                Piece::Rest(bytes) => rejected.extend(bytes),
                Piece::Page(page) => panic!("a table has none: {page:?}"),
            }
            Next::More
        })
        .expect("it is read");
        (all, rejected)
    }

    #[test]
    fn a_row_becomes_a_record_and_a_bad_one_is_named_and_kept_as_it_stood() {
        let text = b"object;name;amount\ncustomer;\"Ada\nLovelace\";\ncustomer;x\npayment;; x\npayment;\xff;\npayment;;12\n";
        for text in [text.to_vec(), text.to_vec().strip_suffix(b"\n").expect("an end").to_vec()] {
            let (all, rejected) = read_all(&text);
            let lines: Vec<_> = all.iter().map(|(line, _)| *line).collect();
            assert_eq!(lines, [2, 4, 5, 6, 7]);
            assert_eq!(all[0].1, Ok(json!({"object": "customer", "name": "Ada\nLovelace"})));
            assert_eq!(all[4].1, Ok(json!({"object": "payment", "amount": 12})));
            let why: Vec<_> =
                all[1..4].iter().map(|(_, value)| value.clone().expect_err("bad")).collect();
            assert_eq!(why[0], "the row has 2 cells, and the header names 3 columns");
            assert_eq!(why[1], "amount: is no whole number of minor units");
            assert!(why[2].contains("no UTF-8"));
            assert_eq!(rejected, b"object;name;amount\ncustomer;x\npayment;; x\npayment;\xff;\n");
        }
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        let text = b"\r\nobject,amount\r\n\r\npayment,x\r\npayment,1\r\n\r\npayment,\"y\r\nz\"\r\n";
        let (all, rejected) = read_all(text);
        let lines: Vec<_> = all.iter().map(|(line, value)| (*line, value.is_ok())).collect();
        assert_eq!(lines, [(4, false), (5, true), (7, false)]);
        assert_eq!(rejected, b"object,amount\npayment,x\npayment,\"y\r\nz\"\n");
    }

    #[test]
    fn empty_lines_before_the_header_do_not_hide_what_stands_between_its_cells() {
        let text = b"\r\n\n\r\nobject;external_id\r\ncustomer;usr_1\r\n";
        let (all, _) = read_all(text);
        assert_eq!(all, [(5, Ok(json!({"object": "customer", "external_id": "usr_1"})))]);
    }

    #[test]
    fn a_table_that_names_a_column_twice_or_none_that_is_known_is_refused() {
        let (all, _) = read_all(b"a,b,a\n1,2,3\n");
        assert_eq!(all, [(1, Err("two columns are called `a`".into()))]);
        let (all, _) = read_all(b"usr_1,ada@example.com\n");
        let missing = "the header is missing: no column of the first row is known";
        assert_eq!(all, [(1, Err(missing.into()))]);
        assert_eq!(read_all(b"metadata.plan\n").0, []);
        assert_eq!(read_all(b"").0, []);
    }

    #[test]
    fn a_quotation_mark_that_is_never_closed_swallows_no_rows() {
        let bad = "external_id,name\nusr_1,\"Ada\nusr_2,Bo\n";
        let (all, rejected) = read_all(bad.as_bytes());
        let why = "the row cannot be read: a quotation mark is without its second one";
        assert_eq!(all, [(2, Err(why.into()))]);
        assert_eq!(rejected, bad.as_bytes());
        // A sign for inches, or a name over two lines, is none.
        let (all, _) = read_all(b"external_id,name\nusr_1,6\" pipe\nusr_2,\"B\no\"");
        assert!(all.iter().all(|(_, value)| value.is_ok()), "{all:?}");
    }

    #[test]
    fn a_row_without_an_end_is_not_held_and_all_from_it_on_is_kept_as_it_stood() {
        let head = "external_id,name\nusr_1,Ada\nusr_2,\"Bo\n";
        let more = "usr_3,Cy\n".repeat(LONGEST / 3);
        let (all, rejected) = read_all([head, &more].concat().as_bytes());
        assert_eq!(all.len(), 2);
        let why = all[1].1.clone().expect_err("endless");
        assert!(why.contains("no end within 4194304 bytes"), "{why}");
        assert_eq!(all[1].0, 3);
        let expected = ["external_id,name\nusr_2,\"Bo\n", &more].concat();
        assert!(rejected == expected.as_bytes(), "{} bytes", rejected.len());
    }

    /// Gives one byte without end, and counts.
    struct Endless(usize);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'x');
            self.0 += buffer.len();
            assert!(self.0 < 2 * LONGEST, "no more is read than a record may have");
            Ok(buffer.len())
        }
    }

    #[test]
    fn no_more_is_read_than_a_row_may_have() {
        let head = b"external_id,name\nusr_1,\"".as_slice();
        let reader = io::BufReader::new(head.chain(Endless(0)));
        let mut seen = 0;
        read(reader, &mut |piece| match piece {
            Piece::Header(_) => Next::More,
            Piece::Entry(entry) => {
                seen += 1;
                assert!(entry.value.is_err() && entry.original.len() < LONGEST + 64 * 1024);
                Next::Enough
            }
            Piece::Rest(_) | Piece::Page(_) => panic!("it was enough"),
        })
        .expect("it is read");
        assert_eq!(seen, 1);
    }
}
