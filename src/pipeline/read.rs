//! Stages 2 and 3 over one message: from bytes to the events it holds and the rows that record them. Pure.

use crate::{
    model::{
        event::{Event, Reading},
        inbound::{Headers, Raw, Verdict},
        reference::Reference,
        stamp::EventKey,
        time::Timestamp,
    },
    normalize::{self, Part, Unread},
    pipeline::{Disposition, Sources},
    provider::Source,
    store::inbox::Record,
    telemetry::trace::TRACEPARENT,
    verify,
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use uuid::Uuid;

/// The largest body that is read (contract 4).
pub const LARGEST_BODY: usize = 1024 * 1024;

/// One event of a message, ready to be recorded and applied.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Which message of the batch it came in.
    pub(super) message: usize,
    /// Its row.
    pub(super) record: Record,
    /// What it is, unless nothing of it is to be applied.
    pub(super) event: Option<Arc<Event>>,
    /// What becomes of it, unless it turns out to be a duplicate.
    pub(super) disposition: Disposition,
    /// Whom its body may be about, where nothing of it is to be applied.
    pub(super) mentions: BTreeSet<Reference>,
}

/// Reads one message. It always gives at least one entry: what cannot be read is recorded as rejected.
///
/// What is processed again and passed its check when it was received is not checked once more (`verified_before`).
/// `now` is the time of recording.
pub(super) fn read(
    message: usize,
    raw: &Raw,
    verified_before: bool,
    sources: &Sources,
    now: Timestamp,
    new_id: &mut dyn FnMut() -> Uuid,
) -> Vec<Entry> {
    let mut refused = |source: Option<&Source>, verified: bool, why: String| {
        vec![rejected(message, new_id(), raw, source, verified, why, now)]
    };
    let Some(source) = sources.get(&raw.source) else {
        let why = format!(
            "source `{}` is not configured: add it under [[sources]], or mend the routing key",
            raw.source.chars().take(100).collect::<String>()
        );
        return refused(None, false, why);
    };
    if let Some(why) = &raw.dead {
        return refused(Some(source), false, format!("given up by the broker: {why}"));
    }
    if raw.body.len() > LARGEST_BODY {
        let why = format!("the body has {} bytes, {LARGEST_BODY} are allowed", raw.body.len());
        return refused(Some(source), false, why);
    }
    let verified = if verified_before {
        verify::verified_at_receipt(source, raw, now)
    } else {
        match verify::verify(source, raw, now) {
            Ok(verified) => verified,
            Err(why) => return refused(Some(source), false, why.to_string()),
        }
    };
    let headers = kept_headers(source, &raw.headers);
    let mut entry = |Part { body, read }| match read {
        Ok(event) => read_entry(message, new_id(), raw, source, body, &headers, event),
        Err(Unread { verified, why }) => {
            let raw = Raw { body, ..raw.clone() };
            rejected(message, new_id(), &raw, Some(source), verified, why, now)
        }
    };
    normalize::normalize(&verified).into_iter().map(&mut entry).collect()
}

fn read_entry(
    message: usize,
    id: Uuid,
    raw: &Raw,
    source: &Source,
    body: Bytes,
    headers: &Headers,
    event: Event,
) -> Entry {
    let (verdict, reason, disposition) = match &event.reading {
        Reading::Asserts(_) => (Verdict::Applied, None, Disposition::Applied),
        Reading::Ignored(why) => {
            (Verdict::Ignored, Some(why.clone()), Disposition::Ignored(why.clone()))
        }
        Reading::Malformed(why) => {
            (Verdict::Rejected, Some(why.clone()), Disposition::Rejected(why.clone()))
        }
    };
    let dedupe_key = match verdict {
        Verdict::Rejected => rejected_key(raw, &body, Some(&event.key)),
        _ => event.key.as_str().to_owned(),
    };
    let record = Record {
        id,
        environment: Some(event.environment.to_string()),
        source: source.name.to_string(),
        provider_event_id: event.provider_event_id.clone(),
        dedupe_key,
        kind: Some(event.kind.clone()),
        verdict: verdict.as_str(),
        reason,
        notes: event.notes.clone(),
        verified: event.verified,
        headers: headers.clone(),
        occurred_at: event.occurred_at,
        received_at: event.received_at,
        copies: 1,
        body,
    };
    let event = matches!(event.reading, Reading::Asserts(_)).then(|| Arc::new(event));
    let mentions = match event {
        Some(_) => BTreeSet::new(),
        None => mentions(&record.body, source),
    };
    Entry { message, record, event, disposition, mentions }
}

fn mentions(body: &[u8], source: &Source) -> BTreeSet<Reference> {
    let json = normalize::parse(body, &source.provider);
    json.map(|json| normalize::mentions(&json, source)).unwrap_or_default()
}

/// A message, or an item of one, of which nothing can be applied.
pub(super) fn rejected(
    message: usize,
    id: Uuid,
    raw: &Raw,
    source: Option<&Source>,
    verified: bool,
    why: String,
    now: Timestamp,
) -> Entry {
    let verdict = if raw.dead.is_some() { Verdict::Dead } else { Verdict::Rejected };
    let headers = match source {
        Some(source) => kept_headers(source, &raw.headers),
        None => Headers::default(),
    };
    let record = Record {
        id,
        environment: source.map(|source| source.environment.to_string()),
        source: raw.source.replace('\0', ""),
        provider_event_id: None,
        dedupe_key: rejected_key(raw, &raw.body, None),
        kind: None,
        verdict: verdict.as_str(),
        reason: Some(why.clone()),
        notes: Vec::new(),
        verified,
        headers,
        occurred_at: None,
        received_at: raw.received_at.map_or(now, |at| at.min(now)),
        copies: 1,
        body: raw.body.clone(),
    };
    let mentions = source.map_or_else(BTreeSet::new, |source| mentions(&raw.body, source));
    Entry { message, record, event: None, disposition: Disposition::Rejected(why), mentions }
}

/// Only what a scheme reads is kept, a credential as its hash.
fn kept_headers(source: &Source, headers: &Headers) -> Headers {
    source.provider.scheme.map_or_else(Headers::default, |scheme| scheme.kept_headers(headers))
}

/// A rejected event takes no key of a good one: its own stands apart, over all that was sent.
fn rejected_key(raw: &Raw, body: &[u8], item: Option<&EventKey>) -> String {
    let mut hash = Sha256::new();
    // Each delivery of one message has a trace of its own.
    let headers = raw.headers.iter().filter(|(name, _)| *name != TRACEPARENT);
    for part in headers.flat_map(|(name, value)| [name.to_owned(), value.to_string()]) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(body);
    let kind = if raw.dead.is_some() { "dead" } else { "rejected" };
    let source = raw.source.replace('\0', "");
    let item = item.map_or("", EventKey::as_str);
    format!("\u{1f}{kind}\u{1f}{source}\u{1f}{}\u{1f}{item}", hex::encode(hash.finalize()))
}

/// One row for each key of a batch: copies in one batch are counted, not kept.
pub(super) fn folded(entries: &[Entry]) -> Vec<Record> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut records: Vec<Record> = Vec::with_capacity(entries.len());
    for entry in entries {
        let known = places.get(entry.record.dedupe_key.as_str());
        if let Some(first) = known.and_then(|place| records.get_mut(*place)) {
            first.copies += 1;
        } else {
            places.insert(&entry.record.dedupe_key, records.len());
            records.push(entry.record.clone());
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copies_of_a_rejected_message_share_a_key_whatever_trace_each_is_in() {
        let raw = |headers: &[(&str, &str)]| Raw {
            source: "stripe".into(),
            headers: headers.iter().copied().collect(),
            body: "{}".into(),
            received_at: None,
            queue_id: None,
            dead: None,
        };
        let key = |headers| rejected_key(&raw(headers), b"{}", None);
        let first = key(&[("stripe-signature", "a"), (TRACEPARENT, "1")]);
        assert_eq!(first, key(&[("stripe-signature", "a"), (TRACEPARENT, "2")]));
        assert_eq!(first, key(&[("stripe-signature", "a")]));
        assert_ne!(first, key(&[("stripe-signature", "b")]));
    }
}
