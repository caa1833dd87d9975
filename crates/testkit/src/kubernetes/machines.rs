//! [`Machines`]: stand-ins for the kubelets of a cluster's machines, beside a running [`ApiServer`].
//!
//! These are fakes, and the only ones here: the machines of the local AWS run nothing, and no container can run
//! beside the tests. Somebody has to register Nodes and to say that pods run; what exactly, and how a pod is made
//! to fail, is told in tests/kubernetes/kubelet_stand_in.go. [`cluster_machines`] gives the machines that a
//! cluster has in the local AWS.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::api_server::{ApiServer, path_flag};
use super::process::Process;
use super::programs::file;
use crate::error::Error;
use crate::local_aws::LocalAws;
use crate::xml::Element;

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// A machine that a kubelet would run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Name of its Node.
    pub name: String,
    /// What the cloud knows it by: `aws:///<zone>/<instance id>`.
    pub provider_id: String,
    /// Its address in the VPC.
    pub address: String,
    /// Labels of its Node, beside those of every Node (host name, operating system, architecture).
    pub labels: BTreeMap<String, String>,
    /// Taints that it registers with: key, value, effect.
    pub taints: Vec<(String, String, String)>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// MiB that its kernel has.
    pub memory: u32,
    /// Pods that it takes at most.
    pub pods: u32,
    /// Why it is not ready: pods on it wait, but for those on the machine's own network.
    pub not_ready: Option<String>,
}

impl Machine {
    /// A ready one of two CPUs and about 2 GB.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            provider_id: format!("aws:///eu-north-1a/{name}"),
            address: "172.20.0.10".to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            cpus: 2,
            memory: 1900,
            pods: 110,
            not_ready: None,
        }
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a taint.
    #[must_use]
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        self.taints.push((key.to_owned(), value.to_owned(), effect.to_owned()));
        self
    }

    /// As one of the control plane: kubeadm's label and taint.
    #[must_use]
    pub fn control_plane(self) -> Self {
        self.label(CONTROL_PLANE, "").taint(CONTROL_PLANE, "", "NoSchedule")
    }

    /// Not ready, and why.
    #[must_use]
    pub fn not_ready(mut self, why: &str) -> Self {
        self.not_ready = Some(why.to_owned());
        self
    }

    fn to_json(&self) -> Value {
        // What kubelet keeps free by default.
        let allocatable = self.memory.saturating_sub(100);
        let resources = |memory| {
            json!({
                "cpu": self.cpus.to_string(),
                "memory": format!("{memory}Mi"),
                "pods": self.pods.to_string(),
                "ephemeral-storage": "20Gi",
            })
        };
        let taints = self.taints.iter();
        let taints = taints.map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect}));
        json!({
            "name": self.name,
            "providerID": self.provider_id,
            "address": self.address,
            "labels": self.labels,
            "taints": taints.collect::<Vec<_>>(),
            "capacity": resources(self.memory),
            "allocatable": resources(allocatable),
            "notReady": self.not_ready.as_deref().unwrap_or_default(),
        })
    }
}

/// Running stand-ins; their Nodes are left behind when it is dropped, and are lost a minute later.
#[derive(Debug)]
pub struct Machines {
    process: Process,
    list: PathBuf,
    generation: u64,
    timeout: std::time::Duration,
    _home: tempfile::TempDir,
}

impl Machines {
    /// Starts them as the user of `kubeconfig`, an administrator, and waits until the Nodes are there. The server
    /// that the kubeconfig names is of no account.
    pub fn start(server: &ApiServer, kubeconfig: &Path, machines: &[Machine]) -> Result<Self, Error> {
        let home = tempfile::tempdir().map_err(file("create", &std::env::temp_dir()))?;
        let list = home.path().join("machines.json");
        write_list(&list, 0, &[])?;
        let arguments = [
            path_flag("kubeconfig", &super::programs::absolute(kubeconfig)?),
            format!("--server={}", server.url()),
            path_flag("machines", &list),
        ];
        let name = "kubelet-stand-in";
        let process = Process::start(server.programs(), name, &arguments, home.path(), server.logs())?;
        let mut started = Self { process, list, generation: 0, timeout: server.timeout(), _home: home };
        started.set(machines)?;
        Ok(started)
    }

    /// There are these machines now and no others. Waits until Nodes of new ones are registered, those of others
    /// gone with their pods, and every Node is ready or not as its machine is.
    pub fn set(&mut self, machines: &[Machine]) -> Result<(), Error> {
        self.generation += 1;
        write_list(&self.list, self.generation, machines)?;
        let done = self.list.with_extension("json.done");
        let wanted = self.generation.to_string();
        self.process.wait_until(self.timeout, || match fs::read_to_string(&done) {
            Ok(text) if text == wanted => Ok(()),
            _ => Err("the machines are not registered".to_owned()),
        })
    }
}

fn write_list(path: &Path, generation: u64, machines: &[Machine]) -> Result<(), Error> {
    let machines: Vec<Value> = machines.iter().map(Machine::to_json).collect();
    let text = json!({"generation": generation, "machines": machines}).to_string();
    // Whoever reads it at this moment gets the old one or the new one, whole.
    let new = path.with_extension("new");
    fs::write(&new, text).map_err(file("write", &new))?;
    fs::rename(&new, path).map_err(file("rename", &new))
}

/// The running machines of a cluster in the local AWS, but for bastions, as they would join: named by their private
/// DNS names, with the labels and taints that the tags of their instance groups tell. Past the front's rules and
/// recording.
pub fn cluster_machines(aws: &LocalAws, cluster: &str) -> Result<Vec<Machine>, Error> {
    let filters = [
        ("Filter.1.Name", "tag:KubernetesCluster"),
        ("Filter.1.Value.1", cluster),
        ("Filter.2.Name", "instance-state-name"),
        ("Filter.2.Value.1", "running"),
    ];
    let answer = aws.direct("ec2", "DescribeInstances", &filters)?;
    let instances = answer.all("reservationSet/item/instancesSet/item");
    let sizes = sizes(aws, &instances)?;
    let mut machines: Vec<Machine> =
        instances.into_iter().filter_map(|instance| of_instance(instance, aws.region(), &sizes)).collect();
    machines.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(machines)
}

/// What a type of machine has.
#[derive(Debug, Default)]
struct Size {
    cpus: u32,
    memory: u32,
    architecture: String,
}

/// By type.
type Sizes = BTreeMap<String, Size>;

fn sizes(aws: &LocalAws, instances: &[&Element]) -> Result<Sizes, Error> {
    let mut types: Vec<&str> = instances.iter().map(|instance| instance.value("instanceType")).collect();
    types.sort_unstable();
    types.dedup();
    if types.is_empty() {
        return Ok(Sizes::new());
    }
    let names: Vec<String> = (1..=types.len()).map(|index| format!("InstanceType.{index}")).collect();
    let params: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(types).collect();
    let answer = aws.direct("ec2", "DescribeInstanceTypes", &params)?;
    let number = |item: &Element, path: &str| item.value(path).parse::<u32>().unwrap_or_default();
    let size = |item: &Element| Size {
        cpus: number(item, "vCpuInfo/defaultVCpus"),
        // Firmware and kernel take the rest: roughly what a small machine is left with.
        memory: number(item, "memoryInfo/sizeInMiB") * 92 / 100,
        architecture: match item.value("processorInfo/supportedArchitectures/item") {
            "arm64" => "arm64".to_owned(),
            _ => "amd64".to_owned(),
        },
    };
    let items = answer.all("instanceTypeSet/item");
    Ok(items.into_iter().map(|item| (item.value("instanceType").to_owned(), size(item))).collect())
}

fn of_instance(instance: &Element, region: &str, sizes: &Sizes) -> Option<Machine> {
    let tags = instance.all("tagSet/item");
    let tags: BTreeMap<&str, &str> =
        tags.into_iter().map(|tag| (tag.value("key"), tag.value("value"))).collect();
    if tags.contains_key("k8s.io/role/bastion") {
        return None;
    }
    let zone = instance.value("placement/availabilityZone");
    let kind = instance.value("instanceType");
    let mut machine = Machine::new(instance.value("privateDnsName"))
        .label("node.kubernetes.io/instance-type", kind)
        .label("topology.kubernetes.io/region", region)
        .label("topology.kubernetes.io/zone", zone);
    machine.provider_id = format!("aws:///{zone}/{}", instance.value("instanceId"));
    instance.value("privateIpAddress").clone_into(&mut machine.address);
    if let Some(size) = sizes.get(kind) {
        (machine.cpus, machine.memory) = (size.cpus, size.memory);
        machine = machine.label("kubernetes.io/arch", &size.architecture);
    }
    for (key, value) in &tags {
        if *key == "kops.k8s.io/instancegroup" {
            machine = machine.label(key, value);
        } else if let Some(label) = key.strip_prefix("k8s.io/cluster-autoscaler/node-template/label/") {
            machine = machine.label(label, value);
        } else if let Some(taint) = key.strip_prefix("k8s.io/cluster-autoscaler/node-template/taint/") {
            let (value, effect) = value.rsplit_once(':').unwrap_or(("", value));
            machine = machine.taint(taint, value, effect);
        }
    }
    let is_control_plane = tags.contains_key("k8s.io/role/control-plane");
    let is_tainted = machine.taints.iter().any(|(key, ..)| key == CONTROL_PLANE);
    Some(if is_control_plane && !is_tainted { machine.control_plane() } else { machine })
}
