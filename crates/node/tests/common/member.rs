//! A machine that is a member of a cluster, and the daemon on it: the real API server with the kubelet's own rights,
//! the metadata service, a local AWS, the state store in a folder.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use kcl_node::agent::kubelet::Kubelet;
use kcl_node::store::Store;
use kcl_node::system::System;
use kcl_node_config::{Api, Dns, DnsAddress, DnsName, NodeConfig, Role, Status};
use kcl_testkit::imds::{Imds, Instance};
use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig, Machine, Machines, free_port, pki};
use kcl_testkit::{LocalAws, Run};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::etcd::{Node, folder_store};
use super::wait::found;
use super::{Folder, sha256, told};

pub(crate) const CLUSTER: &str = "k8s.example.com";

/// An API server whose nodes are stand-ins, and its keys.
pub(crate) struct World {
    pub(crate) server: ApiServer,
    machines: Machines,
    pub(crate) admin: PathBuf,
    pub(crate) keys: pki::Pki,
    home: tempfile::TempDir,
}

impl World {
    /// With nodes of these names.
    pub(crate) fn start(nodes: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let keys = pki::fresh(&home.path().join("pki")).unwrap();
        let server = ApiServer::start(ApiServerConfig::new(keys.folder(), "https://issuer.example")).unwrap();
        let admin = server.admin(&keys).unwrap();
        let nodes: Vec<Machine> = nodes.iter().map(|name| Machine::new(name)).collect();
        let machines = Machines::start(&server, &admin, &nodes).unwrap();
        let world = Self { server, machines, admin, keys, home };
        // What a controller manager would make.
        world.kubectl(&["create", "serviceaccount", "default"]);
        world
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.server.kubectl(&self.admin, args).unwrap().expect(0).stdout
    }

    fn create(&self, object: &Value) {
        let run = self.server.kubectl_reads(&self.admin, &["create", "-f", "-"], &object.to_string());
        run.unwrap().expect(0);
    }

    /// Kills the API server.
    pub(crate) fn kill_api_server(&mut self) {
        self.server.kill_api_server();
    }

    /// A pod on a node.
    pub(crate) fn pod(&self, name: &str, node: &str, more: &Value) {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "registry.example/app:1"}]},
        });
        for (part, fields) in more.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                pod[part][field] = value.clone();
            }
        }
        self.create(&pod);
        let phase = ["get", "pod", name, "-o=jsonpath={.status.phase}"];
        self.server.until(&self.admin, &phase, |run: &Run| run.stdout == "Running").unwrap();
    }

    /// Pods that draining leaves alone, and two that it does not: `web`, and `held`, which a disruption budget keeps.
    pub(crate) fn pods(&self, node: &str) {
        let uid = self.kubectl(&["get", "node", node, "-o=jsonpath={.metadata.uid}"]);
        let owner = |kind: &str, group: &str| json!([{"apiVersion": group, "kind": kind, "name": node, "uid": uid, "controller": true}]);
        self.pod("web", node, &json!({}));
        self.pod("held", node, &json!({"spec": {"terminationGracePeriodSeconds": 600}}));
        self.pod(
            "everywhere",
            node,
            &json!({"metadata": {"ownerReferences": owner("DaemonSet", "apps/v1")}}),
        );
        let mirror = json!({
            "annotations": {"kubernetes.io/config.mirror": "0123"},
            "ownerReferences": owner("Node", "v1"),
        });
        self.pod("static", node, &json!({"metadata": mirror, "spec": {"hostNetwork": true}}));
        self.pod("over", node, &json!({}));
        let over = json!({"status": {"phase": "Succeeded"}}).to_string();
        self.kubectl(&["patch", "pod", "over", "--subresource=status", "-p", &over]);
        // Nobody counts what it allows, so it allows nothing.
        self.create(&json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "held", "namespace": "default"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "held"}}},
        }));
    }

    /// The names of all pods.
    pub(crate) fn pod_names(&self) -> Vec<String> {
        let names = self.kubectl(&["get", "pods", "-o=jsonpath={.items[*].metadata.name}"]);
        names.split_whitespace().map(str::to_owned).collect()
    }

    pub(crate) fn is_cordoned(&self, node: &str) -> bool {
        self.kubectl(&["get", "node", node, "-o=jsonpath={.spec.unschedulable}"]) == "true"
    }

    /// Gives a machine its kubelet's credentials, as kubeadm leaves them behind.
    pub(crate) fn join(&self, system: &System, node: &str) {
        let client = self.keys.client(&format!("system:node:{node}"), Some("system:nodes")).unwrap();
        let read = |path: &std::path::Path| fs::read_to_string(path).unwrap();
        let pem = "/var/lib/kubelet/pki/kubelet-client-current.pem";
        write(system, pem, &format!("{}{}", read(&client.certificate), read(&client.key)));
        write(system, "/etc/kubernetes/pki/ca.crt", &read(&self.keys.folder().join("ca.crt")));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
            "clusters": [{"name": "default", "cluster": {
                "server": self.server.url(),
                "certificate-authority": "/etc/kubernetes/pki/ca.crt",
            }}],
            "users": [{"name": "default", "user": {"client-certificate": pem, "client-key": pem}}],
        });
        write(system, "/etc/kubernetes/kubelet.conf", &config.to_string());
    }

    pub(crate) fn kubelet(&self, system: &System, node: &str) -> Kubelet {
        self.join(system, node);
        Kubelet::new(system.clone(), node)
    }
}

pub(crate) fn write(system: &System, path: &str, text: &str) {
    let path = system.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// This many seconds from now, as AWS spells it.
pub(crate) fn in_seconds(seconds: i64) -> String {
    let at = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

/// A machine with all that its daemon asks.
pub(crate) struct Member {
    pub(crate) instance: String,
    pub(crate) folder: Folder,
    pub(crate) imds: Imds,
    pub(crate) config: NodeConfig,
    pub(crate) port: u16,
    pub(crate) more: Vec<String>,
}

impl Member {
    /// A worker, or a machine of the control plane.
    pub(crate) fn new(world: &World, instance: &str, role: Role) -> Self {
        let folder = Folder::new();
        let mut about = Instance::new(instance, "role.k8s.example.com");
        about.private_ip = Ipv4Addr::LOCALHOST;
        about.public_ip = Some(Ipv4Addr::new(198, 51, 100, 7));
        let imds = Imds::start(about).unwrap();
        let location = format!("file://{}/{CLUSTER}", folder.home.path().join("store").display());
        let ca = fs::read_to_string(world.keys.folder().join("ca.crt")).unwrap();
        let config = config(role, &location, &ca, world.server.port());
        let port = free_port().unwrap();
        let member = Self { instance: instance.to_owned(), folder, imds, config, port, more: Vec::new() };
        member.publish();
        world.join(&member.system(), instance);
        member
    }

    /// Puts the node configuration into the store.
    pub(crate) fn publish(&self) {
        let path = self.store_folder().join(self.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.config.to_yaml().unwrap()).unwrap();
    }

    fn path(&self) -> String {
        NodeConfig::path(&self.config.instance_group, &self.sha256())
    }

    fn sha256(&self) -> String {
        sha256(self.config.to_yaml().unwrap().as_bytes())
    }

    pub(crate) fn store_folder(&self) -> PathBuf {
        self.folder.home.path().join("store").join(CLUSTER)
    }

    pub(crate) fn store(&self) -> Store {
        folder_store(&self.store_folder())
    }

    pub(crate) fn system(&self) -> System {
        self.folder.system()
    }

    /// The daemon, with a log of its own.
    pub(crate) fn start(&self) -> Daemon {
        let program = |name: &str| format!("{}", self.folder.program(name).display());
        let url = format!("{}/{}", self.config.store.location, self.path());
        let log = self.folder.home.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kcl-node"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .args(["agent", "--config", &url, "--sha256", &self.sha256(), "--imds", &self.imds.endpoint()])
            .args(["--root", &self.folder.root().display().to_string(), "--attempts", "2"])
            .args(["--systemctl", &program("systemctl"), "--sync", &program("sync")])
            .args(["--umount", &program("umount"), "--mounts", &program("mounts")])
            .args(["--watch-every", "0.1", "--again-after", "0.2", "--reload-every", "0.2"])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(&self.more)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Daemon { child, log }
    }

    /// What the machine says of itself, if it has said anything.
    pub(crate) fn status(&self) -> Option<Status> {
        let text = fs::read(self.store_folder().join(Status::path(&self.instance))).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Waits until it says so.
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Status) -> bool) -> Status {
        let late = || {
            let log = fs::read_to_string(self.folder.home.path().join("log")).unwrap_or_default();
            format!("{what}; {:?}\n{log}", self.status())
        };
        found(|| self.status().filter(&is), late)
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said so.
    pub(crate) fn says(&self, text: &str) {
        self.until(&format!("it says {text:?}"), || self.log().contains(text));
    }

    /// Waits until this is so; what it said so far is shown where it is not.
    pub(crate) fn until(&self, what: &str, mut is: impl FnMut() -> bool) {
        found(|| is().then_some(()), || format!("{what}\n{}", self.log()));
    }

    /// As systemd stops it; gives whether it ended well.
    pub(crate) fn terminate(&mut self) -> bool {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().success()
    }

    /// Waits until it ends by itself; gives whether it ended well.
    pub(crate) fn ends_well(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// KiB that it has in memory.
    pub(crate) fn resident(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What its machine is told: of an API server and a machine that are on this very one.
fn config(role: Role, location: &str, authorities: &str, port: u16) -> NodeConfig {
    let mut config = told::config(role, location, authorities);
    CLUSTER.clone_into(&mut config.cluster);
    config.api = Api {
        endpoint: "127.0.0.1".to_owned(),
        port,
        bind_port: port,
        cert_sans: Vec::new(),
        ca_bundle: authorities.to_owned(),
    };
    if let Some(told) = &mut config.control_plane {
        let name = |name: &str, address| DnsName { name: format!("{name}.{CLUSTER}"), address };
        let names = vec![name("api", DnsAddress::Public), name("api.internal", DnsAddress::Private)];
        told.node_roles = vec![format!("nodes.{CLUSTER}")];
        told.dns = vec![Dns { zone: "Z123".to_owned(), names }];
    }
    config
}

/// What a control-plane machine has beside: the API server's keys, etcd with an address of its own and a volume that
/// is mounted, an instance and that volume in the local AWS, a zone.
pub(crate) struct ControlPlaneMachine {
    // Dropped first: its etcd uses the folder.
    pub(crate) etcd: Node,
    pub(crate) member: Member,
    pub(crate) aws: LocalAws,
    pub(crate) volume: String,
}

impl ControlPlaneMachine {
    pub(crate) fn new(world: &World, aws: LocalAws, zone: &str, instance: &str, volume: &str) -> Self {
        let mut member = Member::new(world, instance, Role::ControlPlane);
        let told = member.config.control_plane.as_mut().unwrap();
        zone.clone_into(&mut told.dns[0].zone);
        aws.account().clone_into(&mut member.config.account);
        member.publish();
        for name in ["ca.key", "apiserver.crt", "apiserver.key"] {
            let text = fs::read_to_string(world.keys.folder().join(name)).unwrap();
            write(&member.system(), &format!("/etc/kubernetes/pki/{name}"), &text);
        }
        let etcd = Node::on(&member.system(), &world.keys, "a", instance);
        let mounts = member.folder.program("mounts");
        let line = format!("/dev/nvme1n1 {} ext4 rw 0 0\n", etcd.volume().display());
        fs::write(&mounts, &line).unwrap();
        member.folder.add_program("umount", &format!(": > {}", mounts.display()));
        // The volume as the kernel has it once it is attached again.
        let (dev, sys) = (member.folder.program("dev"), member.folder.program("sys"));
        fs::create_dir_all(sys.join("block/nvme1n1/device")).unwrap();
        fs::create_dir_all(&dev).unwrap();
        fs::write(sys.join("block/nvme1n1/device/serial"), volume.replace('-', "")).unwrap();
        fs::write(dev.join("nvme1n1"), "").unwrap();
        let line = line.trim_end();
        member.folder.add_program("mount", &format!("echo '{line}' > {}", mounts.display()));
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        member.folder.add_program("blkid", &format!("echo TYPE=ext4; echo UUID={uuid}"));
        member.folder.add_program("fsck", "");
        let endpoint = aws.endpoint();
        member.more = [
            ["--etcd", &etcd.client_url()],
            ["--ec2-endpoint", &endpoint],
            ["--sts-endpoint", &endpoint],
            ["--route53-endpoint", &endpoint],
            ["--dev", &dev.display().to_string()],
            ["--sys", &sys.display().to_string()],
            ["--mount", &member.folder.program("mount").display().to_string()],
            ["--blkid", &member.folder.program("blkid").display().to_string()],
            ["--fsck", &member.folder.program("fsck").display().to_string()],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        Self { etcd, member, aws, volume: volume.to_owned() }
    }

    /// `in-use` or `available`.
    pub(crate) fn volume_state(&self) -> String {
        let found = self.aws.direct("ec2", "DescribeVolumes", &[("VolumeId.1", &self.volume)]).unwrap();
        found.value("volumeSet/item/status").to_owned()
    }
}

/// An instance of the local AWS with its etcd volume, attached, and the zone of the API's names: their ids.
pub(crate) fn in_the_cloud(aws: &LocalAws) -> (String, String, String) {
    let images = aws.direct("ec2", "DescribeImages", &[]).unwrap();
    let image = images.value("imagesSet/item/imageId");
    let run = [("ImageId", image), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t3.small")];
    let made = aws.direct("ec2", "RunInstances", &run).unwrap();
    let instance = made.value("instancesSet/item/instanceId").to_owned();
    let zone = made.value("instancesSet/item/placement/availabilityZone");
    let tag = "TagSpecification.1.Tag";
    let tags = [
        ("KubernetesCluster".to_owned(), CLUSTER.to_owned()),
        ("k8s.io/etcd/main".to_owned(), "a/a".to_owned()),
        (format!("kubernetes.io/cluster/{CLUSTER}"), "owned".to_owned()),
    ];
    let mut volume = [
        ("AvailabilityZone", zone),
        ("Size", "20"),
        ("VolumeType", "gp3"),
        ("TagSpecification.1.ResourceType", "volume"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (number, (key, value)) in (1..).zip(tags) {
        volume.extend([(format!("{tag}.{number}.Key"), key), (format!("{tag}.{number}.Value"), value)]);
    }
    let volume: Vec<(&str, &str)> =
        volume.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let made = aws.direct("ec2", "CreateVolume", &volume).unwrap();
    let volume = made.value("volumeId").to_owned();
    let attach = [("VolumeId", volume.as_str()), ("InstanceId", &instance), ("Device", "/dev/sdf")];
    aws.direct("ec2", "AttachVolume", &attach).unwrap();
    let zone = kcl_testkit::make_zone(aws, "example.com").unwrap();
    (instance, volume, zone)
}
