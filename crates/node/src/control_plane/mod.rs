//! What makes a machine a part of the control plane: it begins the cluster, comes back to it, or joins it.
//!
//! [`decide`] says what is done, from what is found: the volume, the mark in the store, and whether other members of
//! etcd answer. What is done may have been done before, or half: killed anywhere and run again, it is decided anew
//! from what is found then.
//!
//! A member that comes back to its data is started with `kubeadm init`, not `kubeadm join`: it needs nobody's leave,
//! it runs what its own node configuration says rather than what the cluster was begun with, and etcd takes its data
//! as it is. It is told to begin no cluster of its own, whatever it finds.

mod decide;
mod error;
mod members;
mod recover;
mod wal;

use std::fs;
use std::path::{Path, PathBuf};

use kcl_node_config::{LastEntry, Mark, NodeConfig, paths};
use tokio::time::Instant;

pub use decide::{Action, Initialized, Others, Peer, Verdict, Volume, decide, verdict};
pub use error::ControlPlaneError;
pub use wal::Log;

use crate::backup::Source;
use crate::bootstrap::{Event, Report};
use crate::ec2::Ec2;
use crate::etcd::{Etcd, peer_url};
use crate::hosts;
use crate::imds::Identity;
use crate::kubeadm::Kubeadm;
use crate::mark::{self, Claimant, Standing};
use crate::restore::{self, Etcdutl, Site, Waits};
use crate::retry::Patience;
use crate::store::Store;
use crate::system::{FOLDER, System, SystemError};
use crate::volume::{Attached, Waiting};
use members::Answering;

/// Where data is put that the cluster has given up; what was there before is deleted.
const ASIDE: &str = "/var/lib/etcd/data.given-up";

/// What it works with.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// This machine.
    pub system: &'a System,
    /// The cluster's folder of the store.
    pub store: &'a Store,
    /// EC2, as the machine's role.
    pub ec2: &'a Ec2,
    /// What the machine is told.
    pub config: &'a NodeConfig,
    /// What the control plane is told.
    pub told: &'a kcl_node_config::ControlPlane,
    /// Who the machine is.
    pub identity: &'a Identity,
    /// The volume that it has.
    pub volume: &'a Attached,
    /// Where it is said what it does.
    pub report: &'a Report<'a>,
    /// How long is waited for other machines.
    pub waiting: Waiting,
    /// How often what may pass is tried.
    pub patience: Patience,
    /// What restores a snapshot; the program in etcd's image without.
    pub etcdutl: Option<&'a Path>,
}

/// Makes the machine a part of the control plane. One that is already is left as it is.
pub async fn run(work: &Work<'_>) -> Result<(), ControlPlaneError> {
    if work.is_done() {
        // The API's name may lead elsewhere since.
        return Ok(hosts::lead(work.system, &work.config.api.endpoint, work.identity.private_ip)?);
    }
    let begun = Instant::now();
    while !work.once(begun).await? {
        tokio::time::sleep(work.waiting.pause).await;
    }
    work.report.goes_on().await;
    work.settle().await
}

impl<'a> Work<'a> {
    /// Decides and does what is decided; false if it is to be decided again later.
    async fn once(&self, begun: Instant) -> Result<bool, ControlPlaneError> {
        let standing = mark::look(self.store, self.member()).await?;
        let answering = members::ask(self).await?;
        let others = match (&answering, self.is_single()) {
            (_, true) => Others::None,
            (Some(_), false) => Others::Answer,
            (None, false) => Others::Silent,
        };
        let initialized = match &standing {
            Standing::Absent => Initialized::No,
            Standing::Mine { .. } => Initialized::ByThisMember,
            Standing::Others(_) => Initialized::ByAnother,
            Standing::Initialized => Initialized::Yes,
        };
        let volume = if self.has_data() { Volume::Data } else { Volume::Blank };
        let action = decide(volume, initialized, others);
        self.report.tell(&Event::Finds(&format!("{volume:?}, {initialized:?}, {others:?}: {action:?}")));
        if matches!(action, Action::Join | Action::Rejoin)
            && let Some(member) = recover::by_another(self).await?
        {
            self.report.waits(&format!("the member {member}, which goes on alone")).await;
            return Ok(false);
        }
        match (action, answering, standing) {
            (Action::Begin, ..) => self.begin(volume).await,
            (Action::Wait, _, Standing::Others(mark)) => self.wait_for(mark, begun).await,
            (Action::Restore, ..) => self.restore().await.map(|()| true),
            (Action::RestoreSnapshot, ..) => {
                self.restore_snapshot().await?;
                self.restore().await.map(|()| true)
            }
            (Action::Join, Some(answering), _) => self.join(&answering).await.map(|()| true),
            (Action::Rejoin, Some(answering), _) => self.rejoin(&answering).await,
            (Action::Recover, ..) => recover::recover(self, begun).await,
            // What was looked at says so itself.
            (Action::Wait | Action::Join | Action::Rejoin, ..) => Ok(false),
        }
    }

    /// `kubeadm init`, if this machine has the mark or gets it.
    async fn begin(&self, volume: Volume) -> Result<bool, ControlPlaneError> {
        let own = self.claimant();
        if !matches!(mark::claim(self.store, own).await?, Standing::Mine { .. }) {
            return Ok(false);
        }
        self.announce(None).await?;
        self.lead_here()?;
        let patch = NodeConfig::etcd_patch(false)?;
        self.system.remove(&patch.path)?;
        self.kubeadm().init(volume == Volume::Data).await?;
        mark::finish(self.store, own).await?;
        Ok(true)
    }

    /// Another member begins the cluster.
    async fn wait_for(&self, mark: Mark, begun: Instant) -> Result<bool, ControlPlaneError> {
        let Mark { member, instance, at, .. } = mark;
        let waited = begun.elapsed();
        if waited >= self.waiting.longest {
            return Err(ControlPlaneError::NotBegun { member, instance, at, waited });
        }
        let what = format!("the member {member} ({instance}), which begins the cluster since {at}");
        self.report.waits(&what).await;
        Ok(false)
    }

    /// Starts with the data that is there, under this machine's address.
    async fn restore(&self) -> Result<(), ControlPlaneError> {
        self.announce(None).await?;
        self.lead_here()?;
        self.system.write(&NodeConfig::etcd_patch(false)?)?;
        Ok(self.kubeadm().init(true).await?)
    }

    /// Makes data on the blank volume: of what somebody asked to be restored, else of the newest snapshot.
    async fn restore_snapshot(&self) -> Result<(), ControlPlaneError> {
        members::client(self).await?;
        let Self { system, store, config, told, identity, .. } = *self;
        let (version, images) = (&config.kubernetes_version, config.image_repository.as_deref());
        let site = Site {
            source: Source {
                store: store.clone(),
                etcd: self.own_etcd()?,
                system: system.clone(),
                member: self.member().to_owned(),
                instance: identity.instance_id.clone(),
                kubernetes_version: version.clone(),
            },
            members: told.etcd.members.clone(),
            address: identity.private_ip,
            etcdutl: Etcdutl::of(self.etcdutl, version, images),
            waits: Waits::default(),
        };
        let found = match restore::requested(&site).await? {
            Some(request) => {
                format!("the backup {}, which {} asked for", request.backup, request.requested_by)
            }
            None => match restore::newest(&site).await? {
                Some(backup) => format!("the newest backup, {}", backup.name),
                None => return Err(ControlPlaneError::NoSnapshot { store: store.location().to_string() }),
            },
        };
        self.report.tell(&Event::Finds(&format!("etcd's data is made of {found}")));
        Ok(())
    }

    /// Joins the others with nothing of its own.
    async fn join(&self, answering: &Answering) -> Result<(), ControlPlaneError> {
        members::remove_dead(self, answering).await?;
        self.announce(None).await?;
        let patch = NodeConfig::etcd_patch(false)?;
        self.system.remove(&patch.path)?;
        // There is no API server here before etcd is.
        hosts::lead(self.system, &self.config.api.endpoint, answering.address)?;
        let kubeadm = self.kubeadm();
        kubeadm.phase(&["kubeconfig", "admin"]).await?;
        kubeadm.join_control_plane().await?;
        self.lead_here()?;
        members::restart_own_proxy(self).await;
        Ok(())
    }

    /// Comes back to the others, who are told its new address first. Data of a member that is none any more is put
    /// aside; it joins anew then.
    async fn rejoin(&self, answering: &Answering) -> Result<bool, ControlPlaneError> {
        let log = self.log()?;
        let known = log.and_then(|log| answering.members.iter().find(|member| member.id() == log.member));
        let Some(member) = known else {
            self.put_aside()?;
            return Ok(false);
        };
        let own = peer_url(self.identity.private_ip);
        if member.peer_urls != [own.as_str()] {
            answering.etcd.update_member(member.id(), &own).await?;
        }
        self.restore().await.map(|()| true)
    }

    /// What is left to do once etcd and the API server run here.
    async fn settle(&self) -> Result<(), ControlPlaneError> {
        members::repair_own(self).await?;
        self.announce(None).await?;
        members::delete_node_of_former(self).await;
        // Also where it began: kubeadm may write etcd's manifest again one day.
        self.system.write(&NodeConfig::etcd_patch(false)?)?;
        self.system.write(&self.done())?;
        Ok(())
    }

    fn put_aside(&self) -> Result<(), ControlPlaneError> {
        let (from, to) = (self.data(), self.system.path(ASIDE));
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| SystemError::File { what, path, source }
        };
        if to.exists() {
            fs::remove_dir_all(&to).map_err(failed("remove", &to))?;
        }
        fs::rename(&from, &to).map_err(failed("move away", &from))?;
        self.report.tell(&Event::Warning(&format!(
            "the data on the volume is of a member that the cluster has given up; it is in {ASIDE} now"
        )));
        Ok(())
    }

    fn claimant(&self) -> Claimant<'a> {
        let (volume, instance) = (self.volume.id.as_str(), self.identity.instance_id.as_str());
        Claimant { member: self.member(), volume, instance }
    }

    fn kubeadm(&self) -> Kubeadm<'a> {
        Kubeadm::new(self.system, self.config)
    }

    fn member(&self) -> &'a str {
        &self.told.etcd.member
    }

    fn is_single(&self) -> bool {
        self.told.etcd.members.len() == 1
    }

    /// etcd of this machine.
    fn own_etcd(&self) -> Result<Etcd, ControlPlaneError> {
        let endpoint = crate::etcd::client_url(self.identity.private_ip);
        Ok(Etcd::with_keys_of(self.system, &endpoint)?)
    }

    fn data(&self) -> PathBuf {
        self.system.path(paths::ETCD_DATA)
    }

    fn has_data(&self) -> bool {
        self.data().join("member").exists()
    }

    /// What the data says of itself.
    fn log(&self) -> Result<Option<Log>, ControlPlaneError> {
        let path = self.data();
        Ok(wal::read(&path).map_err(|source| SystemError::File { what: "read", path, source })?)
    }

    /// How new the data is.
    fn last(&self) -> Result<LastEntry, ControlPlaneError> {
        Ok(self.log()?.map(|log| log.last).unwrap_or_default())
    }

    fn lead_here(&self) -> Result<(), SystemError> {
        hosts::lead(self.system, &self.config.api.endpoint, self.identity.private_ip)
    }

    async fn announce(&self, waits_with: Option<LastEntry>) -> Result<(), ControlPlaneError> {
        members::announce(self, waits_with).await
    }

    /// The note that this machine is part of the control plane.
    fn done(&self) -> kcl_node_config::File {
        let path = format!("{FOLDER}/control-plane");
        kcl_node_config::File { path, mode: 0o644, content: format!("{}\n", self.volume.id) }
    }

    fn is_done(&self) -> bool {
        self.system.has(&self.done()) && self.has_data()
    }
}
