//! A file as one record after another, whatever its format, with nothing but one record of it in memory.

use super::{
    Format,
    bounds::{Counted, LONGEST},
    document::{self, Next, Page, Part},
    rows,
};
use serde_json::{Map, Value};
use std::{
    cell::Cell,
    fmt,
    io::{self, BufRead, Cursor, Read},
};

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// On a line, from 1.
    Line(u64),
    /// So many elements into a document, from 1.
    Element(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Element(element) => write!(f, "element {element}"),
        }
    }
}

/// One record of a file, or why there is none in its place.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) value: Result<Value, String>,
    /// As it stood in the file: a line, or a row. Of a document's element, its JSON.
    pub(super) original: Vec<u8>,
    /// Whether it goes on as [`Piece::Rest`].
    pub(super) is_cut: bool,
}

/// What a file gives, one after another.
#[derive(Debug)]
pub(super) enum Piece {
    /// The row that names a table's columns, as it stood: rows that are taken out of the table need it.
    Header(Vec<u8>),
    /// A record.
    Entry(Entry),
    /// How the last record goes on, which is too long to be held.
    Rest(Vec<u8>),
    /// What the list whose elements were given says of itself.
    Page(Page),
}

/// Whoever takes the pieces.
pub(super) type Give<'g> = dyn FnMut(Piece) -> Next + 'g;

/// Reads a file to its end, or until it is enough.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(
    format: Format,
    mut reader: impl BufRead,
    give: &mut Give<'_>,
) -> io::Result<()> {
    skip_mark(&mut reader)?;
    match format {
        Format::Ndjson => json(reader, give),
        Format::Csv => rows::read(reader, give),
    }
}

/// Passes over the mark that some programs put before UTF-8.
fn skip_mark(reader: &mut impl BufRead) -> io::Result<()> {
    if reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    Ok(())
}

/// JSON: where the first line is a value, a value a line; else documents over many lines.
fn json(mut reader: impl BufRead, give: &mut Give<'_>) -> io::Result<()> {
    let (mut line, mut number) = (Vec::new(), 0);
    let mut is_first = true;
    loop {
        number += 1;
        let whole = match read_line(&mut reader, &mut line)? {
            Line::None => return Ok(()),
            Line::Whole => true,
            Line::Longer => false,
        };
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let mut second = Vec::new();
        if std::mem::take(&mut is_first) && is_open(text, whole) {
            if whole && !matches!(text.last(), Some(b'{' | b'[')) {
                read_line(&mut reader, &mut second)?;
            }
            // A line that was cut off, with whole ones behind it, is a bad line, unless it ends behind one element of a
            // list.
            let is_lists = || text.ends_with(b",") && begins_list(text);
            if serde_json::from_slice::<Map<String, Value>>(&second).is_err() || is_lists() {
                let all = Cursor::new(line).chain(Cursor::new(second)).chain(reader);
                // The lines before were empty.
                return documents(all, number - 1, give);
            }
        }
        if !whole {
            let why = format!("the line has more than {LONGEST} bytes");
            let (place, original) = (Place::Line(number), line.clone());
            let entry = Entry { place, value: Err(why), original, is_cut: true };
            if give(Piece::Entry(entry)) == Next::Enough
                || pass_on(&mut reader, Some(b'\n'), give)? == Next::Enough
            {
                return Ok(());
            }
            continue;
        }
        let mut next = each_of_line(text, number, give);
        let second = second.trim_ascii();
        if next == Next::More && !second.is_empty() {
            number += 1;
            next = each_of_line(second, number, give);
        }
        if next == Next::Enough {
            return Ok(());
        }
    }
}

/// Whether a value begins on this line that goes on behind it, or on it a list that is too long to be held.
fn is_open(line: &[u8], whole: bool) -> bool {
    let is_nested = matches!(line.first(), Some(b'{' | b'['));
    let is_cut = || serde_json::from_slice::<Value>(line).is_err_and(|error| error.is_eof());
    is_nested && if whole { is_cut() } else { begins_list(line) }
}

/// Whether a value that has no end here is a list: one element of it can be had already.
fn begins_list(cut: &[u8]) -> bool {
    let mut is_list = false;
    let mut first = |_| {
        is_list = true;
        Next::Enough
    };
    document::read(cut, &mut first).is_ok() && is_list
}

fn each_of_line(text: &[u8], number: u64, give: &mut Give<'_>) -> Next {
    let place = Place::Line(number);
    let value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(error) => {
            let column = error.column();
            let why = format!("the line is no JSON, at its character {column}");
            let entry = Entry { place, value: Err(why), original: text.to_owned(), is_cut: false };
            return give(Piece::Entry(entry));
        }
    };
    let parts = document::parts(value);
    let is_one = parts.len() == 1;
    for part in parts {
        let piece = match part {
            Part::Page(page) => Piece::Page(page),
            Part::Element(value) => {
                let original =
                    if is_one { text.to_owned() } else { value.to_string().into_bytes() };
                Piece::Entry(Entry { place, value: Ok(value), original, is_cut: false })
            }
        };
        if give(piece) == Next::Enough {
            return Next::Enough;
        }
    }
    Next::More
}

fn documents(reader: impl Read, lines_before: u64, give: &mut Give<'_>) -> io::Result<()> {
    let since = Cell::new(0);
    let mut number = 0;
    let mut each = |part: Part| {
        since.set(0);
        let value = match part {
            Part::Element(value) => value,
            Part::Page(page) => return give(Piece::Page(page)),
        };
        number += 1;
        let (place, original) = (Place::Element(number), value.to_string().into_bytes());
        give(Piece::Entry(Entry { place, value: Ok(value), original, is_cut: false }))
    };
    let read = document::read(Counted { inner: reader, since: &since }, &mut each);
    let (place, why) = match read {
        Ok(()) => return Ok(()),
        Err(_) if since.get() >= LONGEST => {
            let why =
                format!("it has more than {LONGEST} bytes, and nothing behind it was imported");
            (Place::Element(number + 1), why)
        }
        Err(error) if error.is_io() => return Err(error.into()),
        Err(error) => {
            let line = u64::try_from(error.line()).unwrap_or(u64::MAX);
            let why = "the JSON cannot be read on from here: nothing behind it was imported";
            (Place::Line(line.saturating_add(lines_before)), format!("{why} ({error})"))
        }
    };
    give(Piece::Entry(Entry { place, value: Err(why), original: Vec::new(), is_cut: false }));
    Ok(())
}

enum Line {
    None,
    Whole,
    /// Only its beginning was read.
    Longer,
}

/// Reads a line without its end, and no more of it than fits.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let longest = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    let read = reader.by_ref().take(longest).read_until(b'\n', line)?;
    Ok(match (read, line.last()) {
        (0, _) => Line::None,
        (LONGEST, last) if last != Some(&b'\n') => Line::Longer,
        _ => Line::Whole,
    })
}

/// Gives what is left up to a byte, without it, or up to the end.
pub(super) fn pass_on(
    mut reader: impl BufRead,
    until: Option<u8>,
    give: &mut Give<'_>,
) -> io::Result<Next> {
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| Some(*byte) == until);
        let taken: Vec<u8> = buffer.iter().take(end.unwrap_or(buffer.len())).copied().collect();
        let is_over = end.is_some() || buffer.is_empty();
        let passed = taken.len().saturating_add(usize::from(end.is_some()));
        reader.consume(passed);
        if !taken.is_empty() && give(Piece::Rest(taken)) == Next::Enough {
            return Ok(Next::Enough);
        }
        if is_over {
            return Ok(Next::More);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entries(format: Format, text: &[u8]) -> Vec<(String, Result<Value, String>)> {
        let mut all = Vec::new();
        // A small buffer: what is read must not depend on where it ends.
        read(format, io::BufReader::with_capacity(64, text), &mut |piece| {
            if let Piece::Entry(entry) = piece {
                all.push((entry.place.to_string(), entry.value));
            }
            Next::More
        })
        .expect("it is read");
        all
    }

    #[test]
    fn a_bad_line_is_named_and_the_others_are_read() {
        let text = b"\xef\xbb\xbf{\"n\": 1}\r\n\nno\n{\"n\": 2}\n[{\"n\": 3}, {\"n\": 4}]\n{\"n\":";
        let all = entries(Format::Ndjson, text);
        let places: Vec<_> = all.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["line 1", "line 3", "line 4", "line 5", "line 5", "line 6"]);
        let good: Vec<_> = all.iter().filter_map(|(_, value)| value.clone().ok()).collect();
        assert_eq!(good, [1, 2, 3, 4].map(|n| json!({"n": n})));
        assert_eq!(all[1].1, Err("the line is no JSON, at its character 2".into()));
    }

    #[test]
    fn a_document_over_many_lines_is_read_element_by_element() {
        let list = b"\n{\n \"object\": \"list\",\n \"data\": [{\"n\": 1},\n {\"n\": 2}]\n}\n";
        let all = entries(Format::Ndjson, list);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], ("element 2".into(), Ok(json!({"n": 2}))));
        let two = entries(Format::Ndjson, &[list.as_slice(), list].concat());
        assert_eq!(two.len(), 4);
        assert_eq!(two[3], ("element 4".into(), Ok(json!({"n": 2}))));
        let cut = entries(Format::Ndjson, b"\n[\n{\"n\": 1},\n{\"n\" 2}]");
        assert_eq!((cut.len(), cut[1].0.as_str()), (2, "line 4"));
    }

    #[test]
    fn a_list_gives_all_its_elements_however_its_lines_end() {
        for text in [
            "[{\"n\": 1},\n{\"n\": 2}]",
            "[{\"n\": 1},\n{\"n\": 2}\n]\n",
            "[{\"n\": 1},  \n\n{\"n\": 2}\n]\n",
            "[{\"n\": 1}\n,{\"n\": 2}\n]\n",
            "[\n{\"n\": 1},\n{\"n\": 2}\n]\n",
            "[{\"n\":\n1},\n{\"n\": 2}\n]\n",
            "{\"object\": \"list\", \"data\": [{\"n\": 1},\n{\"n\": 2}\n], \"has_more\": false}\n",
        ] {
            let good: Vec<_> = entries(Format::Ndjson, text.as_bytes());
            let good: Vec<_> = good.into_iter().map(|(_, value)| value).collect();
            assert_eq!(good, [Ok(json!({"n": 1})), Ok(json!({"n": 2}))], "{text}");
        }
        // One that was cut off behind a comma of its own.
        let all = entries(Format::Ndjson, b"{\"tags\": [\"a\",\n{\"n\": 2}\n{\"n\": 3}\n");
        let good: Vec<_> = all.iter().map(|(_, value)| value.is_ok()).collect();
        assert_eq!(good, [false, true, true]);
    }

    #[test]
    fn a_first_line_that_was_cut_off_is_a_bad_line_before_good_ones() {
        let all = entries(Format::Ndjson, b"{\"n\": 1, \n{\"n\": 2}\n{\"n\": 3}\n");
        let good: Vec<_> = all.iter().map(|(_, value)| value.is_ok()).collect();
        assert_eq!((good, all[1].0.as_str()), (vec![false, true, true], "line 2"));
        let list = entries(Format::Ndjson, b"{\"object\": \"list\", \"data\": [\n{\"n\": 1}\n]}");
        assert_eq!(list, [("element 1".into(), Ok(json!({"n": 1})))]);
        let list = entries(Format::Ndjson, b"{\"has_more\": false,\n\"data\": [{\"n\": 1}]}");
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_and_the_next_is_read() {
        let long = format!("{{\"n\": \"{}\"}}", "x".repeat(LONGEST));
        let text = format!("{{\"n\": 1}}\n{long}\n{{\"n\": 2}}\n");
        let all = entries(Format::Ndjson, text.as_bytes());
        let why = all[1].1.clone().expect_err("too long");
        assert!(why.contains("more than 4194304 bytes"), "{why}");
        assert_eq!(all[2], ("line 3".into(), Ok(json!({"n": 2}))));
        // The first one, too, also where it is a list whose first element is too long.
        for first in [long.clone(), format!("[{long}]"), format!("{{\"data\": [{long}]}}")] {
            let all = entries(Format::Ndjson, format!("{first}\n{{\"n\": 2}}\n").as_bytes());
            assert!(all[0].0 == "line 1" && all[0].1.is_err(), "{}", all[0].0);
            assert_eq!(all[1..], [("line 2".into(), Ok(json!({"n": 2})))]);
        }
    }

    #[test]
    fn a_list_on_one_line_may_be_longer_than_a_record() {
        let elements = vec!["{\"n\": 1}"; LONGEST / 8].join(", ");
        for text in [format!("[{elements}]"), format!("{{\"data\": [{elements}]}}\n{{\"n\": 2}}")] {
            let all = entries(Format::Ndjson, text.as_bytes());
            assert!(all.len() >= LONGEST / 8 && all.iter().all(|(_, value)| value.is_ok()));
        }
    }

    #[test]
    fn a_bad_line_is_kept_as_it_stood_however_long() {
        let long = [b"{\"".as_slice(), &b"x".repeat(LONGEST * 2), b"\xff\""].concat();
        let text = [&long, b"\n{\"n\": 1}\n".as_slice(), &long, b"\nno\xff\n"].concat();
        let mut kept: Vec<Vec<u8>> = Vec::new();
        read(Format::Ndjson, text.as_slice(), &mut |piece| {
            match piece {
                Piece::Entry(Entry { value: Err(_), original, .. }) => kept.push(original),
                Piece::Rest(more) => kept.last_mut().expect("it was begun").extend(more),
                Piece::Entry(_) | Piece::Header(_) | Piece::Page(_) => {}
            }
            Next::More
        })
        .expect("it is read");
        assert!(kept == [long.clone(), long, b"no\xff".to_vec()], "{}", kept.len());
    }

    #[test]
    fn no_more_is_read_than_an_element_may_have() {
        let text = format!("[{{\"n\": 1}},\n\"{}\", 1]", "x".repeat(2 * LONGEST));
        let mut left = text.as_bytes();
        let mut all = Vec::new();
        read(Format::Ndjson, &mut left, &mut |piece| {
            if let Piece::Entry(entry) = piece {
                all.push((entry.place.to_string(), entry.value));
            }
            Next::More
        })
        .expect("it is read");
        assert_eq!(all.len(), 2);
        let why = all[1].1.clone().expect_err("too long");
        assert!(all[1].0 == "element 2" && why.contains("more than 4194304 bytes"), "{why}");
        assert!(left.len() > LONGEST / 2, "{}", left.len());
    }
}
