//! systemd's units of containerd, the kubelet and the node agent.

use crate::document::NodeConfig;
use crate::file::{File, paths};

/// The units in the order in which they are started.
const FOLDER: &str = "/etc/systemd/system";

/// The unit that mounts etcd's volume.
pub const ETCD_MOUNT_UNIT: &str = "var-lib-etcd.mount";

/// How etcd's volume is mounted: nothing but data is on it.
pub const ETCD_MOUNT_OPTIONS: &str = "noatime,nodev,noexec,nosuid";

impl NodeConfig {
    /// The units, and kubeadm's part of the kubelet's.
    pub fn unit_files() -> Vec<File> {
        vec![
            File::open(format!("{FOLDER}/containerd.service"), containerd()),
            File::open(format!("{FOLDER}/kubelet.service"), kubelet()),
            File::open(format!("{FOLDER}/kubelet.service.d/10-kubeadm.conf"), drop_in()),
        ]
    }

    /// The unit of the node agent, the daemon of kcl-node; `arguments` are what comes after `kcl-node agent`.
    pub fn agent_unit(arguments: &[String]) -> File {
        File::open(format!("{FOLDER}/{AGENT_UNIT}"), agent(arguments))
    }
}

/// The name of the node agent's unit.
pub const AGENT_UNIT: &str = "kcl-node-agent.service";

/// It stops before the kubelet and containerd, so that a machine that goes down can still be emptied; the time that
/// it has for that is longer than what it takes itself (`--stop-within`).
///
/// It goes on when memory is short: it is what empties the machine. The kernel's own files and devices stay as they
/// are for it, since systemd would hide any of them by a mount namespace, in which etcd's volume could not be
/// unmounted for the rest of the machine.
fn agent(arguments: &[String]) -> String {
    let words = ["agent".to_owned()].into_iter().chain(arguments.iter().map(|word| quoted(word)));
    let words = words.collect::<Vec<_>>().join(" ");
    format!(
        "[Unit]\n\
         Description=kcl node agent\n\
         Wants=network-online.target\n\
         After=network-online.target containerd.service kubelet.service\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\n\
         Type=exec\n\
         ExecStart={bin}/kcl-node {words}\n\
         Restart=always\n\
         RestartSec=5\n\
         KillMode=mixed\n\
         TimeoutStopSec=100\n\
         MemoryMax=256M\n\
         OOMScoreAdjust=-900\n\
         UMask=0077\n\
         CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SYS_ADMIN\n\
         LockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\n\
         NoNewPrivileges=yes\n\
         RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX\n\
         RestrictNamespaces=yes\n\
         RestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\n\
         SystemCallArchitectures=native\n\n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        bin = paths::BIN
    )
}

/// A word of a command line, as systemd reads them (systemd.service(5), "Command lines"): nothing in it is a
/// variable, a specifier or the end of the word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '%' => text.push_str("%%"),
            '$' => text.push_str("$$"),
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// So long the volume is waited for while the machine starts: one that is attached is there at once. The node agent
/// attaches one that is not, and mounts it then.
const DEVICE_TIMEOUT: &str = "15s";

/// What brings etcd's volume back after a reboot, by its filesystem's id; and without it no kubelet starts, nor an
/// etcd that would find an empty folder.
///
/// Everything else starts without it: a mount is waited for by `local-fs.target`, and so by the whole machine, unless
/// it may fail (`nofail`; systemd.mount(5), "Default Dependencies"), and a device for 90 seconds.
pub fn etcd_volume_files(uuid: &str) -> Vec<File> {
    let mount = format!(
        "[Unit]\n\
         Description=Data of etcd\n\
         Before=kubelet.service\n\n\
         [Mount]\n\
         What=/dev/disk/by-uuid/{uuid}\n\
         Where={volume}\n\
         Type=ext4\n\
         Options={options},nofail\n\n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        volume = paths::ETCD_VOLUME,
        options = ETCD_MOUNT_OPTIONS,
    );
    let kubelet = format!("[Unit]\nRequiresMountsFor={}\n", paths::ETCD_VOLUME);
    // A device's unit is called as its path is, with what is no slash and no letter escaped (systemd-escape(1)).
    let device = format!("dev-disk-by\\x2duuid-{}.device", uuid.replace('-', "\\x2d"));
    let timeout = format!("[Unit]\nJobRunningTimeoutSec={DEVICE_TIMEOUT}\n");
    vec![
        // systemd wants a mount's unit to be called as the folder is.
        File::open(format!("{FOLDER}/{ETCD_MOUNT_UNIT}"), mount),
        File::open(format!("{FOLDER}/kubelet.service.d/20-etcd-volume.conf"), kubelet),
        File::open(format!("{FOLDER}/{device}.d/10-timeout.conf"), timeout),
    ]
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
         ExecStart={bin}/kubelet --bootstrap-kubeconfig={bootstrap} \
         --kubeconfig={kubeconfig} --config=/var/lib/kubelet/config.yaml \
         $KUBELET_KUBEADM_ARGS\n",
        bin = paths::BIN,
        bootstrap = paths::BOOTSTRAP_KUBELET,
        kubeconfig = paths::KUBELET,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_starts_without_its_volume() {
        let files = etcd_volume_files("01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(files[0].path, "/etc/systemd/system/var-lib-etcd.mount");
        assert!(
            files[0].content.contains("Options=noatime,nodev,noexec,nosuid,nofail\n"),
            "{}",
            files[0].content
        );
        let device = r"dev-disk-by\x2duuid-01234567\x2d89ab\x2dcdef\x2d0123\x2d456789abcdef.device";
        assert_eq!(files[2].path, format!("/etc/systemd/system/{device}.d/10-timeout.conf"));
        assert_eq!(files[2].content, "[Unit]\nJobRunningTimeoutSec=15s\n");
    }

    #[test]
    fn the_agents_words_stay_words() {
        let words = ["--config", "s3://bucket/k8s.example.com/node/a.yaml", "", "a b", "50%$HOME\"\\\n"];
        let unit = NodeConfig::agent_unit(&words.map(str::to_owned));
        assert_eq!(unit.path, "/etc/systemd/system/kcl-node-agent.service");
        let start = unit.content.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        let wanted = r#"--config s3://bucket/k8s.example.com/node/a.yaml "" "a b" "50%%$$HOME\"\\\x0a""#;
        assert!(start.ends_with(&format!("/kcl-node agent {wanted}")), "{start}");
    }
}
