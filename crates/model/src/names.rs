//! Names of resources, by kOps' rules.
//!
//! They are how an existing cluster is found again, so none of them may ever change for the same spec.

use kcl_spec::cluster::{InstanceGroup, Role};

/// Load balancers and target groups: 32 characters.
const MAX_LOAD_BALANCER: usize = 32;
/// IAM roles and instance profiles.
const MAX_ROLE: usize = 64;
/// EventBridge rules have 64; kOps keeps 40 of them for the cluster.
const MAX_CLUSTER_IN_RULE: usize = 40;
/// Launch templates; groups could be longer, but share the name.
const MAX_LAUNCH_TEMPLATE: usize = 128;
/// SQS queues.
const MAX_QUEUE: usize = 80;
/// The hash at the end of a name that was cut.
const HASH: usize = 6;

/// `<subnet>.<cluster>`
pub fn subnet(subnet: &str, cluster: &str) -> String {
    format!("{subnet}.{cluster}")
}

/// `<zone>.<cluster>`: a NAT gateway, and its address.
pub fn nat_gateway(zone: &str, cluster: &str) -> String {
    format!("{zone}.{cluster}")
}

/// `private-<zone>.<cluster>`
pub fn private_route_table(zone: &str, cluster: &str) -> String {
    format!("private-{zone}.{cluster}")
}

/// `masters.<cluster>`, `nodes.<cluster>`, `bastion.<cluster>`
pub fn security_group(role: Role, cluster: &str) -> String {
    match role {
        Role::Bastion => format!("bastion.{cluster}"),
        Role::ControlPlane | Role::Node => format!("{}.{cluster}", role.plural()),
    }
}

/// `<prefix>-elb.<cluster>`: the security group of a load balancer.
pub fn load_balancer_security_group(prefix: &str, cluster: &str) -> String {
    format!("{prefix}-elb.{cluster}")
}

/// `masters.<cluster>`, `nodes.<cluster>`, `bastions.<cluster>`: a role and its instance profile.
pub fn machine_role(role: Role, cluster: &str) -> String {
    cut(format!("{}.{cluster}", role.plural()), MAX_ROLE)
}

/// `<service account>.<namespace>.sa.<cluster>`; a `*` is spelled `wildcard`.
pub fn service_account_role(account: &str, namespace: &str, cluster: &str) -> String {
    cut(format!("{account}.{}.sa.{cluster}", spell_wildcard(namespace)), MAX_ROLE)
}

/// A namespace pattern, as names and tags have it.
pub(crate) fn spell_wildcard(namespace: &str) -> String {
    namespace.replace('*', "wildcard")
}

/// `<group>.masters.<cluster>` or `<group>.<cluster>`: a launch template and its auto scaling group.
pub fn instance_group(group: &InstanceGroup, cluster: &str) -> String {
    let name = match group.role {
        Role::ControlPlane => format!("{}.masters.{cluster}", group.name),
        Role::Node | Role::Bastion => format!("{}.{cluster}", group.name),
    };
    cut(name, MAX_LAUNCH_TEMPLATE)
}

/// `<member>.etcd-<etcd cluster>.<cluster>`
pub fn etcd_volume(member: &str, etcd_cluster: &str, cluster: &str) -> String {
    format!("{member}.etcd-{etcd_cluster}.{cluster}")
}

/// `kubernetes.<cluster>-<fingerprint>`
pub fn key_pair(fingerprint: &str, cluster: &str) -> String {
    format!("kubernetes.{cluster}-{fingerprint}")
}

/// `<prefix>.<cluster>`: the `Name` tag of a load balancer, by which it is known.
pub fn load_balancer(prefix: &str, cluster: &str) -> String {
    format!("{prefix}.{cluster}")
}

/// What AWS calls a load balancer or target group: at most 32 characters, always with a hash.
pub fn load_balancer_in_aws(prefix: &str, cluster: &str) -> String {
    let whole = format!("{prefix}-{}", cluster.replace('.', "-"));
    with_hash(&whole, MAX_LOAD_BALANCER)
}

/// `<load balancer> <port>`
pub fn listener(load_balancer: &str, port: u16) -> String {
    format!("{load_balancer} {port}")
}

/// The queue of the termination handler.
pub fn queue(cluster: &str) -> String {
    cut(format!("{}-nth", cluster.replace('.', "-")), MAX_QUEUE)
}

/// `<cluster>-<event>`: an EventBridge rule.
pub fn event_rule(event: &str, cluster: &str) -> String {
    format!("{}-{event}", cut(cluster.to_owned(), MAX_CLUSTER_IN_RULE))
}

/// `name`, or its beginning with a hash of the whole where it is too long.
fn cut(name: String, limit: usize) -> String {
    if name.len() <= limit { name } else { with_hash(&name, limit) }
}

fn with_hash(whole: &str, limit: usize) -> String {
    let mut end = whole.len().min(limit - HASH - 1);
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{}", &whole[..end], hash(whole))
}

/// FNV-1a of 32 bits, big endian, in base32hex and lower case: its first six characters.
fn hash(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    // Five bits a character, from the top: 30 of the 32.
    (0..HASH).map(|place| char::from(ALPHABET[(hash >> (27 - 5 * place)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_balancers() {
        let cases = [
            ("bastion", "mycluster", "bastion-mycluster-vnrjie"),
            ("api", "this.is.a.very.long.cluster.example.com", "api-this-is-a-very-long-c-q4ukp4"),
            ("api", "minimal.example.com", "api-minimal-example-com-gecgf7"),
            ("tcp", "minimal.example.com", "tcp-minimal-example-com-5905t8"),
            ("kops-controller", "minimal.example.com", "kops-controller-minimal-e-uvauf3"),
            ("api", "bastionuserdata.example.com", "api-bastionuserdata-examp-qbgom9"),
            ("bastion", "bastionuserdata.example.com", "bastion-bastionuserdata-e-4grhsv"),
            ("tcp", "bastionuserdata.example.com", "tcp-bastionuserdata-examp-qe51ro"),
        ];
        for (prefix, cluster, name) in cases {
            assert_eq!(load_balancer_in_aws(prefix, cluster), name);
        }
    }

    #[test]
    fn only_long_names_are_cut() {
        assert_eq!(machine_role(Role::Bastion, "k8s.example.com"), "bastions.k8s.example.com");
        let long = machine_role(Role::ControlPlane, &"long-name.".repeat(8));
        assert_eq!(long.len(), MAX_ROLE);
        assert!(long.starts_with("masters.long-name.long-name."));
    }

    #[test]
    fn service_accounts() {
        assert_eq!(
            service_account_role("app", "test-*", "k.example.com"),
            "app.test-wildcard.sa.k.example.com"
        );
    }

    #[test]
    fn the_longest_event_rule_fits() {
        let name = event_rule("InstanceScheduledChange", &"a.".repeat(40));
        assert_eq!(name.len(), 64);
    }
}
