//! What stops it.

use kcl_http::{EndpointError, TlsError, chain};
use kcl_node_config::ConfigError;

use super::step::Step;
use crate::agent::members::MembersError;
use crate::control_plane::ControlPlaneError;
use crate::download::DownloadError;
use crate::imds::ImdsError;
use crate::pki::PkiError;
use crate::store::StoreError;
use crate::system::SystemError;
use crate::volume::VolumeError;
use crate::worker::WorkerError;

/// What stopped it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The client.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The metadata service.
    #[error(transparent)]
    Imds(#[from] ImdsError),
    /// The state store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The programs.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The machine.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] PkiError),
    /// The control plane.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// The API's names.
    #[error(transparent)]
    Names(#[from] MembersError),
    /// Joining.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Not where node configurations are.
    #[error(
        "`{url}` is not where a node configuration is\nhint: it is like s3://bucket/cluster/node/GROUP/SHA256.yaml"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// The configuration of another group or cluster.
    #[error(
        "{url} is the node configuration of {found}\nhint: `kcl update --yes` writes each where it belongs"
    )]
    Other {
        /// Where it was found.
        url: String,
        /// What it says it is.
        found: String,
    },
}

/// Why it stopped, and where.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {}", chain(source))]
pub struct Stopped {
    /// The step.
    pub step: Step,
    /// Why.
    pub source: BootstrapError,
}
