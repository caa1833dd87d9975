//! etcdutl: a program of this machine, or the one in the image that kubeadm runs etcd from.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kcl_node_config::paths;

use crate::system::{System, SystemError};

/// The name of the container: one that a killed run left is found by it.
const CONTAINER: &str = "kcl-node-etcdutl";

/// Where etcd's own image has it.
const IN_IMAGE: &str = "/usr/local/bin/etcdutl";

/// The slowest disk with the largest database: 8 GiB are read once and written once.
const TIMEOUT: Duration = Duration::from_mins(30);

/// Where etcdutl comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Etcdutl {
    /// A program.
    Program(PathBuf),
    /// etcd's image, as kubeadm names it for a release of Kubernetes.
    Image(Image),
}

/// How a program of etcd's image is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Names the image.
    pub kubeadm: PathBuf,
    /// Fetches it, from the mirrors that containerd is told of.
    pub crictl: PathBuf,
    /// Runs it.
    pub ctr: PathBuf,
    /// `1.36.3`.
    pub kubernetes_version: String,
    /// Another registry than Kubernetes' own.
    pub image_repository: Option<String>,
}

impl Image {
    /// For a release of Kubernetes, with the programs that every machine has.
    pub fn new(kubernetes_version: &str, image_repository: Option<&str>) -> Self {
        let installed = |name: &str| Path::new(paths::BIN).join(name);
        Self {
            kubeadm: installed("kubeadm"),
            crictl: installed("crictl"),
            ctr: installed("ctr"),
            kubernetes_version: kubernetes_version.to_owned(),
            image_repository: image_repository.map(str::to_owned),
        }
    }

    /// The image's name.
    async fn name(&self, system: &System) -> Result<String, SystemError> {
        let version = format!("v{}", self.kubernetes_version);
        let mut arguments = vec!["config", "images", "list", "--kubernetes-version", &version];
        if let Some(repository) = &self.image_repository {
            arguments.extend(["--image-repository", repository]);
        }
        let said = system.run(&self.kubeadm, &arguments).await?;
        let etcd = said.lines().map(str::trim).find(|line| line.contains("/etcd:"));
        etcd.map(str::to_owned).ok_or_else(|| SystemError::Failed {
            command: format!("{} {}", self.kubeadm.display(), arguments.join(" ")),
            status: "no image of etcd".to_owned(),
            said,
        })
    }

    /// Fetches the image, if it is not there.
    async fn fetch(&self, system: &System) -> Result<(), SystemError> {
        let image = self.name(system).await?;
        if system.run(&self.crictl, &["inspecti", "--quiet", &image]).await.is_err() {
            system.run(&self.crictl, &["pull", &image]).await?;
        }
        Ok(())
    }

    async fn run(&self, system: &System, folder: &Path, arguments: &[&str]) -> Result<(), SystemError> {
        let image = self.name(system).await?;
        let ctr = |arguments: &[&'static str]| [&["--namespace", "k8s.io"], arguments].concat();
        // What a killed run left, which mostly is nothing: there is nothing to be said about it.
        drop(system.run(&self.ctr, &ctr(&["tasks", "delete", "--force", CONTAINER])).await);
        drop(system.run(&self.ctr, &ctr(&["containers", "delete", CONTAINER])).await);
        let folder = folder.display();
        let mount = format!("type=bind,src={folder},dst={folder},options=rbind:rw");
        let run = ["--namespace", "k8s.io", "run", "--rm", "--mount", &mount, &image, CONTAINER, IN_IMAGE];
        system.run(&self.ctr, &[&run, arguments].concat()).await.map(drop)
    }
}

impl Etcdutl {
    /// This program, or without one that of etcd's image for a release of Kubernetes.
    pub fn of(program: Option<&Path>, kubernetes_version: &str, image_repository: Option<&str>) -> Self {
        match program {
            Some(program) => Self::Program(program.to_owned()),
            None => Self::Image(Image::new(kubernetes_version, image_repository)),
        }
    }

    /// Makes it ready to be run, which may take the network: best done while etcd still runs.
    pub(super) async fn prepare(&self, system: &System) -> Result<(), SystemError> {
        match self {
            Self::Program(_) => Ok(()),
            Self::Image(image) => image.fetch(&System { timeout: TIMEOUT, ..system.clone() }).await,
        }
    }

    /// Runs it on files below a folder.
    pub(super) async fn run(
        &self,
        system: &System,
        folder: &Path,
        arguments: &[&OsStr],
    ) -> Result<(), SystemError> {
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let patient = System { timeout: TIMEOUT, ..system.clone() };
        match self {
            Self::Program(program) => patient.run(program, &arguments).await.map(drop),
            Self::Image(image) => image.run(&patient, folder, &arguments).await,
        }
    }
}
