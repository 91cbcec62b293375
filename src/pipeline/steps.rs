//! The step that each message of a batch is in its trace: begun before its transaction, ended after the commit.

use super::{Disposition, measure};
use crate::{
    model::inbound::Raw,
    telemetry::trace::{self, Kind, Step, TRACEPARENT},
};
use std::sync::Arc;

/// The steps of a batch, in its order; none where traces are off.
pub(super) struct Steps(Vec<Step>);

impl Steps {
    pub(super) fn begin<'a>(batch: impl ExactSizeIterator<Item = &'a Raw>) -> Self {
        if !trace::is_on() {
            return Self(Vec::new());
        }
        let messages = i64::try_from(batch.len()).unwrap_or(i64::MAX);
        let begin = |raw: &Raw| {
            let parent = raw.headers.get(TRACEPARENT);
            let mut step = Step::begin(Kind::Consumer, "process", parent);
            step.tell("event.source", raw.source.to_string());
            step.tell("messaging.batch.message_count", messages);
            step
        };
        Self(batch.map(begin).collect())
    }

    /// For each message, what those are told that go on from it; empty where traces are off.
    pub(super) fn traces(&self) -> Vec<Option<Arc<str>>> {
        self.0.iter().map(|step| step.traceparent().map(Arc::from)).collect()
    }

    pub(super) fn committed<'a>(
        self,
        batch: impl Iterator<Item = &'a Raw>,
        dispositions: &[Disposition],
    ) {
        for ((mut step, raw), disposition) in self.0.into_iter().zip(batch).zip(dispositions) {
            step.tell("event.verdict", measure::verdict(raw, disposition).as_str());
        }
    }

    pub(super) fn failed(self, why: &str) {
        for mut step in self.0 {
            step.fail(why);
        }
    }
}
