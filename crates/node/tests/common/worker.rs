//! A worker in a folder, and all that it asks: stand-ins, each named so, but for the metadata service.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kcl_node::bootstrap::{self, Member, Settings, Stopped};
use kcl_node::volume::Waiting;
use kcl_node_config::assets::{Architecture, for_version};
use kcl_node_config::{NodeConfig, Role, Status};
use kcl_testkit::imds::{Imds, Instance};

use super::join::JoinService;
use super::told::{self, Keys};
use super::{Folder, Reply, Web, archive, patience, sha256};

pub(crate) const INSTANCE: &str = "i-0123456789abcdef0";

/// A worker, and all that it asks: metadata, store, programs, the join service.
pub(crate) struct Machine {
    pub(crate) folder: Folder,
    pub(crate) imds: Imds,
    pub(crate) web: Web,
    pub(crate) join: JoinService,
    pub(crate) config: NodeConfig,
}

/// What kubeadm would leave behind.
const JOINS: &str = "root=$here/root\n\
    for file in etc/kubernetes/kubelet.conf etc/kubernetes/pki/ca.crt var/lib/kubelet/config.yaml \\\n\
        var/lib/kubelet/pki/kubelet-client-current.pem; do\n\
    mkdir -p $(dirname $root/$file); echo \"kubeadm's $file\" > $root/$file; chmod 644 $root/$file; done\n\
    cp $root/etc/kubernetes/discovery.conf $here/discovery.conf";

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let imds = Imds::start(Instance::new(INSTANCE, "role.karlaru.com")).unwrap();
        let web = Web::start();
        let keys = Keys::fresh();
        let store = format!("file://{}/karlaru.com", folder.home.path().join("store").display());
        let mut config = told::config(Role::Node, &store, &keys.authorities());
        config.assets = for_version("1.36.3", Architecture::Amd64, &BTreeMap::new()).unwrap();
        serve_programs(&mut config, &web);
        folder.add_program("kubeadm", JOINS);
        fs::write(folder.program("kcl-node"), "the program itself").unwrap();
        let machine = Self { folder, imds, web, join: JoinService::start(&keys), config };
        machine.publish();
        machine
    }

    /// The file of the node configuration in the store.
    pub(crate) fn object(&self, path: &str) -> std::path::PathBuf {
        self.folder.home.path().join("store/karlaru.com").join(path)
    }

    /// The hash of the node configuration.
    pub(crate) fn sha256(&self) -> String {
        sha256(self.config.to_yaml().unwrap().as_bytes())
    }

    /// Where the node configuration is in the store.
    pub(crate) fn path(&self) -> String {
        NodeConfig::path(&self.config.instance_group, &self.sha256())
    }

    pub(crate) fn publish(&self) {
        let path = self.object(&self.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.config.to_yaml().unwrap()).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.config.store.location, self.path())
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            config: bootstrap::ConfigUrl::parse(&self.url()).unwrap(),
            sha256: self.sha256(),
            imds: self.imds.endpoint(),
            s3_endpoint: None,
            ec2_endpoint: None,
            route53_endpoint: None,
            join_service: Some(self.join.url()),
            system: self.folder.system(),
            patience: patience(),
            imds_timeout: Some(Duration::from_secs(5)),
            waiting: Waiting { longest: Duration::from_secs(5), pause: Duration::from_millis(10) },
            program: self.folder.program("kcl-node"),
            agent_arguments: vec!["--config".to_owned(), self.url(), "--sha256".to_owned(), self.sha256()],
            etcdutl: None,
        }
    }

    pub(crate) async fn run(&self) -> Result<Member, Stopped> {
        bootstrap::run(self.settings(), &|_| {}).await
    }

    pub(crate) fn status(&self) -> Status {
        serde_json::from_slice(&fs::read(self.object(&Status::path(INSTANCE))).unwrap()).unwrap()
    }

    /// Everything on the machine, without what is other in every run.
    pub(crate) fn tree(&self) -> String {
        let mut text = self.folder.tree_with(|name, content| match name {
            "/usr/local/bin/kcl-node" => "(the program)".to_owned(),
            "/var/lib/kcl-node/join-claim" => "(a secret)".to_owned(),
            "/var/lib/kcl-node/agent-started-with" => "(a hash)".to_owned(),
            "/etc/systemd/system/kcl-node-agent.service" => {
                // The binary was told more than this test's settings say.
                let start = content.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
                let words = start.split_inclusive(' ').take(6).collect::<String>();
                content.replace(start, &format!("{}...", words.trim_end()))
            }
            _ => content,
        });
        for asset in &self.config.assets {
            text = text.replace(&asset.sha256, &format!("SHA256-OF-{}", asset.name));
        }
        self.redacted(&text)
    }

    /// A text without what is other in every run.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let home = self.folder.home.path().display().to_string();
        let text = text.replace(&self.folder.root().display().to_string(), "ROOT").replace(&home, "HOME");
        text.replace(&self.sha256(), "SHA256-OF-THE-CONFIGURATION").replace(&self.join.url(), "https://JOIN")
    }

    /// The binary itself.
    pub(crate) fn start(&self) -> Child {
        let program = |name: &str| self.folder.program(name);
        Command::new(env!("CARGO_BIN_EXE_kcl-node"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .args(["bootstrap", "--config", &self.url(), "--sha256", &self.settings().sha256])
            .args(["--imds", &self.imds.endpoint(), "--attempts", "2"])
            .arg("--root")
            .arg(self.folder.root())
            .arg("--modprobe")
            .arg(program("modprobe"))
            .arg("--sysctl")
            .arg(program("sysctl"))
            .arg("--swapoff")
            .arg(program("swapoff"))
            .arg("--systemctl")
            .arg(program("systemctl"))
            .arg("--kubeadm")
            .arg(program("kubeadm"))
            .args(["--join-service", &self.join.url(), "--wait", "5"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// Stand-ins of all programs, which the mirror has under the originals' paths.
fn serve_programs(config: &mut NodeConfig, web: &Web) {
    config.file_repository = Some(web.url("/files"));
    for asset in &mut config.assets {
        let members: Vec<(String, String)> = asset
            .files
            .iter()
            .filter_map(|file| file.member.clone())
            .map(|member| (format!("./{member}"), format!("the program {member}")))
            .collect();
        let bytes = if members.is_empty() {
            format!("the program {}", asset.name).into_bytes()
        } else {
            archive(&members.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>())
        };
        asset.sha256 = sha256(&bytes);
        let path = format!("/files/{}", asset.url.splitn(4, '/').nth(3).unwrap());
        web.set(&path, [Reply::Whole(bytes)]);
    }
}
