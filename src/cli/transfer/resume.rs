//! Where an export that was cut off goes on: behind the last whole record of its unfinished file.

use super::{Format, Kind, table};
use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// What an unfinished file holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Begun {
    /// The bytes of its whole records; what follows is the piece of one.
    pub(super) length: u64,
    /// The last record of them.
    pub(super) last: Option<(Kind, String)>,
    /// How many there are, by their `object`.
    pub(super) written: BTreeMap<&'static str, u64>,
}

/// What has to be known of a record.
#[derive(Deserialize)]
struct Head {
    object: String,
    id: String,
}

/// Reads an unfinished file to its end. Nothing was begun where there is none.
///
/// # Errors
/// Where it cannot be read, or was begun otherwise than it is to go on.
pub(super) fn begun(file: &Path, format: Format, kinds: &[Kind]) -> anyhow::Result<Begun> {
    let source = match File::open(file) {
        Ok(source) => source,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Begun::default()),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", file.display()));
        }
    };
    let begun = match format {
        Format::Ndjson => lines(BufReader::new(source)),
        Format::Csv => rows(source, &table::columns(kinds)),
    };
    let begun = begun.with_context(|| {
        format!("{} cannot be gone on with: export anew, without --resume", file.display())
    })?;
    if let Some((kind, id)) = &begun.last {
        ensure!(
            kinds.contains(kind),
            "{} holds {}s (the last is {id}), which --only leaves out: give what it was begun with",
            file.display(),
            kind.object()
        );
    }
    Ok(begun)
}

impl Begun {
    fn add(&mut self, line: u64, Head { object, id }: Head) -> anyhow::Result<()> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.object() == object);
        let Some(kind) = kind else { bail!("line {line} is of no known object") };
        *self.written.entry(kind.object()).or_default() += 1;
        self.last = Some((kind, id));
        Ok(())
    }
}

fn lines(mut source: BufReader<File>) -> anyhow::Result<Begun> {
    let (mut begun, mut line) = (Begun::default(), Vec::new());
    for number in 1.. {
        line.clear();
        let length = source.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        let head = serde_json::from_slice(&line);
        begun.add(number, head.with_context(|| format!("line {number} is no record"))?)?;
        begun.length += u64::try_from(length)?;
    }
    Ok(begun)
}

fn rows(mut source: File, columns: &[&str]) -> anyhow::Result<Begun> {
    let is_ended = ends_a_line(&mut source)?;
    let length = source.metadata()?.len();
    let mut table = csv::Reader::from_reader(BufReader::new(source));
    let header = table.headers()?.clone();
    let mut whole = Begun { length: table.position().byte(), ..Begun::default() };
    if whole.length == length && !is_ended {
        return Ok(Begun::default());
    }
    ensure!(header.iter().eq(columns.iter().copied()), "it was begun with other columns");
    let mut row = csv::StringRecord::new();
    loop {
        match table.read_record(&mut row) {
            Ok(true) => {}
            Ok(false) => return Ok(whole),
            // The piece of a row: of its cells, or of a letter.
            Err(error) => {
                ensure!(table.position().byte() == length, error);
                return Ok(whole);
            }
        }
        let end = table.position().byte();
        if end == length && !is_ended {
            return Ok(whole);
        }
        let cell = |column| columns.iter().position(|it| *it == column).and_then(|at| row.get(at));
        let text = |column| cell(column).unwrap_or_default().to_owned();
        let head = Head { object: text("object"), id: text("id") };
        whole.add(table.position().line(), head)?;
        whole.length = end;
    }
}

/// Whether the last byte of a file is the end of a line.
fn ends_a_line(file: &mut File) -> anyhow::Result<bool> {
    let mut last = [0];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        file.rewind()?;
    }
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[Kind] = &[Kind::Customers, Kind::Payments];

    fn read(text: &[u8], format: Format) -> anyhow::Result<Begun> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        begun(file.path(), format, KINDS)
    }

    fn counted(begun: &Begun) -> u64 {
        begun.written.values().sum()
    }

    #[test]
    fn wherever_a_file_is_cut_what_is_whole_of_it_is_found() {
        let table = {
            let columns = table::columns(KINDS);
            let row = |object: &str, id: &str, name: &str| -> Vec<String> {
                let cell = |column: &&str| match *column {
                    "object" => object.to_owned(),
                    "id" => id.to_owned(),
                    "name" => name.to_owned(),
                    _ => String::new(),
                };
                columns.iter().map(cell).collect()
            };
            let mut out = csv::Writer::from_writer(Vec::new());
            out.write_record(&columns).expect("written");
            out.write_record(row("customer", "cus_1", "Ada\nLove\"lace, é")).expect("written");
            out.write_record(row("payment", "pay_1", "")).expect("written");
            out.into_inner().expect("whole")
        };
        let lines = [
            r#"{"object":"customer","id":"cus_1","name":"Ada\nLovelace, é"}"#,
            r#"{"object":"payment","id":"pay_1"}"#,
        ];
        let lines = lines.map(|line| format!("{line}\n")).concat().into_bytes();
        for (whole, format) in [(table, Format::Csv), (lines, Format::Ndjson)] {
            let mut lengths = Vec::new();
            for cut in 0..=whole.len() {
                let begun = read(&whole[..cut], format).expect("read");
                assert!(begun.length <= u64::try_from(cut).expect("short"), "{begun:?} at {cut}");
                if lengths.last() != Some(&(begun.length, counted(&begun))) {
                    lengths.push((begun.length, counted(&begun)));
                }
            }
            let length = u64::try_from(whole.len()).expect("short");
            let counts: Vec<u64> = lengths.iter().map(|(_, count)| *count).collect();
            let expected: &[u64] = if format == Format::Csv { &[0, 0, 1, 2] } else { &[0, 1, 2] };
            assert_eq!((counts.as_slice(), lengths.last()), (expected, Some(&(length, 2))));
            let last = read(&whole, format).expect("read").last;
            assert_eq!(last, Some((Kind::Payments, "pay_1".to_owned())));
        }
    }

    #[test]
    fn what_was_begun_otherwise_is_refused() {
        let why = |text: &str, format| {
            format!("{:#}", read(text.as_bytes(), format).expect_err("refused"))
        };
        assert!(why("{\"object\":\"customer\"}\n", Format::Ndjson).contains("line 1 is no record"));
        assert!(why("\0\0\0\n", Format::Ndjson).contains("without --resume"));
        let subscription = "{\"object\":\"subscription\",\"id\":\"sub_1\"}\n";
        assert!(why(subscription, Format::Ndjson).contains("--only"));
        assert!(why("object,id\ncustomer,cus_1\n", Format::Csv).contains("other columns"));
        let nothing = begun(Path::new("/nowhere/all.csv.partial"), Format::Csv, KINDS);
        assert_eq!(nothing.expect("nothing was begun"), Begun::default());
    }
}
