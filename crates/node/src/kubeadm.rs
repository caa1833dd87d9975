//! kubeadm, as it is run: what it is given beside its configuration, and what of its words may be repeated.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kcl_node_config::{File, NodeConfig, paths};

use crate::manifests;
use crate::system::{FOLDER, System, SystemError};

/// kubeadm fetches the control plane's images, waits four minutes for the control plane, and as long for the kubelet;
/// the smallest machines need most of that.
const TIMEOUT: Duration = Duration::from_mins(20);

/// The kubelet's configuration, which kubeadm lets everybody read.
const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";

/// The ports of scheduler, controller manager and etcd.
const PORTS: [u16; 4] = [10259, 10257, 2379, 2380];

/// The kubelet's.
const KUBELET_PORT: u16 = 10250;

/// That kubeadm was begun on this machine.
fn begun() -> File {
    let path = format!("{FOLDER}/kubeadm-begun");
    File { path, mode: 0o644, content: "what kubeadm finds on this machine may be its own\n".to_owned() }
}

/// What of a machine kubeadm would find wrong that is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// kubeadm was run before.
    pub again: bool,
    /// There is data of etcd.
    pub data: bool,
}

/// How kubeadm is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Init,
    JoinControlPlane,
    Join,
}

impl Verb {
    /// What it is not to stop at: no more than what it itself leaves behind, or what the volume has.
    fn ignored(self, config: &NodeConfig, found: Found) -> Vec<String> {
        let file = |path: &str| format!("FileAvailable-{}", path.replace('/', "-"));
        let mut names = Vec::new();
        if self != Self::Join && (found.data || found.again) {
            names.push(format!("DirAvailable-{}", paths::ETCD_DATA.replace('/', "-")));
        }
        if !found.again {
            return names;
        }
        if self != Self::Init {
            names.extend([paths::KUBELET, paths::BOOTSTRAP_KUBELET].map(file));
        }
        if self == Self::Join {
            names.extend([file(&format!("{}/ca.crt", paths::PKI)), port(KUBELET_PORT)]);
        } else {
            names.extend(manifests::ALL.map(|name| file(&format!("{}/{name}", paths::MANIFESTS))));
            names.extend(
                PORTS.iter().chain([&KUBELET_PORT, &config.api.bind_port]).map(|number| port(*number)),
            );
        }
        names.sort();
        names
    }
}

fn port(number: u16) -> String {
    format!("Port-{number}")
}

/// kubeadm on a machine.
#[derive(Clone, Debug)]
pub struct Kubeadm<'a> {
    system: System,
    config: &'a NodeConfig,
}

impl<'a> Kubeadm<'a> {
    /// kubeadm, for a machine that is told this.
    pub fn new(system: &System, config: &'a NodeConfig) -> Self {
        Self { system: System { timeout: TIMEOUT, ..system.clone() }, config }
    }

    /// `kubeadm init`.
    pub async fn init(&self, data: bool) -> Result<(), SystemError> {
        let ignored = Verb::Init.ignored(self.config, self.found(data)?);
        self.run(&["init"], paths::KUBEADM, &ignored).await?;
        self.tighten()
    }

    /// One of the phases of `kubeadm init`: `certs apiserver-etcd-client`.
    pub async fn phase(&self, phase: &[&str]) -> Result<(), SystemError> {
        self.run(&[&["init", "phase"], phase].concat(), paths::KUBEADM, &[]).await?;
        self.tighten()
    }

    /// `kubeadm join --control-plane`: its configuration says so.
    pub async fn join_control_plane(&self) -> Result<(), SystemError> {
        let ignored = Verb::JoinControlPlane.ignored(self.config, self.found(false)?);
        self.run(&["join"], paths::KUBEADM_JOIN, &ignored).await?;
        self.tighten()
    }

    /// `kubeadm join`.
    pub async fn join(&self) -> Result<(), SystemError> {
        let ignored = Verb::Join.ignored(self.config, self.found(false)?);
        self.run(&["join"], paths::KUBEADM, &ignored).await?;
        self.tighten()
    }

    /// `kubeadm certs renew all`: its certificates, and those in its kubeconfigs. What runs has the old ones until it
    /// starts anew.
    pub async fn renew(&self) -> Result<(), SystemError> {
        self.run(&["certs", "renew", "all"], paths::KUBEADM, &[]).await?;
        self.tighten()
    }

    /// What it will find; from now on it was run here.
    fn found(&self, data: bool) -> Result<Found, SystemError> {
        let again = !self.system.write(&begun())?;
        Ok(Found { again, data })
    }

    async fn run(&self, verb: &[&str], config: &str, ignored: &[String]) -> Result<(), SystemError> {
        let path = self.system.path(config);
        let mut arguments = verb.to_vec();
        let path = path.to_string_lossy();
        arguments.extend(["--config", &path]);
        let ignored = ignored.join(",");
        if !ignored.is_empty() {
            arguments.extend(["--ignore-preflight-errors", &ignored]);
        }
        match self.system.run(&self.system.commands.kubeadm, &arguments).await {
            Err(SystemError::Failed { command, status, said }) => {
                Err(SystemError::Failed { command, status, said: without_tokens(&said) })
            }
            done => done.map(drop),
        }
    }

    /// Lets root alone read what kubeadm lets everybody read (CIS Kubernetes Benchmark, 1.1.20 and 4.1.9).
    fn tighten(&self) -> Result<(), SystemError> {
        let mut files = vec![self.system.path(KUBELET_CONFIG)];
        for folder in [paths::PKI.to_owned(), format!("{}/etcd", paths::PKI)] {
            files.extend(certificates(&self.system.path(&folder))?);
        }
        for path in files {
            match fs::set_permissions(&path, fs::Permissions::from_mode(0o600)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(SystemError::File { what: "change the permissions of", path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The certificates in a folder.
fn certificates(folder: &Path) -> Result<Vec<PathBuf>, SystemError> {
    let failed = |source| SystemError::File { what: "read", path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "crt" || extension == "pub") {
            found.push(path);
        }
    }
    Ok(found)
}

/// kubeadm's words without the bootstrap tokens that it likes to print.
fn without_tokens(said: &str) -> String {
    let part = |text: &str, length: usize| {
        text.len() == length && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let is_token =
        |word: &str| word.split_once('.').is_some_and(|(id, secret)| part(id, 6) && part(secret, 16));
    let ends_word = |c: char| !(c.is_ascii_alphanumeric() || c == '.');
    let words = said.split_inclusive(ends_word).map(|word| {
        let bare = word.trim_end_matches(ends_word);
        if is_token(bare.trim_end_matches('.')) {
            format!("(token){}", &word[bare.len()..])
        } else {
            word.to_owned()
        }
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_repeated() {
        let said = "[bootstrap-token] Using token: abcdef.0123456789abcdef\nfailed (\"abcdef.0123456789abcdef.\")\n\
                    join api.example.com:443 v1.36.3";
        let wanted =
            "[bootstrap-token] Using token: (token)\nfailed (\"(token)\")\njoin api.example.com:443 v1.36.3";
        assert_eq!(without_tokens(said), wanted);
    }
}
