//! SSH, bastions, and the termination handler.

use super::api::{one_per_zone, open_to_the_world};
use super::check::Check;
use super::{Scope, syntax, value};
use crate::cluster::{Bastion, InstanceGroup, Network, Role, Scheme, Ssh, SshKey};
use crate::document::Spec;
use crate::schema::cluster::{BastionSpec, LoadBalancerType};
use crate::source::Located;

pub(super) fn ssh(spec: &Spec, scope: &Scope<'_>, check: &mut Check) -> Ssh {
    let access = syntax::cidrs(scope.spec.ssh_access.as_ref(), check);
    open_to_the_world(scope.spec.ssh_access.as_ref(), "SSH", "sshAccess", check);
    Ssh { access, key: ssh_key(spec, scope, check) }
}

/// `sshKeyName` goes before an SSHCredential, as in kOps; an empty one means no key at all.
fn ssh_key(spec: &Spec, scope: &Scope<'_>, check: &mut Check) -> SshKey {
    let mut credentials = spec.ssh_credentials();
    let first = credentials.next();
    for (document, _) in credentials {
        check.hinted(&document.place, "a second SSHCredential", "EC2 takes one key per machine");
    }
    let managed = first.and_then(|(document, body)| {
        let key = body.spec.as_ref().and_then(|spec| spec.value.public_key.as_ref());
        if key.is_none() {
            let place = body.spec.as_ref().map_or(&document.place, |spec| &spec.place);
            check.missing_named(place, "publicKey", "spec.publicKey");
        }
        key
    });
    if let Some(key) = managed {
        public_key(key, check);
    }
    match (&scope.spec.ssh_key_name, managed) {
        (Some(name), managed) => {
            if let Some(key) = managed {
                let hint =
                    "`sshKeyName` of the Cluster decides which key machines have: leave out one of them";
                check.warn(&key.place, "this key is not used", hint);
            }
            if name.value.is_empty() { SshKey::None } else { SshKey::Existing { name: name.value.clone() } }
        }
        (None, Some(key)) => SshKey::Managed { public_key: key.value.trim().to_owned() },
        (None, None) => SshKey::None,
    }
}

/// EC2 imports RSA and ED25519 keys, in OpenSSH's one line.
fn public_key(key: &Located<String>, check: &mut Check) {
    let hint = "one line of OpenSSH: `ssh-ed25519 AAAA... comment`";
    let mut words = key.value.split_whitespace();
    match (words.next(), words.next()) {
        (Some("ssh-rsa" | "ssh-ed25519"), Some(data)) => {
            let is_base64 = |char: char| char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '=');
            if !data.starts_with("AAAA") || !data.chars().all(is_base64) {
                check.hinted(&key.place, "the public key is damaged", hint);
            }
        }
        (Some(kind), Some(_))
            if kind.starts_with("ecdsa-") || kind.starts_with("sk-") || kind == "ssh-dss" =>
        {
            check.hinted(&key.place, format!("EC2 takes no keys of type `{kind}`"), "RSA or ED25519");
        }
        (Some("-----BEGIN"), _) => check.hinted(&key.place, "not an OpenSSH public key", hint),
        _ => check.hinted(&key.place, "not a public key", hint),
    }
}

/// The load balancer in front of the bastions, where there are some.
pub(super) fn bastion(
    scope: &Scope<'_>,
    groups: &[Located<InstanceGroup>],
    network: &Network,
    check: &mut Check,
) -> Option<Bastion> {
    let written = scope.spec.topology.as_ref().and_then(|topology| topology.value.bastion.as_ref());
    let Some(group) = groups.iter().find(|group| group.value.role == Role::Bastion) else {
        if let Some(written) = written {
            let hint = "add an InstanceGroup with `role: Bastion`, or leave it out";
            check.warn(&written.place, "`bastion` has no effect: the cluster has no bastions", hint);
        }
        return None;
    };
    let empty = BastionSpec::default();
    let spec = written.map_or(&empty, |written| &written.value);
    let balancer = spec.load_balancer.as_ref().map(|balancer| &balancer.value);
    let scheme = match balancer.and_then(|balancer| balancer.scheme.as_ref()).map(|scheme| scheme.value) {
        Some(LoadBalancerType::Internal) => Scheme::Internal,
        Some(LoadBalancerType::Public) | None => Scheme::Public,
    };
    if let Some(name) = spec.public_name.as_ref().filter(|name| !syntax::is_dns_name(&name.value)) {
        check.error(&name.place, format!("`{}` is not a DNS name", name.value));
    }
    let subnets = one_per_zone(network, scheme);
    if subnets.is_empty() && !network.subnets.is_empty() {
        let hint = "add a subnet of type `Utility`";
        check.hinted(&group.place, "the cluster has no subnet for the bastions' load balancer", hint);
    }
    Some(Bastion {
        public_name: value(spec.public_name.as_ref()),
        scheme,
        additional_security_groups: syntax::security_groups(
            balancer.and_then(|balancer| balancer.additional_security_groups.as_ref()),
            check,
        ),
        subnets,
    })
}
