//! The steps that make a machine ready for kubeadm.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use kcl_node_config::{File, MODULES, Machine, NodeConfig, Role};
use sha2::{Digest as _, Sha256};

use super::Context;
use super::error::BootstrapError;
use super::url::ConfigUrl;
use crate::download::{Downloads, Outcome};
use crate::imds::Identity;
use crate::store::{Location, Store};
use crate::system::{FOLDER, System};

/// How long a package manager may take: it first reads what there is.
const PACKAGES: Duration = Duration::from_mins(5);

/// How long a server of programs may be silent.
const SILENCE: Duration = Duration::from_secs(30);

impl Context {
    /// What the machine is told, if it is what it was started with.
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

    /// Likewise, from this machine once it was read there: a daemon that starts again needs no store for it.
    pub async fn configuration_kept(&self, store: &Store) -> Result<NodeConfig, BootstrapError> {
        let system = &self.settings.system;
        let path = format!("{FOLDER}/node-config-{}.yaml", self.settings.sha256);
        if let Ok(kept) = fs::read(system.path(&path))
            && hex::encode(Sha256::digest(&kept)) == self.settings.sha256
        {
            return Ok(NodeConfig::parse(&String::from_utf8_lossy(&kept))?);
        }
        let config = self.configuration(store).await?;
        // What is written otherwise than it was read is not found by its hash, and read from the store again.
        system.write(&File { path, mode: 0o600, content: config.to_yaml()? })?;
        Ok(config)
    }

    /// Kernel modules and parameters, now and at each start; and no swap, of which EC2's images have none
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

    /// The programs.
    pub async fn programs(&self, config: &NodeConfig) -> Result<BTreeMap<String, Outcome>, BootstrapError> {
        let downloads =
            Downloads { http: self.http.clone(), patience: self.settings.patience, silence: SILENCE };
        let assets: Vec<_> =
            config.assets.iter().map(|asset| (asset.clone(), config.asset_url(asset))).collect();
        Ok(downloads.install(&self.settings.system, &assets).await?)
    }

    /// containerd runs, and the kubelet will once kubeadm has told it what to do.
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

    /// What kubeadm reads. Neither the cluster's keys nor a token are among it.
    pub fn kubeadm(&self, config: &NodeConfig, identity: &Identity) -> Result<Vec<File>, BootstrapError> {
        let machine = Machine {
            instance_id: identity.instance_id.clone(),
            zone: identity.availability_zone.clone(),
            private_ip: identity.private_ip,
            resolv_conf: resolv_conf(&self.settings.system).to_owned(),
        };
        let mut files = config.component_files(&machine)?;
        if config.role == Role::ControlPlane {
            files.push(config.kubeadm_init(&machine)?);
        }
        files.push(config.kubeadm_join(&machine)?);
        self.settings.system.write_all(&files)?;
        Ok(files)
    }
}

/// The name servers that pods ask. Where systemd-resolved runs, the usual file names only its own address on loopback,
/// where a pod finds nobody, and this one the servers behind it; it is in memory, so it is there only if that runs.
fn resolv_conf(system: &System) -> &'static str {
    const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
    if system.path(RESOLVED).exists() { RESOLVED } else { "/etc/resolv.conf" }
}

/// Gets the machine such a program from its distribution where it has none, as Amazon Linux 2023 has none; says whether
/// there is one then.
pub(super) async fn packet_filter(system: &System) -> bool {
    if has_packet_filter(system) {
        return true;
    }
    // The first package manager that is there is the distribution's own.
    let managers: [(&str, &[&[&str]]); 2] = [
        ("/usr/bin/dnf", &[&["install", "--assumeyes", "--quiet", "iptables-nft"]]),
        ("/usr/bin/apt-get", &[&["--quiet", "update"], &["--quiet", "--assume-yes", "install", "iptables"]]),
    ];
    let manager =
        managers.iter().map(|(path, runs)| (system.path(path), runs)).find(|(path, _)| path.exists());
    let Some((manager, runs)) = manager else { return false };
    let patient = System { timeout: PACKAGES, ..system.clone() };
    for arguments in *runs {
        if patient.run(&manager, arguments).await.is_err() {
            return false;
        }
    }
    has_packet_filter(system)
}

/// Whether the machine has a program by which CNI's portmap plugin can lead a port of the machine to a pod.
pub(super) fn has_packet_filter(system: &System) -> bool {
    const FOLDERS: [&str; 6] =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let there =
        |program: &&str| FOLDERS.iter().any(|folder| system.path(&format!("{folder}/{program}")).exists());
    ["iptables", "nft"].iter().any(there)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine in a folder, and how to put an empty file on it.
    fn machine() -> (tempfile::TempDir, System, impl Fn(&str)) {
        let home = tempfile::tempdir().unwrap();
        let system = System::new(home.path());
        let of = system.clone();
        let put = move |path: &str| {
            let path = of.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        (home, system, put)
    }

    #[test]
    fn pods_ask_the_servers_behind_systemd_resolved_where_it_runs() {
        let (_home, system, put) = machine();
        put("/etc/resolv.conf");
        assert_eq!(resolv_conf(&system), "/etc/resolv.conf");
        put("/run/systemd/resolve/resolv.conf");
        assert_eq!(resolv_conf(&system), "/run/systemd/resolve/resolv.conf");
    }

    #[tokio::test]
    async fn what_is_missing_comes_from_the_distribution() {
        use std::os::unix::fs::PermissionsExt as _;
        let (home, system, put) = machine();
        assert!(!packet_filter(&system).await, "there is no package manager");
        put("/usr/sbin/modprobe");
        put("/usr/bin/dnf");
        let dnf = home.path().join("usr/bin/dnf");
        let installs = format!(
            "#!/bin/sh\n[ \"$4\" = iptables-nft ] && touch {}/usr/sbin/iptables\n",
            home.path().display()
        );
        std::fs::write(&dnf, installs).unwrap();
        std::fs::set_permissions(&dnf, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(packet_filter(&system).await);
        assert!(has_packet_filter(&system));
    }

    #[test]
    fn either_program_will_do() {
        for program in ["/usr/sbin/iptables", "/usr/bin/nft", "/sbin/iptables"] {
            let (_home, system, put) = machine();
            put("/usr/sbin/modprobe");
            assert!(!has_packet_filter(&system));
            put(program);
            assert!(has_packet_filter(&system), "{program}");
        }
    }
}
