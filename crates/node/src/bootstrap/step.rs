//! The steps, and their names.

use std::fmt;

use kcl_node_config::Role;

/// What is done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Who this machine is.
    Identity,
    /// What it is told.
    Configuration,
    /// Kernel modules and parameters, swap.
    Kernel,
    /// The programs.
    Programs,
    /// containerd and the kubelet as services.
    Services,
    /// What kubeadm reads.
    Kubeadm,
    /// Control plane: etcd's volume, attached and mounted.
    Volume,
    /// Control plane: the cluster's keys.
    Keys,
    /// Control plane: the cluster is begun, come back to, or joined.
    ControlPlane,
    /// Worker: the cluster is joined.
    Join,
    /// The node agent runs.
    Agent,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Identity,
        Self::Configuration,
        Self::Kernel,
        Self::Programs,
        Self::Services,
        Self::Kubeadm,
        Self::Volume,
        Self::Keys,
        Self::ControlPlane,
        Self::Join,
        Self::Agent,
    ];

    /// Those of a role, in their order.
    pub fn of(role: Role) -> Vec<Self> {
        let belongs = |step: &Self| match step {
            Self::Volume | Self::Keys | Self::ControlPlane => role == Role::ControlPlane,
            Self::Join => role == Role::Node,
            _ => true,
        };
        Self::ALL.into_iter().filter(belongs).collect()
    }

    /// Its name, as in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Configuration => "configuration",
            Self::Kernel => "kernel",
            Self::Programs => "programs",
            Self::Services => "services",
            Self::Kubeadm => "kubeadm-configuration",
            Self::Volume => "volume",
            Self::Keys => "keys",
            Self::ControlPlane => "control-plane",
            Self::Join => "join",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
