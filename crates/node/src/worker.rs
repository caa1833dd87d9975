//! A worker's way into its cluster: a token from the join service, and `kubeadm join` with it.
//!
//! The join service is at the API's name, which the control plane itself publishes. Whoever asks for a name that is
//! not there yet is told so for a quarter of an hour from then on: that answer is kept by the VPC's resolver as long as
//! the zone's SOA says. So the name is not asked for before the mark in the store says that there is a cluster.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use kcl_http::Signer;
use kcl_join::{Claim, ClientConfig, JoinError, PORT, join};
use kcl_node_config::{ConfigError, JoinToken, Mark, MarkState, NodeConfig, paths};
use tokio::time::Instant;

use crate::bootstrap::Report;
use crate::imds::Identity;
use crate::kubeadm::Kubeadm;
use crate::store::{Store, StoreError};
use crate::system::{FOLDER, System, SystemError};
use crate::volume::Waiting;

/// What the kubelet has once it was let in.
const KUBELET: [&str; 2] = [paths::KUBELET, "/var/lib/kubelet/pki/kubelet-client-current.pem"];

/// The longest time between two looks whether there is a control plane.
const LOOK: Duration = Duration::from_secs(10);

/// So long the join service is asked before it is said that it is waited for.
const ROUND: Duration = Duration::from_secs(30);

/// Why S3 does not show the mark: it is not there, or the role may not read it. To a role that may not list the
/// bucket, as a worker's, it says the same of both.
const DENIED: &str = "AccessDenied";

/// Why the machine is no worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The join service.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The state store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody begins the cluster.
    #[error(
        "the state store has not said that there is a control plane for {} s\nhint: `kcl get instances` shows what the control plane's machines do",
        waited.as_secs()
    )]
    NoControlPlane {
        /// How long was waited.
        waited: Duration,
    },
    /// A document.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine, and kubeadm on it.
    #[error(transparent)]
    System(#[from] SystemError),
    /// What the machine shows that it asked before.
    #[error("failed to keep {}", path.display())]
    Claim {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What it was given is no token.
    #[error("the join service gave something that is no bootstrap token")]
    NoToken,
}

/// What it works with.
#[derive(Clone, Copy)]
pub struct Join<'a> {
    /// This machine.
    pub system: &'a System,
    /// The cluster's folder of the store.
    pub store: &'a Store,
    /// What it is told.
    pub config: &'a NodeConfig,
    /// Who it is.
    pub identity: &'a Identity,
    /// Its role.
    pub signer: &'a Signer,
    /// Where the join service is; at the API's name without.
    pub service: Option<&'a str>,
    /// Where it is said what it does.
    pub report: &'a Report<'a>,
    /// How long is waited for the control plane.
    pub waiting: Waiting,
}

/// Makes the machine a worker. One that is already is left as it is.
pub async fn run(work: &Join<'_>) -> Result<(), WorkerError> {
    let system = work.system;
    if KUBELET.iter().all(|path| system.path(path).exists()) {
        system.remove(paths::DISCOVERY)?;
        system.run(&system.commands.systemctl, &["start", "kubelet.service"]).await?;
        return Ok(());
    }
    let begun = Instant::now();
    if work.asks_for_a_name() {
        wait_for_the_control_plane(work, begun).await?;
        work.report.goes_on().await;
    }
    let token = ask(work, begun).await?;
    work.report.goes_on().await;
    system.write(&work.config.discovery(&token)?)?;
    let joined = Kubeadm::new(system, work.config).join().await;
    // Whatever came of it: the next try gets its own.
    system.remove(paths::DISCOVERY)?;
    Ok(joined?)
}

impl Join<'_> {
    /// Whether it has to be found out where the join service is. A load balancer's own name is there before any
    /// machine, but nobody answers at it any sooner.
    fn asks_for_a_name(&self) -> bool {
        self.service.is_none() && self.config.api.endpoint.parse::<IpAddr>().is_err()
    }
}

/// Waits until the mark in the store says that there is a cluster, but no longer than until it has waited for that
/// long altogether.
async fn wait_for_the_control_plane(work: &Join<'_>, begun: Instant) -> Result<(), WorkerError> {
    let Join { store, report, waiting, .. } = *work;
    loop {
        let found = store.get(Mark::PATH).await;
        let late = begun.elapsed() >= waiting.longest;
        let what = match found {
            Ok(Some(object)) => match Mark::read(&object.bytes)? {
                Mark { state: MarkState::Initialized, .. } => return Ok(()),
                Mark { instance, at, .. } => format!("{instance}, which begins the control plane since {at}"),
            },
            Ok(None) => "the control plane, which no machine has begun yet".to_owned(),
            Err(StoreError::Refused { code, .. }) if code == DENIED && !late => {
                "the control plane: the state store does not show yet that there is one".to_owned()
            }
            Err(error) => return Err(error.into()),
        };
        if late {
            return Err(WorkerError::NoControlPlane { waited: begun.elapsed() });
        }
        report.waits(&what).await;
        tokio::time::sleep(LOOK.min(waiting.pause)).await;
    }
}

/// A token from the join service, once there is one to be asked.
async fn ask(work: &Join<'_>, begun: Instant) -> Result<JoinToken, WorkerError> {
    let path = work.system.path(FOLDER).join("join-claim");
    let claim = Claim::load_or_create(&path).map_err(|source| WorkerError::Claim { path, source })?;
    let (endpoint, longest) = (&work.config.api.endpoint, work.waiting.longest);
    let own = if endpoint.contains(':') {
        format!("https://[{endpoint}]:{PORT}")
    } else {
        format!("https://{endpoint}:{PORT}")
    };
    let config = ClientConfig {
        url: work.service.map_or(own, str::to_owned),
        ca_pem: work.config.api.ca_bundle.clone(),
        cluster: work.config.cluster.clone(),
        region: work.identity.region.clone(),
        instance_id: work.identity.instance_id.clone(),
        claim,
        signer: work.signer.clone(),
        give_up_after: ROUND.min(longest),
    };
    loop {
        match join(config.clone()).await {
            Ok(joined) => return JoinToken::new(joined.token.reveal()).ok_or(WorkerError::NoToken),
            Err(JoinError::GaveUp { last, .. }) if begun.elapsed() < longest => {
                work.report.waits(&format!("the join service at {}: {last}", config.url)).await;
            }
            Err(JoinError::GaveUp { tries, last, .. }) => {
                return Err(JoinError::GaveUp { after: begun.elapsed(), tries, last }.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}
