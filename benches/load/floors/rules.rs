//! Floor C: the pure stages over the same events, on one processor: verify, normalize, decide, and the message's
//! JSON. The state is in memory and stays there.

use crate::{machine, stage::Stage};
use anyhow::Context as _;
use customer_sync::{
    apply::{
        decide::{self, Context},
        world::World,
    },
    config::Config,
    daemon,
    keyring::Keyring,
    model::{
        event::Reading,
        id::EventId,
        inbound::Raw,
        is_live,
        message::{Cause, OutgoingEvent},
        time::Timestamp,
    },
    normalize,
    pipeline::Sources,
    verify,
};

/// What the rules need.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    sources: Sources,
    keyring: Keyring,
    now: Timestamp,
}

impl Rules {
    pub(crate) fn new(stage: &Stage) -> anyhow::Result<Self> {
        let config = Config::parse(&stage.config(false))?;
        let keyring = config.key()?.keyring;
        Ok(Self { sources: daemon::sources(&config)?, keyring, now: stage.clock.now() })
    }

    /// The state that some events make.
    pub(crate) fn world(&self, stage: &Stage, events: &[Raw]) -> anyhow::Result<World> {
        let mut world = World::default();
        self.apply(stage, &mut world, events)?;
        Ok(world)
    }

    /// Seconds of processor time that some events take.
    pub(crate) fn measure(
        &self,
        stage: &Stage,
        world: &World,
        events: &[Raw],
    ) -> anyhow::Result<f64> {
        let mut world = world.clone();
        let begun = machine::thread_seconds()?;
        self.apply(stage, &mut world, events)?;
        Ok(machine::thread_seconds()? - begun)
    }

    fn apply(&self, stage: &Stage, world: &mut World, events: &[Raw]) -> anyhow::Result<()> {
        for raw in events {
            let source = self.sources.get(&raw.source).context("a source is missing")?;
            let verified = verify::verify(source, raw, self.now)?;
            for part in normalize::normalize(&verified) {
                let event = part.read?;
                let Reading::Asserts(assertions) = &event.reading else { continue };
                let mut new_id = || stage.clock.new_id();
                let mut context = Context {
                    environment: &event.environment,
                    keyring: &self.keyring,
                    now: self.now,
                    new_id: &mut new_id,
                };
                let decision = decide::decide(world, assertions, &mut context);
                for change in decision.changes {
                    let told = OutgoingEvent {
                        id: EventId(stage.clock.new_id()),
                        kind: change.kind,
                        timestamp: self.now,
                        environment: event.environment.clone(),
                        live: is_live(&event.environment),
                        version: change.version,
                        data: change.data,
                        previous_attributes: change.previous,
                        cause: Cause {
                            source: event.key.source().into(),
                            event_id: event.key.event_id().to_owned(),
                            verified: event.verified,
                        },
                        trace: None,
                    };
                    std::hint::black_box(serde_json::to_string(&told)?);
                }
            }
        }
        Ok(())
    }
}
