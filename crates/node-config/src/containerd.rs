//! containerd's configuration, its registries' mirrors, and crictl's.

use std::fmt::Write as _;

use crate::document::NodeConfig;
use crate::file::{File, paths};

/// The image that holds a pod's namespaces: what kubeadm 1.36 expects.
const PAUSE: &str = "pause:3.10.2";
const REGISTRIES: &str = "/etc/containerd/certs.d";

impl NodeConfig {
    /// Everything containerd and its clients read.
    pub fn containerd_files(&self) -> Vec<File> {
        let mut files = vec![
            File::open("/etc/containerd/config.toml", self.containerd_config()),
            File::open("/etc/crictl.yaml", crictl()),
        ];
        for (host, mirrors) in &self.registry_mirrors {
            files.push(File::open(format!("{REGISTRIES}/{host}/hosts.toml"), hosts(host, mirrors)));
        }
        files
    }

    /// Version 3 of the file, which containerd 2 reads; what is not named is at its default.
    fn containerd_config(&self) -> String {
        let sandbox = quoted(&format!("{}/{PAUSE}", self.images()));
        let runtime = "[plugins.'io.containerd.cri.v1.runtime'.containerd";
        format!(
            "version = 3\n\
             # The kernel kills containers before it kills what runs them.\n\
             oom_score = -999\n\n\
             [plugins.'io.containerd.cri.v1.images'.pinned_images]\n\
             sandbox = {sandbox}\n\n\
             [plugins.'io.containerd.cri.v1.images'.registry]\n\
             config_path = {registries}\n\n\
             {runtime}]\n\
             default_runtime_name = \"runc\"\n\n\
             {runtime}.runtimes.runc]\n\
             runtime_type = \"io.containerd.runc.v2\"\n\n\
             {runtime}.runtimes.runc.options]\n\
             BinaryName = {runc}\n\
             SystemdCgroup = true\n",
            registries = quoted(REGISTRIES),
            runc = quoted(paths::RUNC),
        )
    }
}

fn crictl() -> String {
    let socket = paths::CRI_SOCKET;
    format!("runtime-endpoint: {socket}\nimage-endpoint: {socket}\ntimeout: 10\n")
}

/// Mirrors are asked in their order, and the registry itself when none of them has the image.
fn hosts(host: &str, mirrors: &[String]) -> String {
    // Docker's registry answers under another name than its images carry.
    let server = if host == "docker.io" { "registry-1.docker.io" } else { host };
    let mut text = format!("server = {}\n", quoted(&format!("https://{server}")));
    for mirror in mirrors {
        let _ = write!(text, "\n[host.{}]\ncapabilities = [\"pull\", \"resolve\"]\n", quoted(mirror));
    }
    text
}

/// A TOML string. Values are checked to be printable ASCII, where JSON's and TOML's spellings agree.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
