//! From a bare machine to one that kubeadm can be started on.
//!
//! Each step is a function that takes what the steps before it found, and may have been done before: killed
//! anywhere and run again, it comes to the same end. [`run`] does them in their order and says how far it is
//! where `kcl` can read it; what stops it is said there too.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kcl_http::{CredentialsSource, Http, Options, Signer, Tls, TlsError, chain};
use kcl_node_config::{ConfigError, File, MODULES, Machine, NodeConfig, Role, State, Status};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::download::{DownloadError, Downloads, Outcome};
use crate::imds::{Identity, Imds, ImdsError};
use crate::retry::Patience;
use crate::store::{Access, Condition, Location, Store, StoreError};
use crate::system::{FOLDER, System, SystemError};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server of programs may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// How long one status may hold up the work: a store that is out of reach must not make a machine late.
const STATUS: Duration = Duration::from_secs(10);

/// What is done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Who this machine is.
    Identity,
    /// What it is told.
    Configuration,
    /// Kernel modules and parameters, swap.
    Kernel,
    /// The programs.
    Programs,
    /// containerd and the kubelet as services.
    Services,
    /// What kubeadm reads.
    Kubeadm,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Identity, Self::Configuration, Self::Kernel, Self::Programs, Self::Services, Self::Kubeadm];

    /// Its name, as in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Configuration => "configuration",
            Self::Kernel => "kernel",
            Self::Programs => "programs",
            Self::Services => "services",
            Self::Kubeadm => "kubeadm-configuration",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What stopped it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The client.
    #[error(transparent)]
    Tls(#[from] TlsError),
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

/// Where a node configuration is: in the cluster's folder of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigUrl {
    url: String,
    folder: Location,
    key: String,
    group: String,
}

impl ConfigUrl {
    /// `s3://bucket/cluster/node/GROUP/SHA256.yaml`. The hash in it is a name only: what is read there is held
    /// to the hash that the machine was started with.
    pub fn parse(url: &str) -> Result<Self, BootstrapError> {
        let broken = || BootstrapError::Url { url: url.to_owned() };
        let (folder, rest) = url.rsplit_once("/node/").ok_or_else(broken)?;
        let (group, hash) = rest.split_once('/').ok_or_else(broken)?;
        let hash = hash.strip_suffix(".yaml").ok_or_else(broken)?;
        let digits = hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        if group.is_empty() || hash.len() != 64 || !digits {
            return Err(broken());
        }
        let (key, group) = (NodeConfig::path(group, hash), group.to_owned());
        Ok(Self { url: url.to_owned(), folder: Location::parse(folder)?, key, group })
    }
}

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
    /// This machine.
    pub system: System,
    /// How often what may pass is tried.
    pub patience: Patience,
    /// How long the metadata service may take; its own bound without.
    pub imds_timeout: Option<Duration>,
}

/// What the steps work with.
#[derive(Clone, Debug)]
pub struct Context {
    settings: Settings,
    http: Http,
    imds: Arc<Imds>,
    signer: Signer,
}

/// What is told while it works.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step begins.
    Begins(Step),
    /// A program is there.
    Program(&'a str, Outcome),
    /// The status could not be written, for this reason; the work goes on.
    StatusNotWritten(&'a str),
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

    /// Step 1: who this machine is.
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

    /// Step 2: what the machine is told, if it is what it was started with.
    pub async fn configuration(&self, store: &Store) -> Result<NodeConfig, BootstrapError> {
        let ConfigUrl { url, key, group, .. } = &self.settings.config;
        let bytes = store.get_checked(key, &self.settings.sha256).await?;
        let config = NodeConfig::parse(&String::from_utf8_lossy(&bytes))?;
        let found = (config.instance_group.as_str(), Location::parse(&config.store.location)?);
        if found == (group.as_str(), store.location().clone()) {
            return Ok(config);
        }
        let found = format!("the group {} of {}", config.instance_group, config.store.location);
        Err(BootstrapError::Other { url: url.clone(), found })
    }

    /// Step 3: kernel modules and parameters, now and at each start; and no swap, of which EC2's images have none
    /// that would come back.
    pub async fn kernel(&self, config: &NodeConfig) -> Result<(), BootstrapError> {
        let system = &self.settings.system;
        let files = config.kernel_files();
        system.write_all(&files)?;
        let commands = &system.commands;
        system.run(&commands.modprobe, &[&["--all"], MODULES.as_slice()].concat()).await?;
        for file in files.iter().filter(|file| file.path.contains("sysctl")) {
            let path = system.path(&file.path);
            let load = format!("--load={}", path.display());
            system.run(&commands.sysctl, &["--quiet", &load]).await?;
        }
        system.run(&commands.swapoff, &["--all"]).await?;
        Ok(())
    }

    /// Step 4: the programs.
    pub async fn programs(
        &self,
        config: &NodeConfig,
    ) -> Result<std::collections::BTreeMap<String, Outcome>, BootstrapError> {
        let downloads =
            Downloads { http: self.http.clone(), patience: self.settings.patience, silence: SILENCE };
        let assets: Vec<_> =
            config.assets.iter().map(|asset| (asset.clone(), config.asset_url(asset))).collect();
        Ok(downloads.install(&self.settings.system, &assets).await?)
    }

    /// Step 5: containerd runs, and the kubelet will once kubeadm has told it what to do.
    pub async fn services(&self, config: &NodeConfig) -> Result<(), BootstrapError> {
        let system = &self.settings.system;
        let mut files = NodeConfig::unit_files();
        files.extend(config.containerd_files());
        system.write_all(&files)?;
        let systemctl =
            |arguments: &'static [&'static str]| system.run(&system.commands.systemctl, arguments);
        systemctl(&["daemon-reload"]).await?;
        systemctl(&["enable", "containerd.service", "kubelet.service"]).await?;
        // A running one goes on with what it read when it started. That it was started with these files is
        // noted once it was: a run may have ended between writing them and this.
        let started = started_with(&files);
        if system.has(&started) {
            systemctl(&["start", "containerd.service"]).await?;
        } else {
            systemctl(&["restart", "containerd.service"]).await?;
            system.write(&started)?;
        }
        Ok(())
    }

    /// Step 6: what kubeadm reads. Neither the cluster's keys nor a token are among it.
    pub fn kubeadm(&self, config: &NodeConfig, identity: &Identity) -> Result<Vec<File>, BootstrapError> {
        let machine = Machine {
            instance_id: identity.instance_id.clone(),
            zone: identity.availability_zone.clone(),
            private_ip: identity.private_ip,
        };
        let mut files = config.component_files(&machine)?;
        files.push(match config.role {
            Role::ControlPlane => config.kubeadm_init(&machine)?,
            Role::Node => config.kubeadm_join(&machine)?,
        });
        self.settings.system.write_all(&files)?;
        Ok(files)
    }
}

/// The note of the files that containerd was started with.
fn started_with(files: &[File]) -> File {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.path.as_bytes());
        hash.update([0]);
        hash.update(file.content.as_bytes());
        hash.update([0]);
    }
    let content = hex::encode(hash.finalize());
    File { path: format!("{FOLDER}/containerd-started-with"), mode: 0o644, content }
}

/// What a machine has that is ready for kubeadm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Who it is.
    pub identity: Identity,
    /// What it is told.
    pub config: NodeConfig,
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

/// Does all steps, and says in the store how far it is.
pub async fn run(settings: Settings, tell: &(dyn Fn(&Event<'_>) + Sync)) -> Result<Ready, Stopped> {
    let at = |step: Step| move |source: BootstrapError| Stopped { step, source };
    tell(&Event::Begins(Step::Identity));
    let _lock = settings.system.lock().map_err(|error| at(Step::Identity)(error.into()))?;
    let context = Context::new(settings).map_err(at(Step::Identity))?;
    let identity = context.identity().await.map_err(at(Step::Identity))?;
    let store = context.store(&identity);
    let mut report = Report { store: &store, instance: identity.instance_id.clone(), group: None, tell };
    match remaining(&context, &identity, &mut report).await {
        Ok(config) => {
            report.write(State::Done, Step::Kubeadm, None).await;
            Ok(Ready { identity, config })
        }
        Err(stopped) => {
            let error = chain(&stopped.source);
            report.write(State::Failed, stopped.step, Some(error)).await;
            Err(stopped)
        }
    }
}

/// The steps after the first.
async fn remaining(
    context: &Context,
    identity: &Identity,
    report: &mut Report<'_>,
) -> Result<NodeConfig, Stopped> {
    let at = |step: Step| move |source: BootstrapError| Stopped { step, source };
    report.begin(Step::Configuration).await;
    let config = context.configuration(report.store).await.map_err(at(Step::Configuration))?;
    report.group = Some(config.instance_group.clone());
    report.begin(Step::Kernel).await;
    context.kernel(&config).await.map_err(at(Step::Kernel))?;
    report.begin(Step::Programs).await;
    let programs = context.programs(&config).await.map_err(at(Step::Programs))?;
    for (name, outcome) in &programs {
        (report.tell)(&Event::Program(name, *outcome));
    }
    report.begin(Step::Services).await;
    context.services(&config).await.map_err(at(Step::Services))?;
    report.begin(Step::Kubeadm).await;
    context.kubeadm(&config, identity).map_err(at(Step::Kubeadm))?;
    Ok(config)
}

/// Where it is said how far the machine is.
struct Report<'a> {
    store: &'a Store,
    instance: String,
    group: Option<String>,
    tell: &'a (dyn Fn(&Event<'_>) + Sync),
}

impl Report<'_> {
    async fn begin(&self, step: Step) {
        (self.tell)(&Event::Begins(step));
        self.write(State::Running, step, None).await;
    }

    /// That nobody can read how far it is stops no machine.
    async fn write(&self, state: State, step: Step, error: Option<String>) {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let status = Status {
            instance: self.instance.clone(),
            instance_group: self.group.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state,
            step: step.as_str().to_owned(),
            waits_for: None,
            error,
            at: now.format(&Rfc3339).unwrap_or_default(),
        };
        let text = serde_json::json!(status).to_string();
        let path = Status::path(&self.instance);
        let write = self.store.put(&path, text.as_bytes(), Condition::Always);
        match tokio::time::timeout(STATUS, write).await {
            Err(_) => {
                (self.tell)(&Event::StatusNotWritten(&format!("no answer in {} s", STATUS.as_secs())));
            }
            Ok(Err(error)) => (self.tell)(&Event::StatusNotWritten(&chain(&error))),
            Ok(Ok(_)) => {}
        }
    }
}
