//! `import`: a file's records, or a provider's own API objects, through the same stages as everything else.
//!
//! A record is an event of a source that no configuration can name. Its key follows from its content, so that a
//! file that is imported twice, or from the middle again, changes nothing the second time.

use super::{
    Format, Kind,
    file::{Entry, Piece},
    input::Input,
    report::{AsOf, Facts, Report},
};
use crate::{
    cli::{Context, Ending, Usage, output::Output, traffic},
    config::is_environment,
    model::{
        authority::Authority,
        event::{Event, Reading},
        inbound::{Headers, Raw},
        reference::Scope,
        time::Timestamp,
    },
    normalize::normalize,
    pipeline::{Disposition, Pipeline},
    provider::{Source, record},
    store::Db,
    verify::verify,
};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::Arc,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::Instant,
};

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file; `-` reads standard input
    file: PathBuf,
    /// Where the records belong; without it live
    #[arg(long, value_name = "NAME", conflicts_with = "source")]
    environment: Option<String>,
    /// The file holds objects of this source's API, as its lists give them
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// How it is written; without it by the file's ending
    #[arg(long)]
    format: Option<Format>,
    /// What the records are that do not say it under `object`; without it their fields say it
    #[arg(long, value_name = "KIND", conflicts_with = "source")]
    object: Option<Kind>,
    /// When it was so (RFC 3339). Of records without `updated_at`: without it when the file was written; standard
    /// input has no such time. Of API objects: when their fetching began; without it they fill only what no event
    /// has said
    #[arg(long, value_name = "TIME", value_parser = super::super::time)]
    as_of: Option<Timestamp>,
    /// How much the records count about a person's fields: app, auth or payment; without it the least
    #[arg(long, value_name = "LEVEL", value_parser = authority, conflicts_with = "source")]
    authority: Option<Authority>,
    /// The mode of API objects that do not say theirs: Stripe's refunds
    #[arg(long, requires = "source")]
    mode: Option<Mode>,
    /// Tell the webhook endpoints of every change
    #[arg(long)]
    notify: bool,
    /// Stop at the first bad line
    #[arg(long)]
    strict: bool,
    /// Read and check everything, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the bad lines into this file as they stood
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Whether money is real.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Mode {
    Live,
    Test,
}

fn authority(text: &str) -> Result<Authority, &'static str> {
    Authority::from_name(text).ok_or("expected app, auth or payment")
}

/// So many records are committed at once.
const BATCH: usize = 500;
/// And so many bytes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

impl Import {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let source = Arc::new(self.source(context)?);
        let begun = Instant::now();
        let bar = bar();
        let now = context.clock.now();
        if self.rejected.as_ref().is_some_and(|path| path.as_os_str() == "-") {
            return Err(
                Usage("--rejected needs a file: the summary is on standard output".into()).into()
            );
        }
        if let Some(as_of) = self.as_of.filter(|as_of| *as_of > now) {
            let text =
                format!("--as-of {as_of} is still to come: give the time at which it was so");
            return Err(Usage(text).into());
        }
        let input = Input::open(&self.file, self.rejected.as_deref(), &bar)?;
        let as_of = self.as_of(&input, now);
        let lines = input.pieces(Format::of(self.format, &self.file));
        let mut report = Report::new(bar, self.rejected.as_deref())?;
        let db = if self.dry_run { None } else { Some(context.db().await?) };
        let pipeline = match &db {
            Some(db) => Some(pipeline(context, db, &source).await?),
            None => None,
        };
        let mut run = Run {
            import: &self,
            now,
            as_of,
            source: &source,
            pipeline: pipeline.as_ref(),
            report: &mut report,
            batch: Vec::new(),
            bytes: 0,
            signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
        };
        let interrupted = run.all(lines).await?;
        let good = !report.has_bad() && !interrupted;
        let facts = Facts {
            file: &self.file,
            environment: &source.environment,
            dry_run: self.dry_run,
            notify: self.notify,
            interrupted,
            took: begun.elapsed(),
        };
        report.close(&facts, self.output)?;
        Ok(Ending::clean_if(good))
    }

    /// The source of records; or the configured one as it is for the objects of its API.
    fn source(&self, context: &Context) -> anyhow::Result<Source> {
        let Some(name) = &self.source else { return self.records() };
        let sources = context.config.sources()?;
        let source = sources.iter().find(|source| *source.name == **name).ok_or_else(|| {
            let names: Vec<_> = sources.iter().map(|source| &*source.name).collect();
            Usage(format!("{name} is no configured source; configured are: {}", names.join(", ")))
        })?;
        let provider = source.provider.objects.ok_or_else(|| {
            let text =
                "its API's objects are not read; export them to records, or replay its events";
            Usage(format!("{name} is a source of {}: {text}", source.provider.name))
        })?;
        Ok(Source {
            name: format!("{}:{name}", record::SOURCE).into(),
            provider: provider.into(),
            secrets: Vec::new(),
            unsigned: true,
            ..source.clone()
        })
    }

    fn records(&self) -> anyhow::Result<Source> {
        let environment = self.environment.as_deref().unwrap_or("live");
        if !is_environment(environment) {
            return Err(Usage(format!("`{environment}` cannot name an environment")).into());
        }
        let fields = ["name", "email", "phone", "tags", "metadata", "is_anonymous"];
        let authority = self.authority.map(|level| fields.map(|field| (field.to_owned(), level)));
        Ok(Source {
            name: record::SOURCE.into(),
            provider: (&record::PROVIDER).into(),
            mapping: None,
            environment: environment.into(),
            test_environment: None,
            namespace: record::SOURCE.into(),
            secrets: Vec::new(),
            tolerance: None,
            url: None,
            subject_is_external_id: false,
            places: Vec::new(),
            authority: authority.into_iter().flatten().collect::<BTreeMap<_, _>>(),
            on_delete: Scope::Identity,
            match_email: false,
            manual_capture: false,
            unsigned: true,
        })
    }

    /// When a record was so that does not say it: the caller's word, else when the file was written.
    fn as_of(&self, input: &Input, now: Timestamp) -> Option<AsOf> {
        match self.as_of {
            Some(at) => Some(AsOf { at, is_files: false }),
            None if self.source.is_some() => None,
            None => input.written(now).map(|at| AsOf { at, is_files: true }),
        }
    }
}

/// The stages, with the import's source and no other.
async fn pipeline(context: &Context, db: &Db, source: &Arc<Source>) -> anyhow::Result<Pipeline> {
    let sources = HashMap::from([(source.name.clone(), source.clone())]);
    Ok(Pipeline { sources: Arc::new(sources), ..context.pipeline(db).await? })
}

/// By bytes, since nobody knows how many records there are.
fn bar() -> ProgressBar {
    let bar = traffic::bar(0, "imported");
    let template = "{prefix:10} {bar:30} {bytes}/{total_bytes}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// What comes, if it is waited for.
async fn when<T>(is_wanted: bool, coming: impl Future<Output = Option<T>>) -> Option<T> {
    if is_wanted { coming.await } else { None }
}

/// What a record is that does not say it: only a payment has an id or an amount of one.
fn kind_of(fields: &Map<String, Value>) -> Kind {
    let has = |field: &str| fields.get(field).is_some_and(|value| !value.is_null());
    if has("payment_id") || has("amount") {
        Kind::Payments
    } else if has("subscription_id") {
        Kind::Subscriptions
    } else {
        Kind::Customers
    }
}

struct Run<'a> {
    import: &'a Import,
    now: Timestamp,
    as_of: Option<AsOf>,
    source: &'a Arc<Source>,
    pipeline: Option<&'a Pipeline>,
    report: &'a mut Report,
    batch: Vec<(Entry, Raw, String)>,
    bytes: usize,
    signals: [Signal; 2],
}

impl Run<'_> {
    /// Takes in everything; whether it was interrupted. What is in hand then is finished.
    async fn all(&mut self, mut lines: mpsc::Receiver<io::Result<Piece>>) -> anyhow::Result<bool> {
        loop {
            let [interrupt, terminate] = &mut self.signals;
            let piece = tokio::select! {
                biased;
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                piece = lines.recv() => piece,
            };
            let Some(piece) = piece else {
                self.commit().await?;
                return Ok(false);
            };
            let entry = match piece {
                Ok(Piece::Entry(entry)) => entry,
                Ok(Piece::Header(row)) => {
                    self.report.header(row);
                    continue;
                }
                Ok(Piece::Rest(bytes)) => {
                    self.report.bad_goes_on(&bytes)?;
                    continue;
                }
                Ok(Piece::Page(page)) => {
                    self.report.page(page);
                    continue;
                }
                Err(error) => {
                    self.commit().await?;
                    let file = self.import.file.display();
                    let why = format!("{file} cannot be read on; run the same command again");
                    return Err(anyhow::Error::from(error).context(why));
                }
            };
            let is_cut = entry.is_cut;
            let good = self.take(entry)?;
            if !good && self.import.strict {
                while let Some(Ok(Piece::Rest(bytes))) = when(is_cut, lines.recv()).await {
                    self.report.bad_goes_on(&bytes)?;
                }
                self.commit().await?;
                return Ok(false);
            }
            if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES {
                self.commit().await?;
            }
        }
        self.commit().await?;
        Ok(true)
    }

    /// Reads one record as the stages will, and puts it into the batch if it says something; false if it is bad.
    fn take(&mut self, entry: Entry) -> anyhow::Result<bool> {
        self.report.read += 1;
        let value = match &entry.value {
            Ok(value) => value.clone(),
            Err(why) => {
                self.report.bad(&entry, why)?;
                return Ok(false);
            }
        };
        let Some(body) = self.body(value) else {
            self.report.bad(&entry, "it has no updated_at, and nothing says when it was so")?;
            return Ok(false);
        };
        let raw = Raw {
            source: self.source.name.clone(),
            headers: Headers::default(),
            body: body.into(),
            received_at: Some(self.now),
            queue_id: None,
            dead: None,
        };
        let event = match self.event(&raw) {
            Ok(event) => event,
            Err(why) => {
                self.report.bad(&entry, &why)?;
                return Ok(false);
            }
        };
        self.report.notes(&event.notes);
        match event.reading {
            Reading::Asserts(_) => {
                self.bytes = self.bytes.saturating_add(raw.body.len());
                self.batch.push((entry, raw, event.kind));
                Ok(true)
            }
            Reading::Ignored(why) => {
                self.report.ignored(&why);
                Ok(true)
            }
            Reading::Malformed(why) => {
                self.report.bad(&entry, &why)?;
                Ok(false)
            }
        }
    }

    /// A record as it is kept: what it leaves out is filled in, so that it says the same whenever it is read. None
    /// where that cannot be: it would be news each time.
    fn body(&mut self, mut value: Value) -> Option<Vec<u8>> {
        if self.import.source.is_some() {
            if let Some(as_of) = self.as_of {
                self.report.dated(as_of);
            }
            let as_of = self.as_of.map(|as_of| as_of.at.to_string());
            let live = self.import.mode.map(|mode| mode == Mode::Live);
            let body = json!({"as_of": as_of, "live": live, "object": value});
            return Some(body.to_string().into_bytes());
        }
        if let Value::Object(fields) = &mut value {
            if !fields.contains_key("object") {
                let kind = self.import.object.unwrap_or_else(|| kind_of(fields));
                fields.insert("object".to_owned(), json!(kind.object()));
            }
            if fields.get("updated_at").is_none_or(Value::is_null) {
                let as_of = self.as_of?;
                self.report.dated(as_of);
                fields.insert("updated_at".to_owned(), json!(as_of.at.to_string()));
            }
        }
        Some(value.to_string().into_bytes())
    }

    fn event(&self, raw: &Raw) -> Result<Event, String> {
        let verified = verify(self.source, raw, self.now).map_err(|why| why.to_string())?;
        let part = normalize(&verified).into_iter().next();
        let part = part.ok_or_else(|| "it holds nothing".to_owned())?;
        part.read.map_err(|unread| unread.why)
    }

    async fn commit(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let Some(pipeline) = self.pipeline else {
            for (_, _, kind) in &batch {
                self.report.applied(kind);
            }
            return Ok(());
        };
        let Some((first, _, _)) = batch.first() else { return Ok(()) };
        let raw: Vec<Raw> = batch.iter().map(|(_, raw, _)| raw.clone()).collect();
        let committed = if self.import.notify {
            pipeline.process(&raw).await
        } else {
            pipeline.process_quietly(&raw).await
        };
        let dispositions = committed.with_context(|| {
            format!("nothing from {} on was imported; run the same command again", first.place)
        })?;
        for ((entry, _, kind), disposition) in batch.iter().zip(dispositions) {
            match disposition {
                Disposition::Applied => self.report.applied(kind),
                Disposition::Duplicate => self.report.unchanged += 1,
                Disposition::Ignored(why) => self.report.ignored(&why),
                Disposition::Rejected(why) => self.report.bad(entry, &why)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_record_that_does_not_say_what_it_is_is_known_by_its_fields() {
        let kind = |record: Value| kind_of(record.as_object().expect("an object"));
        assert_eq!(kind(json!({"external_id": "usr_1", "email": "a@b.c"})), Kind::Customers);
        let payment = json!({"payment_id": "pi_1", "subscription_id": "sub_1"});
        assert_eq!(kind(payment), Kind::Payments);
        assert_eq!(kind(json!({"subscription_id": "sub_1"})), Kind::Subscriptions);
    }

    #[test]
    fn the_paths_of_standard_input_and_of_tables_are_told_apart() {
        assert_eq!(Format::of(None, Path::new("-")), Format::Ndjson);
        assert_eq!(Format::of(None, Path::new("a.CSV")), Format::Csv);
        assert_eq!(Format::of(Some(Format::Csv), Path::new("a.json")), Format::Csv);
    }
}
