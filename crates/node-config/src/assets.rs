//! The upstream files that a machine needs, with their hashes.
//!
//! The table is data (`assets.json`): URL to sha256. What stands beside Kubernetes (containerd, runc, the
//! network plugins, crictl) is pinned here in one place.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::document::{Asset, AssetFile};
use crate::error::ConfigError;
use crate::file::paths;

/// The container runtime that goes with every version of Kubernetes.
pub const CONTAINERD: &str = "2.3.4";
/// What starts its containers.
pub const RUNC: &str = "1.4.3";
/// The network plugins that every network addon builds on.
pub const CNI_PLUGINS: &str = "1.9.1";
/// For people who look at a machine's containers.
pub const CRICTL: &str = "1.29.0";

const TABLE: &str = include_str!("../assets.json");

/// Every program that is installed can be run by anyone and replaced by root alone.
const MODE: &str = "0755";

/// A kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Intel and AMD.
    Amd64,
    /// Graviton.
    Arm64,
}

impl Architecture {
    /// As in the names of releases' files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As EC2 spells it: `x86_64` and `arm64`.
    pub fn of_ec2(text: &str) -> Option<Self> {
        match text {
            "x86_64" | "amd64" => Some(Self::Amd64),
            "arm64" | "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Table {
    files: BTreeMap<String, String>,
}

/// The files that a machine needs for a version of Kubernetes (`1.36.3`), or that it is not known.
///
/// `more` adds to the table: what the planning program found out itself (URL to sha256).
pub fn for_version(
    kubernetes: &str,
    architecture: Architecture,
    more: &BTreeMap<String, String>,
) -> Result<Vec<Asset>, ConfigError> {
    let table = table()?;
    wanted(kubernetes, architecture)
        .into_iter()
        .map(|(name, url, files)| match more.get(&url).or_else(|| table.files.get(&url)) {
            Some(sha256) => Ok(Asset { name: name.to_owned(), url, sha256: sha256.clone(), files }),
            None => Err(ConfigError::UnknownVersion {
                version: kubernetes.to_owned(),
                architecture: architecture.as_str(),
                url,
                known: known(&table, architecture),
            }),
        })
        .collect()
}

/// The files of a version whose hash is not in the table, by URL: somebody has to find it out.
pub fn unknown(kubernetes: &str, architecture: Architecture) -> Result<Vec<String>, ConfigError> {
    let table = table()?;
    let urls = wanted(kubernetes, architecture).into_iter().map(|(_, url, _)| url);
    Ok(urls.filter(|url| !table.files.contains_key(url)).collect())
}

fn table() -> Result<Table, ConfigError> {
    serde_json::from_str(TABLE)
        .map_err(|error| ConfigError::Text { what: "the table of assets", why: error.to_string() })
}

/// Name, URL and files of everything.
fn wanted(kubernetes: &str, architecture: Architecture) -> Vec<(&'static str, String, Vec<AssetFile>)> {
    let arch = architecture.as_str();
    let github = |project: &str, version: &str, file: String| {
        format!("https://github.com/{project}/releases/download/v{version}/{file}")
    };
    let mut all: Vec<(&'static str, String, Vec<AssetFile>)> = ["kubeadm", "kubectl", "kubelet"]
        .into_iter()
        .map(|name| {
            let url = format!("https://dl.k8s.io/release/v{kubernetes}/bin/linux/{arch}/{name}");
            (name, url, vec![whole(format!("{}/{name}", paths::BIN))])
        })
        .collect();
    all.push((
        "containerd",
        github("containerd/containerd", CONTAINERD, format!("containerd-{CONTAINERD}-linux-{arch}.tar.gz")),
        ["containerd", "containerd-shim-runc-v2", "ctr"]
            .map(|name| member(format!("bin/{name}"), format!("{}/{name}", paths::BIN)))
            .to_vec(),
    ));
    all.push((
        "runc",
        github("opencontainers/runc", RUNC, format!("runc.{arch}")),
        vec![whole(paths::RUNC.to_owned())],
    ));
    all.push((
        "cni-plugins",
        github(
            "containernetworking/plugins",
            CNI_PLUGINS,
            format!("cni-plugins-linux-{arch}-v{CNI_PLUGINS}.tgz"),
        ),
        CNI.map(|name| member(name.to_owned(), format!("{}/{name}", paths::CNI_BIN))).to_vec(),
    ));
    all.push((
        "crictl",
        github("kubernetes-sigs/cri-tools", CRICTL, format!("crictl-v{CRICTL}-linux-{arch}.tar.gz")),
        vec![member("crictl".to_owned(), format!("{}/crictl", paths::BIN))],
    ));
    all
}

/// The plugins that network addons ask for; `dhcp`, `dummy`, `sbr`, `tap` and `vrf` are left out.
const CNI: [&str; 13] = [
    "bandwidth",
    "bridge",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "static",
    "tuning",
    "vlan",
];

fn whole(to: String) -> AssetFile {
    AssetFile { member: None, to, mode: MODE.to_owned() }
}

fn member(member: String, to: String) -> AssetFile {
    AssetFile { member: Some(member), to, mode: MODE.to_owned() }
}

/// The newest known patch of each release, for the message.
fn known(table: &Table, architecture: Architecture) -> String {
    let suffix = format!("/bin/linux/{}/kubelet", architecture.as_str());
    let versions: BTreeSet<Vec<u16>> = table
        .files
        .keys()
        .filter_map(|url| url.strip_prefix("https://dl.k8s.io/release/v")?.strip_suffix(&suffix))
        .filter_map(|version| version.split('.').map(|part| part.parse().ok()).collect())
        .collect();
    let newest: BTreeMap<Vec<u16>, Vec<u16>> =
        versions.into_iter().map(|version| (version.iter().take(2).copied().collect(), version)).collect();
    let text = |version: &Vec<u16>| version.iter().map(u16::to_string).collect::<Vec<_>>().join(".");
    newest.values().map(text).collect::<Vec<_>>().join(", ")
}
