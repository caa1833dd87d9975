//! What a value may be.
//!
//! Most of them end up in the text of some other file. Each is held to the characters that its meaning has
//! anyway, so that none can become a further line, key or argument there.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::document::{Asset, AssetFile, ControlPlane, Dns, Etcd, NodeConfig, Role};
use crate::error::ConfigError;
use crate::reserve::Resources;

type Checked = Result<(), ConfigError>;

/// A port of 0 is no port.
const NO_PORT: u16 = 0;

pub(crate) fn check(config: &NodeConfig) -> Checked {
    name("cluster", &config.cluster)?;
    if config.account.len() != 12 || !config.account.chars().all(|c| c.is_ascii_digit()) {
        let why = format!("`{}` is not an account's twelve digits", shown(&config.account));
        return Err(ConfigError::field("account", why));
    }
    name("instanceGroup", &config.instance_group)?;
    version(&config.kubernetes_version)?;
    store(config)?;
    api(config)?;
    match (config.role, &config.control_plane) {
        (Role::ControlPlane, Some(told)) => control_plane(told)?,
        (Role::Node, None) => {}
        (Role::ControlPlane, None) => {
            return Err(ConfigError::field("controlPlane", "a machine of the control plane needs it"));
        }
        (Role::Node, Some(_)) => {
            return Err(ConfigError::field("controlPlane", "a machine of this role must not have it"));
        }
    }
    network(config)?;
    labels(config)?;
    kubelet(config)?;
    for (key, value) in &config.sysctls {
        let field = format!("sysctls.{}", shown(key));
        let fits = |c: char| c.is_ascii_alphanumeric() || "._/-*".contains(c);
        all(&field, "key", key, fits)?;
        all(&field, "value", value, |c| c == ' ' || c == '\t' || c.is_ascii_graphic())?;
    }
    mirrors(config)?;
    for (index, asset) in config.assets.iter().enumerate() {
        check_asset(&format!("assets[{index}]"), asset)?;
    }
    Ok(())
}

/// Somebody else's text in a message: short, and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Refuses a text that is empty or has a character that does not fit.
fn all(field: &str, what: &str, text: &str, fits: impl Fn(char) -> bool) -> Checked {
    if text.is_empty() {
        return Err(ConfigError::field(field, format!("its {what} is empty")));
    }
    match text.chars().find(|c| !fits(*c)) {
        Some(c) => Err(ConfigError::field(field, format!("its {what} has the character {c:?}"))),
        None => Ok(()),
    }
}

/// A name as DNS has them.
fn name(field: &str, text: &str) -> Checked {
    all(field, "name", text, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')?;
    if text.len() > 253 || text.starts_with(['-', '.']) || text.ends_with(['-', '.']) {
        return Err(ConfigError::field(field, format!("`{}` is not a name as DNS has them", shown(text))));
    }
    Ok(())
}

fn version(text: &str) -> Checked {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() == 3 && parts.iter().all(|part| part.parse::<u16>().is_ok()) && !text.contains('+') {
        return Ok(());
    }
    Err(ConfigError::field("kubernetesVersion", format!("`{}` is not like 1.36.3", shown(text))))
}

fn store(config: &NodeConfig) -> Checked {
    let field = "store.location";
    let location = &config.store.location;
    all(field, "text", location, |c| c.is_ascii_graphic())?;
    let folder = ["s3://", "file:///"].iter().find_map(|scheme| location.strip_prefix(scheme));
    if folder.is_none_or(str::is_empty) || location.ends_with('/') {
        let why = format!("`{}` is not like s3://bucket/cluster.example.com", shown(location));
        return Err(ConfigError::field(field, why));
    }
    Ok(())
}

fn host(field: &str, text: &str) -> Checked {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    name(field, &text.to_ascii_lowercase())
}

fn api(config: &NodeConfig) -> Checked {
    let api = &config.api;
    host("api.endpoint", &api.endpoint)?;
    for (index, san) in api.cert_sans.iter().enumerate() {
        // A certificate may be for all names below one.
        host(&format!("api.certSANs[{index}]"), san.strip_prefix("*.").unwrap_or(san))?;
    }
    for (field, port) in [("api.port", api.port), ("api.bindPort", api.bind_port)] {
        if port == NO_PORT {
            return Err(ConfigError::field(field, "0 is not a port"));
        }
    }
    let bundle = api.ca_bundle.trim();
    let begins = bundle.starts_with("-----BEGIN CERTIFICATE-----");
    if !begins || !bundle.ends_with("-----END CERTIFICATE-----") || bundle.contains("PRIVATE KEY") {
        return Err(ConfigError::field("api.caBundle", "it is not a bundle of certificates in PEM"));
    }
    let Some(accounts) = &config.service_accounts else { return Ok(()) };
    url("serviceAccounts.issuer", &accounts.issuer, &["https"])?;
    if accounts.issuer.ends_with('/') {
        return Err(ConfigError::field("serviceAccounts.issuer", "it has a slash at its end"));
    }
    if accounts.audiences.is_empty() {
        return Err(ConfigError::field("serviceAccounts.audiences", "there is none, so no token would do"));
    }
    for (index, audience) in accounts.audiences.iter().enumerate() {
        let field = format!("serviceAccounts.audiences[{index}]");
        all(&field, "text", audience, |c| c.is_ascii_graphic() && c != ',')?;
    }
    Ok(())
}

fn control_plane(told: &ControlPlane) -> Checked {
    let ControlPlane { node_roles, etcd, dns } = told;
    for (index, role) in node_roles.iter().enumerate() {
        // IAM API reference, "CreateRole".
        let fits = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_".contains(c);
        all(&format!("controlPlane.nodeRoles[{index}]"), "name", role, fits)?;
    }
    etcd_members(etcd)?;
    for (index, Dns { zone, names }) in dns.iter().enumerate() {
        let field = format!("controlPlane.dns[{index}]");
        let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        all(&format!("{field}.zone"), "id", zone, fits)?;
        if names.is_empty() {
            return Err(ConfigError::field(format!("{field}.names"), "there is none"));
        }
        for (index, entry) in names.iter().enumerate() {
            name(&format!("{field}.names[{index}].name"), &entry.name)?;
        }
    }
    Ok(())
}

fn etcd_members(etcd: &Etcd) -> Checked {
    let Etcd { member, members, backup_retention_days } = etcd;
    let field = "controlPlane.etcd.members";
    for (index, one) in members.iter().enumerate() {
        // It is part of a tag, and of a path in the store.
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        all(&format!("{field}[{index}]"), "name", one, fits)?;
        if members.iter().filter(|other| *other == one).count() > 1 {
            return Err(ConfigError::field(field, format!("`{}` is there twice", shown(one))));
        }
    }
    if !members.contains(member) {
        let why = format!("`{}` is not one of the members", shown(member));
        return Err(ConfigError::field("controlPlane.etcd.member", why));
    }
    if *backup_retention_days == 0 {
        return Err(ConfigError::field("controlPlane.etcd.backupRetentionDays", "0 days keep nothing"));
    }
    Ok(())
}

fn network(config: &NodeConfig) -> Checked {
    let network = &config.network;
    let cidr = |field: &str, text: &str| {
        let cidr: Result<IpNet, _> = text.parse();
        match cidr {
            Ok(cidr) if cidr.trunc() == cidr => Ok(cidr),
            Ok(cidr) => {
                Err(ConfigError::field(field, format!("{cidr} has host bits; {} has not", cidr.trunc())))
            }
            Err(_) => Err(ConfigError::field(field, format!("`{}` is not a CIDR", shown(text)))),
        }
    };
    let services = cidr("network.serviceCIDR", &network.service_cidr)?;
    if let Some(pods) = &network.pod_cidr {
        let pods = cidr("network.podCIDR", pods)?;
        if pods.contains(&services) || services.contains(&pods) {
            return Err(ConfigError::field("network.podCIDR", "pods and services share addresses"));
        }
    }
    name("network.dnsDomain", &network.dns_domain)?;
    match network.dns_ip.parse::<IpAddr>() {
        Ok(address) if services.contains(&address) => Ok(()),
        Ok(address) => Err(ConfigError::field(
            "network.dnsIP",
            format!("{address} is not one of the services' {services}"),
        )),
        Err(_) => {
            Err(ConfigError::field("network.dnsIP", format!("`{}` is no address", shown(&network.dns_ip))))
        }
    }
}

/// The labels of Kubernetes' own domains that a kubelet may give itself (kubelet documentation,
/// `--node-labels`); with any other it does not start.
const OWN_LABELS: [&str; 9] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Whether a kubelet may give its node this label.
pub fn is_own_label(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within = |of: &str| domain == of || domain.ends_with(&format!(".{of}"));
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    !kubernetes || OWN_LABELS.contains(&key) || OWN_DOMAINS.iter().any(|of| within(of))
}

fn label_key(field: &str, key: &str) -> Checked {
    let (prefix, short) = key.rsplit_once('/').map_or((None, key), |(prefix, short)| (Some(prefix), short));
    if let Some(prefix) = prefix {
        name(field, prefix)?;
    }
    label_text(field, "key", short)?;
    if short.is_empty() {
        return Err(ConfigError::field(field, "its key is empty"));
    }
    Ok(())
}

fn label_text(field: &str, what: &str, text: &str) -> Checked {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits && text.len() <= 63 && edge(text.chars().next()) && edge(text.chars().last()) {
        return Ok(());
    }
    Err(ConfigError::field(field, format!("the {what} `{}` is not one that Kubernetes takes", shown(text))))
}

fn labels(config: &NodeConfig) -> Checked {
    for (key, value) in &config.labels {
        let field = format!("labels.{}", shown(key));
        label_key(&field, key)?;
        label_text(&field, "value", value)?;
        if !is_own_label(key) {
            let why = "a kubelet may not give itself this label; the control plane has to";
            return Err(ConfigError::field(field, why));
        }
    }
    for (index, taint) in config.taints.iter().enumerate() {
        label_key(&format!("taints[{index}].key"), &taint.key)?;
        label_text(&format!("taints[{index}].value"), "value", &taint.value)?;
    }
    Ok(())
}

fn kubelet(config: &NodeConfig) -> Checked {
    let kubelet = &config.kubelet;
    for (field, reserved) in
        [("kubeReserved", &kubelet.kube_reserved), ("systemReserved", &kubelet.system_reserved)]
    {
        let Resources { cpu, memory, ephemeral_storage } = reserved;
        for (key, amount) in [("cpu", cpu), ("memory", memory), ("ephemeral-storage", ephemeral_storage)] {
            if let Some(amount) = amount {
                quantity(&format!("kubelet.{field}.{key}"), amount)?;
            }
        }
    }
    for (signal, amount) in &kubelet.eviction_hard {
        let field = format!("kubelet.evictionHard.{}", shown(signal));
        all(&field, "signal", signal, |c| c.is_ascii_alphabetic() || c == '.')?;
        quantity(&field, amount.strip_suffix('%').unwrap_or(amount))?;
    }
    Ok(())
}

/// A number and the letters of its unit.
fn quantity(field: &str, text: &str) -> Checked {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[number.len()..];
    let known = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit);
    let digits = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    if known && digits && number.parse::<f64>().is_ok() {
        return Ok(());
    }
    Err(ConfigError::field(field, format!("`{}` is not a quantity like 128Mi", shown(text))))
}

fn mirrors(config: &NodeConfig) -> Checked {
    if let Some(repository) = &config.file_repository {
        url("fileRepository", repository, &["https", "http"])?;
    }
    if let Some(images) = &config.image_repository {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._/:".contains(c);
        all("imageRepository", "name", images, fits)?;
    }
    for (registry, urls) in &config.registry_mirrors {
        let field = format!("registryMirrors.{}", shown(registry));
        // It becomes a folder's name.
        let plain = registry.split_once(':').map_or(registry.as_str(), |(name, _)| name);
        name(&field, plain)?;
        all(&field, "name", registry, |c| c.is_ascii_alphanumeric() || "-.:".contains(c))?;
        for mirror in urls {
            url(&field, mirror, &["https", "http"])?;
        }
    }
    Ok(())
}

/// A URL without anything that a shell, TOML or a header would take for its own.
fn url(field: &str, text: &str, schemes: &[&str]) -> Checked {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!&+,;=%".contains(c);
    all(field, "URL", text, fits)?;
    match text.split_once("://") {
        Some((scheme, rest)) if schemes.contains(&scheme) && !rest.is_empty() && !rest.starts_with('/') => {
            Ok(())
        }
        _ => {
            let why = format!("`{}` is not a URL of {}", shown(text), schemes.join(" or "));
            Err(ConfigError::field(field, why))
        }
    }
}

fn check_asset(field: &str, asset: &Asset) -> Checked {
    name(&format!("{field}.name"), &asset.name)?;
    // What comes over plain HTTP is still held to its hash.
    url(&format!("{field}.url"), &asset.url, &["https", "http"])?;
    let digits = asset.sha256.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    if asset.sha256.len() != 64 || !digits {
        return Err(ConfigError::field(
            format!("{field}.sha256"),
            "it is not 64 lower-case hexadecimal digits",
        ));
    }
    if asset.files.is_empty() {
        return Err(ConfigError::field(format!("{field}.files"), "nothing of it is installed"));
    }
    let whole = asset.files.iter().filter(|file| file.member.is_none()).count();
    if whole > 1 || (whole == 1 && asset.files.len() > 1) {
        return Err(ConfigError::field(
            format!("{field}.files"),
            "it is an archive or a single file, not both",
        ));
    }
    for (index, file) in asset.files.iter().enumerate() {
        asset_file(&format!("{field}.files[{index}]"), file)?;
    }
    Ok(())
}

fn asset_file(field: &str, file: &AssetFile) -> Checked {
    let AssetFile { member, to, mode: permissions } = file;
    let safe = |path: &str| {
        let graphic = path.chars().all(|c| c.is_ascii_graphic());
        graphic && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    };
    if !to.strip_prefix('/').is_some_and(safe) {
        let why = format!("`{}` is not a plain absolute path", shown(to));
        return Err(ConfigError::field(format!("{field}.to"), why));
    }
    if let Some(member) = member
        && !safe(member)
    {
        let why = format!("`{}` is not a plain path in an archive", shown(member));
        return Err(ConfigError::field(format!("{field}.member"), why));
    }
    mode(permissions).map(|_| ())
}

/// Permissions, in octal; without the bits that lend a program its owner's rights.
pub(crate) fn mode(text: &str) -> Result<u32, ConfigError> {
    let number = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && !text.starts_with('+'));
    number.ok_or_else(|| ConfigError::field("mode", format!("`{}` is not like 0755", shown(text))))
}
