//! `kcl-node agent`: its command line, and its life as a process.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use kcl_http::chain;
use kcl_node::agent::{self, Intervals};
use kcl_node::bootstrap::BootstrapError;
use kcl_node::etcd;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Machine, seconds};
use crate::journal::{Journal, say};

#[derive(Args)]
pub(crate) struct Agent {
    #[command(flatten)]
    machine: Machine,
    /// Another endpoint for STS than AWS' own
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_STS")]
    sts_endpoint: Option<String>,
    /// Where the join service listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = SocketAddr::from(([0, 0, 0, 0], kcl_join::PORT)))]
    listen: SocketAddr,
    /// The etcd of this machine
    #[arg(long, value_name = "URL", default_value = etcd::LOCAL)]
    etcd: String,
    /// How often the instance metadata is looked at, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    watch_every: Duration,
    /// How often etcd is saved to the state store, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "900")]
    snapshot_every: Duration,
    /// How often requests to restore etcd are looked for, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    restore_every: Duration,
    /// How often the machine's record is refreshed, and the API's names with it, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    members_every: Duration,
    /// How often nodes that lack their labels are looked for, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    labels_every: Duration,
    /// How often the join service's certificates are looked at, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    reload_every: Duration,
    /// How often it is looked whether kubeadm's certificates are to be renewed, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "3600")]
    certificates_every: Duration,
    /// How long after a failure something is tried again, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    again_after: Duration,
    /// How long a machine that is turned off may take to leave, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "80")]
    stop_within: Duration,
}

impl Agent {
    fn settings(self) -> Result<agent::Settings, BootstrapError> {
        let mut settings = agent::Settings::new(self.machine.settings()?);
        (settings.sts_endpoint, settings.listen, settings.etcd) = (self.sts_endpoint, self.listen, self.etcd);
        settings.stop_within = self.stop_within;
        settings.intervals = Intervals {
            watch: self.watch_every,
            snapshot: self.snapshot_every,
            restore: self.restore_every,
            members: self.members_every,
            labels: self.labels_every,
            reload: self.reload_every,
            certificates: self.certificates_every,
            again: self.again_after,
            ..settings.intervals
        };
        Ok(settings)
    }
}

/// Runs until it is told to end.
pub(crate) async fn run(arguments: Agent) -> ExitCode {
    // Whoever has another one already goes on with that.
    drop(tracing::subscriber::set_global_default(Journal));
    let settings = match arguments.settings() {
        Ok(settings) => settings,
        Err(error) => return crate::failed(&error.to_string()),
    };
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                return crate::failed(&format!("cannot hear signals: {error}"));
            }
        };
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    match agent::run(settings, stop, Arc::new(say)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failed(&chain(&error)),
    }
}
