//! `doctor`: what an operator would look at, in one go.

use super::{
    Context, Ending,
    output::{self, Output},
};
use crate::{
    daemon,
    deliver::sealed::{self, Mute},
    intake::topology,
    keyring::Keyring,
    model::time::Timestamp,
    store::{self, Db, Tx, days, endpoints, migrations, settings, totals},
};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Replace totals that drifted by what the payments add up to
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    output: Output,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    subject: String,
    problem: String,
    cure: String,
}

impl Finding {
    fn new(subject: &str, problem: impl Into<String>, cure: &str) -> Self {
        Self { subject: subject.into(), problem: problem.into(), cure: cure.into() }
    }
}

/// What was looked at and what was found there.
#[derive(Default)]
struct Examination {
    looked_at: Vec<String>,
    findings: Vec<Finding>,
    repaired: usize,
}

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let mut examination = Examination::default();
        examination.settings(context)?;
        examination.database(context, self.repair).await;
        examination.broker(context).await;
        let Examination { looked_at, findings, repaired } = examination;
        let good = findings.is_empty();
        let shown =
            json!({"ok": good, "looked_at": looked_at, "findings": findings, "repaired": repaired});
        self.output.thing(&shown, |_| {
            let mut lines: Vec<_> =
                looked_at.iter().map(|what| format!("looked at  {what}")).collect();
            for Finding { subject, problem, cure } in &findings {
                lines.push(String::new());
                lines.push(output::fields(&[
                    ("finding", subject.clone()),
                    ("problem", problem.clone()),
                    ("cure", cure.clone()),
                ]));
            }
            lines.push(String::new());
            if repaired > 0 {
                lines.push(format!("{repaired} totals were repaired"));
            }
            lines.push(match findings.len() {
                0 => "nothing is wrong".into(),
                1 => "1 finding".into(),
                many => format!("{many} findings"),
            });
            lines.join("\n")
        });
        Ok(Ending::clean_if(good))
    }
}

impl Examination {
    fn settings(&mut self, context: &Context) -> anyhow::Result<()> {
        let config = &context.config;
        self.looked_at.push("settings".into());
        let sources = config.sources()?;
        daemon::declared_endpoints(config)?;
        let mut by_namespace: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for source in &sources {
            let place = (source.environment.clone(), source.namespace.clone());
            by_namespace.entry(place).or_default().push(source.name.to_string());
        }
        for ((environment, namespace), names) in by_namespace {
            if names.len() > 1 {
                let problem = format!(
                    "{} share the namespace {namespace} of {environment}: ids of one are ids of the other",
                    names.join(", ")
                );
                let cure = "right for several sources of one provider account; otherwise give each its own";
                self.findings.push(Finding::new("settings: sources", problem, cure));
            }
        }
        Ok(())
    }

    async fn database(&mut self, context: &Context, repair: bool) {
        let url = crate::config::without_password(&context.config.database_url());
        self.looked_at.push(format!("database {url}"));
        if let Err(error) = self.look_into_database(context, repair).await {
            let cure = "check database.url, that the server runs and that this user may connect";
            self.findings.push(Finding::new("database", format!("{error:#}"), cure));
        }
    }

    async fn look_into_database(&mut self, context: &Context, repair: bool) -> anyhow::Result<()> {
        let config = &context.config;
        let db = Db::open_within(&config.database_url(), daemon::database_limits(config)).await?;
        let mut tx = db.snapshot().await.map_err(store::Error::from)?;
        let schema = migrations::schema(&mut tx).await?;
        if let Some((problem, cure)) = schema.fault() {
            self.findings.push(Finding::new("database", problem, cure));
            return Ok(());
        }
        let known = settings::get(&mut tx, settings::KEY_FINGERPRINT).await?;
        self.looked_at.push("secrets.key".into());
        self.key(context, known.as_deref());
        if let Some(keyring) = config.existing_key().ok().flatten() {
            self.looked_at.push("endpoints".into());
            self.endpoints(&mut tx, &keyring, context.clock.now()).await?;
        }
        drop(tx);
        self.looked_at.push("totals, by a recount".into());
        self.totals(&db, repair).await
    }

    /// Looks at the key without making one.
    fn key(&mut self, context: &Context, known: Option<&str>) {
        let config = &context.config;
        let subject = "secrets.key";
        match (config.existing_key(), known) {
            (Ok(Some(keyring)), Some(known)) if keyring.fingerprint() != known => {
                let problem = "it is not the key that this database was written under";
                let cure = "set or restore the key that it was written under";
                self.findings.push(Finding::new(subject, problem, cure));
            }
            (Ok(None), Some(_)) => {
                let problem = format!("{} is missing and none is set", config.key_file().display());
                let cure = "restore that file, or set secrets.key";
                self.findings.push(Finding::new(subject, problem, cure));
            }
            (Err(error), _) => {
                let cure = "make it readable for this user, or set secrets.key";
                self.findings.push(Finding::new(subject, error.reason, cure));
            }
            (Ok(_), _) => {}
        }
    }

    async fn endpoints(
        &mut self,
        tx: &mut Tx,
        keyring: &Keyring,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        for (endpoint, secrets) in endpoints::enabled(tx).await? {
            let Err(why) = sealed::ready(keyring, &endpoint.spec, &secrets, now) else { continue };
            let cure = match why {
                Mute::Secret => "restore the key, or run `customer-sync endpoint rotate`",
                Mute::Header => "restore the key, or delete the endpoint and make it anew",
            };
            let problem = format!("nothing can be sent to it: {why}");
            self.findings.push(Finding::new(&format!("endpoint {}", endpoint.id), problem, cure));
        }
        Ok(())
    }

    async fn totals(&mut self, db: &Db, repair: bool) -> anyhow::Result<()> {
        if repair {
            // References first: customers are counted from them.
            for holder in ["reference", "customer"] {
                let mut tx = db.begin().await.map_err(store::Error::from)?;
                let mut drift = totals::recount(&mut tx).await?;
                drift.retain(|drift| drift.holder == holder);
                totals::repair(&mut tx, &drift).await?;
                tx.commit().await.map_err(store::Error::from)?;
                self.repaired += drift.len();
            }
            let mut tx = db.begin().await.map_err(store::Error::from)?;
            self.repaired += days::repair(&mut tx).await?;
            tx.commit().await.map_err(store::Error::from)?;
        }
        let mut tx = db.snapshot().await.map_err(store::Error::from)?;
        for drift in totals::recount(&mut tx).await? {
            let totals::Drift { holder, id, currency, day, .. } = &drift;
            let day = day.as_deref().unwrap_or_default();
            let subject = format!("totals of {holder} {id} {currency} {day}");
            let problem = format!("stored {:?}, counted {:?}", drift.stored, drift.counted);
            self.findings.push(Finding::new(
                &subject,
                problem,
                "run `customer-sync doctor --repair`",
            ));
        }
        Ok(())
    }

    async fn broker(&mut self, context: &Context) {
        let Some(settings) = daemon::consumer_settings(&context.config) else {
            self.looked_at.push("no broker: the embedded queue".into());
            return;
        };
        let url = crate::config::without_password(settings.url.expose());
        self.looked_at.push(format!("broker {url}"));
        let found = topology::inspect(&settings.url, &settings.topology).await;
        self.findings.extend(found.into_iter().map(|finding| Finding {
            subject: format!("broker: {}", finding.subject),
            problem: finding.problem,
            cure: finding.cure,
        }));
    }
}
