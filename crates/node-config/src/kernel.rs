//! Kernel modules and parameters.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::document::NodeConfig;
use crate::file::File;

/// The modules that containers and their network need.
pub const MODULES: [&str; 2] = ["overlay", "br_netfilter"];

/// What Kubernetes needs of the kernel. The second half is what a kubelet with `protectKernelDefaults`
/// insists on finding.
const NEEDED: [(&str, &str); 11] = [
    ("net.bridge.bridge-nf-call-iptables", "1"),
    ("net.bridge.bridge-nf-call-ip6tables", "1"),
    ("net.ipv4.ip_forward", "1"),
    ("fs.inotify.max_user_instances", "8192"),
    ("fs.inotify.max_user_watches", "524288"),
    ("vm.overcommit_memory", "1"),
    ("vm.panic_on_oom", "0"),
    ("kernel.panic", "10"),
    ("kernel.panic_on_oops", "1"),
    ("kernel.keys.root_maxkeys", "1000000"),
    ("kernel.keys.root_maxbytes", "25000000"),
];

/// The kernel parameters of a machine: the group's own, and over them what Kubernetes cannot do without.
pub fn sysctls(config: &NodeConfig) -> BTreeMap<String, String> {
    let needed = NEEDED.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let mut all = config.sysctls.clone();
    all.extend(needed);
    all
}

impl NodeConfig {
    /// What the kernel is set to at each start.
    pub fn kernel_files(&self) -> Vec<File> {
        let mut parameters = String::new();
        for (key, value) in sysctls(self) {
            let _ = writeln!(parameters, "{key} = {value}");
        }
        vec![
            File::open("/etc/modules-load.d/kubernetes.conf", format!("{}\n", MODULES.join("\n"))),
            // Read last: what an image sets in a file of its own does not undo it.
            File::open("/etc/sysctl.d/99-zz-kubernetes.conf", parameters),
        ]
    }
}
