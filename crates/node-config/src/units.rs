//! systemd's units of containerd and the kubelet.

use crate::document::NodeConfig;
use crate::file::{File, paths};

/// The units in the order in which they are started.
const FOLDER: &str = "/etc/systemd/system";

impl NodeConfig {
    /// The units, and kubeadm's part of the kubelet's.
    pub fn unit_files() -> Vec<File> {
        vec![
            File::open(format!("{FOLDER}/containerd.service"), containerd()),
            File::open(format!("{FOLDER}/kubelet.service"), kubelet()),
            File::open(format!("{FOLDER}/kubelet.service.d/10-kubeadm.conf"), drop_in()),
        ]
    }
}

/// Containers outlive a restart of containerd (`KillMode=process`), and it sets up their limits itself
/// (`Delegate`).
fn containerd() -> String {
    format!(
        "[Unit]\n\
         Description=containerd container runtime\n\
         Documentation=https://containerd.io\n\
         After=network.target local-fs.target\n\n\
         [Service]\n\
         Type=notify\n\
         ExecStart={bin}/containerd\n\
         Delegate=yes\n\
         KillMode=process\n\
         Restart=always\n\
         RestartSec=5\n\
         LimitNPROC=infinity\n\
         LimitCORE=infinity\n\
         LimitNOFILE=1048576\n\
         TasksMax=infinity\n\
         OOMScoreAdjust=-999\n\n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        bin = paths::BIN
    )
}

/// Until kubeadm has written its configuration the kubelet ends and is started again.
fn kubelet() -> String {
    format!(
        "[Unit]\n\
         Description=Kubernetes node agent\n\
         Documentation=https://kubernetes.io/docs/\n\
         Wants=network-online.target containerd.service\n\
         After=network-online.target containerd.service\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\n\
         ExecStart={bin}/kubelet\n\
         Restart=always\n\
         RestartSec=10\n\n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        bin = paths::BIN
    )
}

/// The files that kubeadm gives the kubelet, each under its own name.
fn drop_in() -> String {
    format!(
        "[Service]\n\
         EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\n\
         ExecStart=\n\
         ExecStart={bin}/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
         --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml \
         $KUBELET_KUBEADM_ARGS\n",
        bin = paths::BIN
    )
}
