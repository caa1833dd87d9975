//! The steps that make a ready machine a member: volume, keys, control plane, join, agent.

use std::fs;

use kcl_http::chain;
use kcl_node_config::{AGENT_UNIT, ControlPlane, NodeConfig, paths};
use sha2::{Digest as _, Sha256};

use super::Context;
use super::error::BootstrapError;
use super::report::{Event, Report};
use crate::agent::members::{self, Here};
use crate::control_plane::{self, ControlPlaneError};
use crate::device;
use crate::imds::Identity;
use crate::pki;
use crate::store::Store;
use crate::system::{FOLDER, SystemError};
use crate::volume::{Attached, Wanted};
use crate::worker;

impl Context {
    /// etcd's volume is this machine's, and mounted.
    pub async fn volume(
        &self,
        config: &NodeConfig,
        identity: &Identity,
        report: &Report<'_>,
    ) -> Result<Attached, BootstrapError> {
        let (told, waiting) = (told(config)?, self.settings.waiting);
        let ec2 = self.ec2(identity)?;
        let wanted = Wanted {
            cluster: &config.cluster,
            tag: &told.etcd.volume_tag(),
            instance: &identity.instance_id,
            zone: &identity.availability_zone,
        };
        Ok(device::take(&self.settings.system, &ec2, wanted, waiting, report).await?)
    }

    /// The cluster's keys are where kubeadm finds them.
    pub async fn keys(&self, store: &Store) -> Result<(), BootstrapError> {
        let files = pki::files(store).await?;
        Ok(self.settings.system.write_all(&files)?)
    }

    /// The cluster is begun, come back to, or joined.
    pub async fn control_plane(
        &self,
        store: &Store,
        config: &NodeConfig,
        identity: &Identity,
        volume: &Attached,
        report: &Report<'_>,
    ) -> Result<(), BootstrapError> {
        if let Err(error) = self.names(store, config, identity).await {
            // The node agent keeps them later on, and this machine knows its own address without them.
            report
                .tell(&Event::Warning(&format!("the API's names are not published yet: {}", chain(&error))));
        }
        let ec2 = self.ec2(identity)?;
        let work = control_plane::Work {
            system: &self.settings.system,
            store,
            ec2: &ec2,
            config,
            told: told(config)?,
            identity,
            volume,
            report,
            waiting: self.settings.waiting,
            patience: self.settings.patience,
            etcdutl: self.settings.etcdutl.as_deref(),
        };
        Ok(control_plane::run(&work).await?)
    }

    /// The API's names lead here, if no other machine has the API: workers that start meanwhile find it then.
    async fn names(
        &self,
        store: &Store,
        config: &NodeConfig,
        identity: &Identity,
    ) -> Result<(), BootstrapError> {
        let here = Here::of(identity, &self.imds).await?;
        let route53 = self.route53(identity)?;
        Ok(members::publish_first(store, &route53, told(config)?, &here).await?)
    }

    /// The machine is a worker of the cluster.
    pub async fn join(
        &self,
        config: &NodeConfig,
        identity: &Identity,
        report: &Report<'_>,
    ) -> Result<(), BootstrapError> {
        let store = self.store(identity);
        let join = worker::Join {
            system: &self.settings.system,
            store: &store,
            config,
            identity,
            signer: &self.signer,
            service: self.settings.join_service.as_deref(),
            report,
            waiting: self.settings.waiting,
        };
        Ok(worker::run(&join).await?)
    }

    /// The node agent runs: this very program, as a daemon.
    pub async fn agent(&self) -> Result<(), BootstrapError> {
        let system = &self.settings.system;
        let own = &self.settings.program;
        let read = |source| SystemError::File { what: "read", path: own.clone(), source };
        let program = fs::read(own).map_err(read)?;
        system.install(&format!("{}/kcl-node", paths::BIN), 0o755, &program)?;
        let unit = NodeConfig::agent_unit(&self.settings.agent_arguments);
        system.write(&unit)?;
        let systemctl = &system.commands.systemctl;
        system.run(systemctl, &["daemon-reload"]).await?;
        system.run(systemctl, &["enable", AGENT_UNIT]).await?;
        // One that runs another program or with other words is started anew.
        let mut hash = Sha256::new_with_prefix(&program);
        hash.update(unit.content.as_bytes());
        let started = kcl_node_config::File {
            path: format!("{FOLDER}/agent-started-with"),
            mode: 0o644,
            content: hex::encode(hash.finalize()),
        };
        let verb = if system.has(&started) { "start" } else { "restart" };
        system.run(systemctl, &[verb, AGENT_UNIT]).await?;
        system.write(&started)?;
        Ok(())
    }
}

/// What the control plane is told, which the checked document of its machine has.
fn told(config: &NodeConfig) -> Result<&ControlPlane, ControlPlaneError> {
    config.control_plane.as_ref().ok_or(ControlPlaneError::NotTold)
}
