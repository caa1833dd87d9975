//! A control plane as the real kcl-node makes it: machines in folders, with an EC2 that has their volumes, a bucket,
//! the stand-in for kubeadm, and the real etcd.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kcl_node::backup::{self, Source};
use kcl_node::etcd::{Etcd, client_url};
use kcl_node::store::{Location, Store};
use kcl_node_config::{BackupReason, Mark, MarkState, MemberRecord, NodeConfig, Role, Status};
use kcl_testkit::LocalAws;
use kcl_testkit::imds::{Imds, Instance};
use kcl_testkit::kubernetes::{etcd_address, programs};
use time::OffsetDateTime;

use super::told::{CLUSTER, Keys, config};
use super::wait::until;
use super::{Folder, bucket, sha256};

/// The stand-in for kubeadm.
const KUBEADM: &str = include_str!("kubeadm_stand_in.py");

const ZONE: &str = "eu-north-1a";

/// A cluster: its cloud, its keys, its bucket.
pub(crate) struct World {
    pub(crate) aws: LocalAws,
    pub(crate) keys: Keys,
    home: tempfile::TempDir,
    members: Vec<String>,
    bucket: String,
}

/// A volume: its id, and the file that is its disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) id: String,
    pub(crate) file: PathBuf,
}

impl World {
    pub(crate) fn new(members: &[&str]) -> Self {
        let aws = LocalAws::shared().unwrap();
        let bucket = bucket::make(&aws, "control-plane");
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        let world = Self { aws, keys: Keys::fresh(), home: tempfile::tempdir().unwrap(), members, bucket };
        world.put_keys();
        world
    }

    /// Puts the cluster's keys into the store.
    pub(crate) fn put_keys(&self) {
        for (path, content) in self.keys.objects() {
            self.put(&path, &content);
        }
    }

    fn s3(&self, method: &str, path: &str, body: &str) -> kcl_testkit::Answer {
        let path = format!("/{}{path}", self.bucket);
        let answer = kcl_testkit::http(&self.aws.direct_endpoint(), method, &path, Some("s3"), &[], body);
        answer.unwrap()
    }

    /// Puts an object into the cluster's folder of the store.
    pub(crate) fn put(&self, path: &str, body: &str) {
        bucket::put(&self.aws, &self.bucket, &format!("{CLUSTER}/{path}"), body);
    }

    pub(crate) fn delete(&self, path: &str) {
        self.s3("DELETE", &format!("/{CLUSTER}/{path}"), "");
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let answer = self.s3("GET", &format!("/{CLUSTER}/{path}"), "");
        (answer.status == 200).then_some(answer.body)
    }

    pub(crate) fn mark(&self) -> Option<Mark> {
        self.get(Mark::PATH).map(|text| Mark::read(text.as_bytes()).unwrap())
    }

    pub(crate) fn is_initialized(&self) -> bool {
        self.mark().is_some_and(|mark| mark.state == MarkState::Initialized)
    }

    pub(crate) fn record(&self, member: &str) -> MemberRecord {
        MemberRecord::read(member, self.get(&MemberRecord::path(member)).unwrap().as_bytes()).unwrap()
    }

    pub(crate) fn status(&self, machine: &Machine) -> Status {
        self.try_status(machine).unwrap()
    }

    /// The status, if there is one yet.
    pub(crate) fn try_status(&self, machine: &Machine) -> Option<Status> {
        let text = self.get(&Status::path(&machine.instance))?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// The cluster's folder of the store.
    pub(crate) fn store(&self) -> Store {
        let location = Location::parse(&self.location()).unwrap();
        Store::new(location, super::etcd::access(Some(self.aws.direct_endpoint())))
    }

    /// Takes a backup of a machine's etcd, as the daemon does.
    pub(crate) async fn back_up(&self, machine: &Machine, member: &str) {
        let source = Source {
            store: self.store(),
            etcd: machine.etcd(),
            system: machine.folder.system(),
            member: member.to_owned(),
            instance: machine.instance.clone(),
            kubernetes_version: "1.36.3".to_owned(),
        };
        backup::take(&source, BackupReason::Periodic, OffsetDateTime::now_utc()).await.unwrap();
    }

    fn location(&self) -> String {
        format!("s3://{}/{CLUSTER}", self.bucket)
    }

    /// A blank volume of a member.
    pub(crate) fn volume(&self, member: &str) -> Disk {
        self.volume_in(member, ZONE)
    }

    pub(crate) fn volume_in(&self, member: &str, zone: &str) -> Disk {
        let owned = format!("kubernetes.io/cluster/{CLUSTER}");
        let tag = format!("{member}/{}", self.members.join(","));
        let mut parameters = vec![
            ("AvailabilityZone".to_owned(), zone.to_owned()),
            ("Size".to_owned(), "20".to_owned()),
            ("TagSpecification.1.ResourceType".to_owned(), "volume".to_owned()),
        ];
        let tags = [("KubernetesCluster", CLUSTER), (&owned, "owned"), ("k8s.io/etcd/main", &tag)];
        for (number, (key, value)) in (1..).zip(tags) {
            parameters.push((format!("TagSpecification.1.Tag.{number}.Key"), key.to_owned()));
            parameters.push((format!("TagSpecification.1.Tag.{number}.Value"), value.to_owned()));
        }
        let parameters: Vec<(&str, &str)> =
            parameters.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let made = self.aws.direct("ec2", "CreateVolume", &parameters).unwrap();
        let id = made.value("volumeId").to_owned();
        let file = self.home.path().join(&id);
        // Blank, and only as large on this disk as what is written to it.
        fs::File::create(&file).unwrap().set_len(200 << 20).unwrap();
        Disk { id, file }
    }

    pub(crate) fn attach(&self, disk: &Disk, instance: &str) {
        let parameters = [("VolumeId", disk.id.as_str()), ("InstanceId", instance), ("Device", "/dev/sdf")];
        self.aws.direct("ec2", "AttachVolume", &parameters).unwrap();
    }

    pub(crate) fn detach(&self, disk: &Disk, instance: &str) {
        let parameters = [("VolumeId", disk.id.as_str()), ("InstanceId", instance), ("Device", "/dev/sdf")];
        self.aws.direct("ec2", "DetachVolume", &parameters).unwrap();
    }

    pub(crate) fn delete_volume(&self, disk: &Disk) {
        self.aws.direct("ec2", "DeleteVolume", &[("VolumeId", &disk.id)]).unwrap();
    }

    /// An instance that runs; nothing else of it is here.
    pub(crate) fn instance(&self) -> String {
        let parameters = [
            ("ImageId", "ami-0a1b2c3d4e5f60001"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("Placement.AvailabilityZone", ZONE),
        ];
        let made = self.aws.direct("ec2", "RunInstances", &parameters).unwrap();
        made.value("instancesSet/item/instanceId").to_owned()
    }

    /// A new machine of a member's group, to which this disk would appear.
    pub(crate) fn machine(&self, member: &str, disk: &Disk) -> Machine {
        let folder = Folder::new();
        let (instance, address) = (self.instance(), etcd_address().unwrap());
        let own = Instance {
            private_ip: address,
            zone: ZONE.to_owned(),
            account: self.aws.account().to_owned(),
            ..Instance::new(&instance, "masters.karlaru.com")
        };
        let imds = Imds::start(own).unwrap();
        let mut config = config(Role::ControlPlane, &self.location(), &self.keys.authorities());
        config.instance_group = format!("control-plane-{member}");
        let told = &mut config.control_plane.as_mut().unwrap().etcd;
        member.clone_into(&mut told.member);
        told.members.clone_from(&self.members);
        let machine = Machine { folder, imds, instance, address, config, aws: self.aws.endpoint() };
        self.put(&machine.path(), &machine.config.to_yaml().unwrap());
        machine.plug(disk);
        machine.equip();
        machine
    }
}

/// A machine of the control plane.
pub(crate) struct Machine {
    pub(crate) folder: Folder,
    pub(crate) imds: Imds,
    pub(crate) instance: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) config: NodeConfig,
    aws: String,
}

impl Machine {
    fn home(&self) -> &Path {
        self.folder.home.path()
    }

    fn sha256(&self) -> String {
        sha256(self.config.to_yaml().unwrap().as_bytes())
    }

    /// Where its configuration is in the store.
    pub(crate) fn path(&self) -> String {
        NodeConfig::path(&self.config.instance_group, &self.sha256())
    }

    /// The kernel sees the disk.
    pub(crate) fn plug(&self, disk: &Disk) {
        let serial = self.home().join("sys/block/nvme1n1/device/serial");
        fs::create_dir_all(serial.parent().unwrap()).unwrap();
        fs::write(serial, format!("{}   \n", disk.id.replace('-', ""))).unwrap();
        let device = self.home().join("dev/nvme1n1");
        drop(fs::remove_file(&device));
        std::os::unix::fs::symlink(&disk.file, device).unwrap();
    }

    /// The kernel sees it no more.
    pub(crate) fn unplug(&self) {
        fs::remove_file(self.home().join("dev/nvme1n1")).unwrap();
    }

    /// The programs that are stand-ins. What is on a mounted disk is in a folder beside its file.
    fn equip(&self) {
        let home = self.home().display();
        self.folder.add_program(
            "mount",
            &format!(
                "device=$5; folder=$6\n\
                 files=$(readlink -f \"$device\").files\n\
                 mkdir -p \"$files\"; rmdir \"$folder\"; ln -s \"$files\" \"$folder\"\n\
                 echo \"$device $folder ext4 rw 0 0\" >> {home}/mounts"
            ),
        );
        fs::write(self.home().join("kubeadm.py"), KUBEADM).unwrap();
        let (kubeadm, etcd) = (real("kubeadm"), real("etcd"));
        self.folder.add_program(
            "kubeadm",
            &format!(
                "export STAND_IN_HOME={home} STAND_IN_KUBEADM={} STAND_IN_ETCD={}\n\
                 exec python3 {home}/kubeadm.py \"$@\"",
                kubeadm.display(),
                etcd.display()
            ),
        );
    }

    /// The binary itself, which waits for others for so many seconds.
    pub(crate) fn command(&self, wait: u32) -> Command {
        let url = format!("{}/{}", self.config.store.location, self.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_kcl-node"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.args(["bootstrap", "--config", &url, "--sha256", &self.sha256()]);
        command.args(["--imds", &self.imds.endpoint(), "--attempts", "4", "--wait", &wait.to_string()]);
        command.args(["--s3-endpoint", &self.aws, "--ec2-endpoint", &self.aws]);
        command.arg("--root").arg(self.folder.root());
        for name in ["dev", "sys", "mounts"] {
            command.arg(format!("--{name}")).arg(self.home().join(name));
        }
        let programs = ["modprobe", "sysctl", "swapoff", "systemctl", "sync", "mount", "umount"];
        for name in programs.iter().chain(&["blkid", "mkfs", "fsck", "kubeadm", "kubectl"]) {
            command.arg(format!("--{name}")).arg(self.folder.program(name));
        }
        command.arg("--etcdutl").arg(real("etcdutl"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self) -> Child {
        self.command(120).spawn().unwrap()
    }

    /// Runs it to its end: whether it succeeded, and what it said.
    pub(crate) fn run(&self) -> (bool, String) {
        said(&self.start().wait_with_output().unwrap())
    }

    /// Likewise, where it has to succeed.
    pub(crate) fn succeed(&self) -> String {
        let (done, said) = self.run();
        assert!(done, "{said}\n{}", self.etcd_log());
        said
    }

    /// Likewise, where it has to fail.
    pub(crate) fn fail(&self) -> String {
        let (done, said) = self.run();
        assert!(!done, "{said}");
        said
    }

    /// Everything on the machine, without what is other on every machine. What kubeadm makes is there by its name.
    pub(crate) fn tree(&self) -> String {
        let kubeadms = ["/etc/kubernetes/pki/", "/etc/kubernetes/manifests/", "/var/lib/kubelet/"];
        let text = self.folder.tree_with(|name, content| {
            let kubeconfig = name.starts_with("/etc/kubernetes/") && name.rsplit('.').next() == Some("conf");
            if kubeconfig || kubeadms.iter().any(|folder| name.starts_with(folder)) {
                return "(kubeadm's, or a key)".to_owned();
            }
            match name {
                "/usr/local/bin/kcl-node" => "(the program)".to_owned(),
                "/var/lib/kcl-node/agent-started-with" => "(a hash)".to_owned(),
                _ => content,
            }
        });
        self.redacted(&text)
    }

    /// A text without what is other on every machine.
    pub(crate) fn redacted(&self, text: &str) -> String {
        // systemd spells a dash in the name of a device's unit otherwise.
        let text = text.replace("\\x2d", "-");
        let uuid = regex_of_uuid();
        let serial = fs::read_to_string(self.home().join("sys/block/nvme1n1/device/serial")).unwrap();
        let volume = serial.trim().replacen("vol", "vol-", 1);
        let mut text = uuid.replace_all(&text, "UUID").into_owned();
        for (what, shown) in [
            (self.sha256().as_str(), "SHA256"),
            (&self.config.store.location, "s3://BUCKET/karlaru.com"),
            (&self.imds.endpoint(), "http://IMDS"),
            (&self.aws, "http://AWS"),
            (&self.folder.root().display().to_string(), "ROOT"),
            (&self.home().display().to_string(), "HOME"),
            (&programs().unwrap().folder().display().to_string(), "PROGRAMS"),
            (&self.instance, "INSTANCE"),
            (&volume, "VOLUME"),
            (&self.address.to_string(), "ADDRESS"),
        ] {
            text = text.replace(what, shown);
        }
        text
    }

    /// The end of what etcd said.
    pub(crate) fn etcd_log(&self) -> String {
        let log = fs::read_to_string(self.home().join("etcd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub(crate) fn etcd(&self) -> Etcd {
        Etcd::with_keys_of(&self.folder.system(), &client_url(self.address.into())).unwrap()
    }

    /// The machine's kubeadm stumbles there, or no more.
    pub(crate) fn trips(&self, place: &str, trips: bool) {
        let path = self.home().join(format!("kubeadm-trips-{place}"));
        if trips { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// A folder is where a file should be, and something in it.
    pub(crate) fn put_in_the_way(&self, path: &str) {
        fs::create_dir_all(self.folder.root().join(path).join("in the way")).unwrap();
    }

    pub(crate) fn take_away(&self, path: &str) {
        fs::remove_dir_all(self.folder.root().join(path)).unwrap();
    }

    /// What runs ends, as by a loss of power. The disk stays.
    pub(crate) fn power_off(&self) {
        self.end("-9");
    }

    /// What runs ends as it should, as when the node agent empties the machine.
    pub(crate) fn shut_down(&self) {
        self.end("-15");
    }

    fn end(&self, signal: &str) {
        let pid = self.home().join("etcd.pid");
        let Ok(id) = fs::read_to_string(&pid) else { return };
        drop(Command::new("kill").args([signal, id.trim()]).stderr(Stdio::null()).status());
        // It is nobody's child here, so it is gone once its folder is, but for what waits for a parent of its own.
        let state = || fs::read_to_string(format!("/proc/{}/stat", id.trim()));
        until("etcd has ended", || !state().is_ok_and(|state| !state.contains(") Z ")));
        drop(fs::remove_file(pid));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

fn real(program: &str) -> PathBuf {
    programs().unwrap().path(program).unwrap()
}

fn regex_of_uuid() -> regex::Regex {
    regex::Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap()
}

pub(crate) fn said(output: &Output) -> (bool, String) {
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}
