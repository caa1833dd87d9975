//! From a bare machine to a member of its cluster.
//!
//! Each step is a function that takes what the steps before it found, and may have been done before: killed
//! anywhere and run again, it comes to the same end. [`run`] does them in their order and says how far it is
//! where `kcl` can read it; what stops it is said there too.

mod error;
mod finish;
mod prepare;
mod report;
mod step;
mod url;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kcl_http::{AwsService, CredentialsSource, Http, Options, Signer, Tls, chain};
use kcl_node_config::{NodeConfig, Role};

use crate::ec2::Ec2;
use crate::imds::{Identity, Imds};
use crate::retry::Patience;
use crate::store::{Access, Store};
use crate::system::System;
use crate::volume::Waiting;

pub use error::{BootstrapError, Stopped};
pub use report::{Event, Report, Tell};
pub use step::Step;
pub use url::ConfigUrl;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Everything outside, and what the machine was started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node configuration.
    pub config: ConfigUrl,
    /// Its hash.
    pub sha256: String,
    /// The metadata service.
    pub imds: String,
    /// Another endpoint of S3 than AWS' own.
    pub s3_endpoint: Option<String>,
    /// Another endpoint of EC2 than AWS' own.
    pub ec2_endpoint: Option<String>,
    /// Another endpoint of Route53 than AWS' own.
    pub route53_endpoint: Option<String>,
    /// Where the join service is asked; at the API's name without.
    pub join_service: Option<String>,
    /// This machine.
    pub system: System,
    /// How often what may pass is tried.
    pub patience: Patience,
    /// How long the metadata service may take; its own bound without.
    pub imds_timeout: Option<Duration>,
    /// How long is waited for others: who has the volume, who begins the cluster, who lets in.
    pub waiting: Waiting,
    /// This very program.
    pub program: PathBuf,
    /// What its daemon is started with, after `kcl-node agent`.
    pub agent_arguments: Vec<String>,
    /// What restores a snapshot of etcd; the program in etcd's own image without.
    pub etcdutl: Option<PathBuf>,
}

/// What the steps work with.
#[derive(Clone, Debug)]
pub struct Context {
    settings: Settings,
    http: Http,
    imds: Arc<Imds>,
    signer: Signer,
}

impl Context {
    /// Nothing is asked yet.
    pub fn new(settings: Settings) -> Result<Self, BootstrapError> {
        // The metadata service has no TLS, and a mirror or another endpoint may have none.
        let options = Options { connect_timeout: CONNECT, plain: true };
        let http = Http::new(Tls::of_this_machine()?, options);
        let mut imds = Imds::new(http.clone(), &settings.imds, settings.patience);
        if let Some(timeout) = settings.imds_timeout {
            imds = imds.with_timeout(timeout);
        }
        let imds = Arc::new(imds);
        let signer = Signer::shared(Arc::clone(&imds) as Arc<dyn CredentialsSource>);
        Ok(Self { settings, http, imds, signer })
    }

    /// Who this machine is.
    pub async fn identity(&self) -> Result<Identity, BootstrapError> {
        Ok(self.imds.identity().await?)
    }

    /// The cluster's folder of the store, as the machine's role.
    pub fn store(&self, identity: &Identity) -> Store {
        let access = Access {
            http: self.http.clone(),
            signer: self.signer.clone(),
            region: identity.region.clone(),
            endpoint: self.settings.s3_endpoint.clone(),
            patience: self.settings.patience,
        };
        Store::new(self.settings.config.folder.clone(), access)
    }

    /// EC2 of the machine's region, as the machine's role.
    pub fn ec2(&self, identity: &Identity) -> Result<Ec2, BootstrapError> {
        let (http, signer) = (self.http.clone(), self.signer.clone());
        let endpoint = self.settings.ec2_endpoint.as_deref();
        let service = AwsService::regional(http, signer, "ec2", &identity.region, endpoint)?;
        Ok(Ec2::new(service, self.settings.patience))
    }

    /// Route53, as the machine's role.
    pub fn route53(&self, identity: &Identity) -> Result<AwsService, BootstrapError> {
        let (http, signer) = (self.http.clone(), self.signer.clone());
        let endpoint = self.settings.route53_endpoint.as_deref();
        Ok(AwsService::global(http, signer, "route53", &identity.region, endpoint)?)
    }

    /// Who signs as the machine's role.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}

/// A machine that is a member of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub identity: Identity,
    /// What it is told.
    pub config: NodeConfig,
}

/// Does all steps, and says in the store how far it is.
pub async fn run(settings: Settings, tell: Tell<'_>) -> Result<Member, Stopped> {
    let at = |step: Step| move |source: BootstrapError| Stopped { step, source };
    tell(&Event::Begins(Step::Identity));
    let _lock = settings.system.lock().map_err(|error| at(Step::Identity)(error.into()))?;
    let context = Context::new(settings).map_err(at(Step::Identity))?;
    let identity = context.identity().await.map_err(at(Step::Identity))?;
    let store = context.store(&identity);
    let report = Report::new(&store, &identity.instance_id, tell);
    match Box::pin(remaining(&context, &store, &identity, &report)).await {
        Ok(config) => {
            report.done().await;
            Ok(Member { identity, config })
        }
        Err(stopped) => {
            report.failed(stopped.step, chain(&stopped.source)).await;
            Err(stopped)
        }
    }
}

/// The steps after the first.
async fn remaining(
    context: &Context,
    store: &Store,
    identity: &Identity,
    report: &Report<'_>,
) -> Result<NodeConfig, Stopped> {
    let at = |step: Step| move |source: BootstrapError| Stopped { step, source };
    report.begin(Step::Configuration).await;
    let config = context.configuration(store).await.map_err(at(Step::Configuration))?;
    report.of_group(&config.instance_group);
    report.begin(Step::Kernel).await;
    context.kernel(&config).await.map_err(at(Step::Kernel))?;
    report.begin(Step::Programs).await;
    // Both are fetched, from different places.
    let (packet_filter, programs) =
        tokio::join!(prepare::packet_filter(&context.settings.system), context.programs(&config));
    if !packet_filter {
        // Pods without ports of the machine's own need neither: kube-proxy and network addons bring theirs.
        let without = "neither iptables nor nft is on this machine: pods with a hostPort will not start here";
        report.tell(&Event::Warning(without));
    }
    let programs = programs.map_err(at(Step::Programs))?;
    for (name, outcome) in &programs {
        report.tell(&Event::Program(name, *outcome));
    }
    report.begin(Step::Services).await;
    context.services(&config).await.map_err(at(Step::Services))?;
    report.begin(Step::Kubeadm).await;
    context.kubeadm(&config, identity).map_err(at(Step::Kubeadm))?;
    match config.role {
        Role::ControlPlane => {
            report.begin(Step::Volume).await;
            let volume = context.volume(&config, identity, report).await.map_err(at(Step::Volume))?;
            report.begin(Step::Keys).await;
            context.keys(store).await.map_err(at(Step::Keys))?;
            report.begin(Step::ControlPlane).await;
            let work = context.control_plane(store, &config, identity, &volume, report);
            Box::pin(work).await.map_err(at(Step::ControlPlane))?;
        }
        Role::Node => {
            report.begin(Step::Join).await;
            Box::pin(context.join(&config, identity, report)).await.map_err(at(Step::Join))?;
        }
    }
    report.begin(Step::Agent).await;
    context.agent().await.map_err(at(Step::Agent))?;
    Ok(config)
}
