//! A worker's way into its cluster: a token from the join service, and `kubeadm join` with it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kcl_http::Signer;
use kcl_join::{Claim, ClientConfig, JoinError, PORT, join};
use kcl_node_config::{ConfigError, JoinToken, NodeConfig, paths};
use tokio::time::Instant;

use crate::bootstrap::Report;
use crate::imds::Identity;
use crate::kubeadm::Kubeadm;
use crate::system::{FOLDER, System, SystemError};
use crate::volume::Waiting;

/// What the kubelet has once it was let in.
const KUBELET: [&str; 2] =
    ["/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/pki/kubelet-client-current.pem"];

/// So long the join service is asked before it is said that it is waited for.
const ROUND: Duration = Duration::from_secs(30);

/// Why the machine is no worker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The join service.
    #[error(transparent)]
    Join(#[from] JoinError),
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
    let token = ask(work).await?;
    work.report.goes_on().await;
    system.write(&work.config.discovery(&token)?)?;
    let joined = Kubeadm::new(system, work.config).join().await;
    // Whatever came of it: the next try gets its own.
    system.remove(paths::DISCOVERY)?;
    Ok(joined?)
}

/// A token from the join service, once there is one to be asked.
async fn ask(work: &Join<'_>) -> Result<JoinToken, WorkerError> {
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
    let begun = Instant::now();
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
