//! The daemon: what a machine does for its cluster for as long as it is a member.
//!
//! Everywhere it watches for what is coming ([`notice`], [`watch`]) and empties the machine before it goes ([`plan`],
//! [`leave`], [`drain`]), with no other right than the kubelet's own ([`kubelet`]). On the control plane it also lets
//! workers in ([`join`]), gives nodes the labels that they may not give themselves ([`labels`]), saves etcd to the
//! store ([`snapshots`]), keeps the API's names ([`members`], [`dns`]), renews certificates ([`renew`]), and hands its
//! volume over when it goes. What it does and what fails is said in the store ([`report`]).
//!
//! Every task stands for itself: one that fails is begun again after a pause ([`supervise`]), and ends no other.
//!
//! What is put away when a machine leaves is found again when the agent starts, since a machine that was stopped may
//! be started again: its cordon is lifted, its volume attached, etcd's manifest brought back.

pub mod certificate;
pub mod dns;
pub mod drain;
pub mod join;
pub mod kubelet;
pub mod kubernetes;
pub mod labels;
mod leave;
pub mod members;
pub mod notice;
pub mod plan;
pub mod pods;
pub mod renew;
pub mod report;
pub mod rights;
mod run;
pub mod shutdown;
mod snapshots;
pub mod supervise;
pub mod volume;
mod watch;

use std::net::SocketAddr;
use std::time::Duration;

use kcl_http::{AwsService, Http, Options, Signer, Tls, TlsError};
use kcl_join::{PORT, ServiceConfig};
use kcl_node_config::{ControlPlane, File, NodeConfig};

use crate::bootstrap::{self, BootstrapError, Context};
use crate::device;
use crate::ec2::Ec2;
use crate::etcd;
use crate::imds::{Identity, Imds, ImdsError};
use crate::manifests::{self, Place};
use crate::restore::Etcdutl;
use crate::retry::Patience;
use crate::store::Store;
use crate::system::FOLDER;
use crate::volume::Wanted;
use join::JoinSettings;
use kubelet::Kubelet;
use members::Here;
use report::Report;
use supervise::Failure;

pub use report::Tell;
pub use run::run;

/// How long a connection may take to come about: the metadata service is on the machine, AWS in the region.
const CONNECT: Duration = Duration::from_secs(5);

/// That the cordon is the agent's own, and is to be lifted when the machine stays after all.
const CORDONED: &str = "cordoned";

/// How often what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// The metadata is looked at.
    pub watch: Duration,
    /// What is waited for while the machine leaves is looked at.
    pub pace: Duration,
    /// etcd is saved, give or take a tenth.
    pub snapshot: Duration,
    /// Requests to restore are looked for.
    pub restore: Duration,
    /// This machine's record is refreshed, and the API's names with it.
    pub members: Duration,
    /// Nodes that lack their labels are looked for.
    pub labels: Duration,
    /// The join service's certificates are looked at.
    pub reload: Duration,
    /// It is looked whether kubeadm's certificates are to be renewed.
    pub certificates: Duration,
    /// A task that failed begins again.
    pub again: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            // AWS recommends it for notices of two minutes.
            watch: Duration::from_secs(5),
            pace: Duration::from_secs(1),
            snapshot: Duration::from_mins(15),
            restore: Duration::from_secs(30),
            // A fifth of the time after which a record is taken for a dead machine's.
            members: Duration::from_mins(1),
            // As often as a kubelet says that it is well, which costs the API server more.
            labels: Duration::from_secs(10),
            reload: Duration::from_secs(30),
            // Some times within the hours that a member has for it.
            certificates: Duration::from_hours(1),
            again: Duration::from_secs(10),
        }
    }
}

/// Everything outside, and what the machine was started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As for bootstrap.
    pub machine: bootstrap::Settings,
    /// Another endpoint of STS than AWS' own, by which the join service finds out who asks.
    pub sts_endpoint: Option<String>,
    /// Where the join service listens.
    pub listen: SocketAddr,
    /// The etcd of this machine: `https://address:port`.
    pub etcd: String,
    /// How often what is done.
    pub intervals: Intervals,
    /// How long a machine that is turned off may take to leave; systemd waits a little longer.
    pub stop_within: Duration,
}

impl Settings {
    /// The usual ones beside what bootstrap was told.
    pub fn new(machine: bootstrap::Settings) -> Self {
        Self {
            machine,
            sts_endpoint: None,
            listen: SocketAddr::from(([0, 0, 0, 0], PORT)),
            etcd: etcd::LOCAL.to_owned(),
            intervals: Intervals::default(),
            stop_within: Duration::from_secs(80),
        }
    }
}

/// Why the agent cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// What bootstrap needs too.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl AgentError {
    /// Whether it cannot be any better later: what was given is wrong.
    fn is_final(&self) -> bool {
        matches!(self, Self::Bootstrap(BootstrapError::Endpoint(_)))
    }
}

/// What only the control plane has.
struct ControlPlaneParts {
    told: ControlPlane,
    ec2: Ec2,
    route53: AwsService,
}

/// What the tasks work with.
struct Agent {
    settings: Settings,
    imds: Imds,
    signer: Signer,
    identity: Identity,
    config: NodeConfig,
    store: Store,
    kubelet: Kubelet,
    report: Report,
    control_plane: Option<ControlPlaneParts>,
    /// Held while etcd is saved or restored.
    saving: tokio::sync::Mutex<()>,
}

impl Agent {
    /// Finds out who the machine is and what it is told.
    async fn begin(settings: &Settings, report: &Report) -> Result<Self, AgentError> {
        let context = Context::new(settings.machine.clone())?;
        let identity = context.identity().await?;
        let store = context.store(&identity);
        let config = context.configuration_kept(&store).await?;
        let http = Http::new(Tls::of_this_machine()?, Options { connect_timeout: CONNECT, plain: true });
        // It is asked again soon anyway.
        let once = Patience { attempts: 1, ..settings.machine.patience };
        let imds = Imds::new(http, &settings.machine.imds, once);
        let signer = context.signer().clone();
        let control_plane = match &config.control_plane {
            None => None,
            Some(told) => Some(ControlPlaneParts {
                told: told.clone(),
                ec2: context.ec2(&identity)?,
                route53: context.route53(&identity)?,
            }),
        };
        let kubelet = Kubelet::new(settings.machine.system.clone(), &identity.instance_id);
        let settings = settings.clone();
        let (report, saving) = (report.clone(), tokio::sync::Mutex::default());
        Ok(Self { settings, imds, signer, identity, config, store, kubelet, report, control_plane, saving })
    }

    /// Where this machine is, as others reach it.
    async fn here(&self) -> Result<Here, ImdsError> {
        Here::of(&self.identity, &self.imds).await
    }

    /// The API server of this machine, by an address that is in its certificate.
    fn api_server(&self) -> String {
        format!("https://{}", SocketAddr::new(self.identity.private_ip, self.config.api.bind_port))
    }

    /// What the join service is served with.
    fn join_settings(&self, told: &ControlPlane) -> JoinSettings {
        let Settings { machine, sts_endpoint, listen, intervals, .. } = &self.settings;
        JoinSettings {
            service: ServiceConfig {
                cluster: self.config.cluster.clone(),
                region: self.identity.region.clone(),
                account: self.config.account.clone(),
                node_roles: told.node_roles.clone(),
                api_endpoint: self.config.api_address(),
                signer: self.signer.clone(),
                sts_endpoint: sts_endpoint.clone(),
                ec2_endpoint: machine.ec2_endpoint.clone(),
            },
            listen: *listen,
            server: self.api_server(),
            reload_every: intervals.reload,
        }
    }

    /// What makes data of a snapshot.
    fn etcdutl(&self) -> Etcdutl {
        let NodeConfig { kubernetes_version, image_repository, .. } = &self.config;
        let program = self.settings.machine.etcdutl.as_deref();
        Etcdutl::of(program, kubernetes_version, image_repository.as_deref())
    }

    /// Has etcd's volume again, mounted, and then the kubelet, which does not start without.
    async fn take_volume(&self, control_plane: &ControlPlaneParts) -> Result<(), Failure> {
        let bootstrap::Settings { system, waiting, .. } = &self.settings.machine;
        let wanted = Wanted {
            cluster: &self.config.cluster,
            tag: &control_plane.told.etcd.volume_tag(),
            instance: &self.identity.instance_id,
            zone: &self.identity.availability_zone,
        };
        device::take(system, &control_plane.ec2, wanted, *waiting, &self.report).await?;
        system.run(&system.commands.systemctl, &["start", "kubelet.service"]).await?;
        Ok(())
    }

    /// Whether etcd was stopped because the machine left.
    fn has_left(&self) -> bool {
        Place::Leaving.has(&self.settings.machine.system, manifests::ETCD)
    }

    /// Lets nothing new be placed here, and remembers that it was the agent who said so.
    async fn cordon(&self) -> Result<(), Failure> {
        let system = &self.settings.machine.system;
        let mark = cordon_mark();
        // A mark without a cordon lifts nothing that matters; a cordon without a mark would stay for ever.
        if !self.kubelet.is_cordoned().await? {
            system.write(&mark)?;
            self.kubelet.cordon(true).await?;
        }
        Ok(())
    }

    /// Lifts the agent's own cordon; one that somebody else made stays.
    async fn uncordon(&self) -> Result<(), Failure> {
        let system = &self.settings.machine.system;
        let mark = cordon_mark();
        if system.has(&mark) {
            self.kubelet.cordon(false).await?;
            system.remove(&mark.path)?;
        }
        Ok(())
    }
}

fn cordon_mark() -> File {
    File { path: format!("{FOLDER}/{CORDONED}"), mode: 0o600, content: String::new() }
}
