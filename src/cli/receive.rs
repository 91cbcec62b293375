//! `receive`: an example receiver that verifies each webhook and prints it. The demo's, on its own.

use super::{
    Context, Ending, Usage,
    output::{self, Output},
};
use crate::{
    http::receiver::{Receiver, Webhook},
    shutdown::Shutdown,
};
use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// How long requests in hand may take once a stop was asked for.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Receive {
    /// The endpoint whose webhooks these are: one of [[endpoints]] in the configuration, which holds its secret
    name: String,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    #[command(flatten)]
    output: Output,
}

impl Receive {
    /// Receives until SIGTERM or SIGINT.
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        let name = &self.name;
        let declared = context.config.endpoints.iter().find(|endpoint| endpoint.name == *name);
        let declared = declared.ok_or_else(|| Usage(format!("no endpoint {name} is declared")))?;
        let no_secret = || Usage(format!("the endpoint {name} is declared without a secret"));
        let secret = declared.secret.as_ref().ok_or_else(no_secret)?;
        let output = self.output;
        let receiver =
            Receiver::new(secret, context.clock.clone(), Arc::new(move |told| tell(output, told)))
                .ok_or_else(|| {
                    Usage(format!("the secret of {name} is none: expected whsec_ and base64"))
                })?;
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", self.listen))?;
        tracing::info!(address = %listener.local_addr()?, "listening");
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = Shutdown::new();
        shutdown.spawn_role("receiver", receiver.serve(listener, shutdown.clone()));
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = stop.requested() => {}
            }
            stop.soft();
        });
        Ok(Ending::clean_if(shutdown.drain(GRACE).await))
    }
}

fn tell(output: Output, told: Result<Webhook, String>) {
    match told {
        Ok(Webhook { id, body }) if output.json => {
            output::line(json!({"verified": true, "id": id, "body": body}));
        }
        Ok(Webhook { id, body }) => output::line(format!("verified {id} {body}")),
        Err(why) if output.json => output::line(json!({"verified": false, "why": why})),
        Err(why) => output::line(format!("REFUSED {why}")),
    }
}
