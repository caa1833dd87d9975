//! How the API server is reached.

use std::net::IpAddr;

use ipnet::IpNet;

use super::check::Check;
use super::{Scope, flag, syntax, value};
use crate::cluster::{
    AccessLog, Api, ApiLoadBalancer, DnsType, IngressController, LoadBalancerSubnet, Network, Scheme, Subnet,
    SubnetOrigin, SubnetType, Topology,
};
use crate::read::List;
use crate::schema::cluster::{
    AccessLogSpec, ApiLoadBalancerSpec, LoadBalancerClass, LoadBalancerSubnetSpec, LoadBalancerType,
};
use crate::source::{Located, Place};
use crate::suggest;

pub(super) fn api(
    scope: &Scope<'_>,
    network: &Network,
    controllers: &[Located<IngressController>],
    check: &mut Check,
) -> Api {
    let is_shared = controllers.iter().any(|controller| controller.value.load_balancer.share_with_api);
    let access = syntax::cidrs(scope.spec.kubernetes_api_access.as_ref(), check);
    open_to_the_world(scope.spec.kubernetes_api_access.as_ref(), "the API", "kubernetesApiAccess", check);
    if access.is_empty() {
        let place = scope.spec.kubernetes_api_access.as_ref().map_or(scope.spec_place, |list| &list.place);
        check.warn(place, "nobody may reach the API", "name your own addresses in `kubernetesApiAccess`");
    }
    let load_balancer = load_balancer(scope, network, check);
    for controller in controllers.iter().filter(|controller| controller.value.load_balancer.share_with_api) {
        let is_public = load_balancer.as_ref().is_some_and(|balancer| balancer.scheme == Scheme::Public);
        if !is_public {
            let hint = "set `spec.api.loadBalancer` of the Cluster to `{class: Network, type: Public}`";
            check.hinted(&controller.place, "`shareWithApi` needs a public load balancer of the API", hint);
        }
    }
    let name = |field: Option<&Located<String>>, prefix: &str, check: &mut Check| {
        syntax::dns_name(field, check).unwrap_or_else(|| format!("{prefix}.{}", scope.name))
    };
    Api {
        public_name: name(scope.spec.master_public_name.as_ref(), "api", check),
        internal_name: name(scope.spec.master_internal_name.as_ref(), "api.internal", check),
        port: if is_shared { 6443 } else { 443 },
        access,
        additional_sans: sans(scope.spec.additional_sans.as_ref(), check),
        load_balancer,
    }
}

/// Names of the API server beside its own: what kubeadm puts into a certificate.
fn sans(list: Option<&Located<List<String>>>, check: &mut Check) -> Vec<String> {
    let items = list.map_or(&[][..], |list| &list.value);
    for Located { value, place } in items {
        let is_name = syntax::is_dns_name(value.strip_prefix("*.").unwrap_or(value));
        if !is_name && value.parse::<IpAddr>().is_err() {
            let title = format!("`{value}` is neither a DNS name nor an IP address");
            let hint =
                "a certificate is for names as in `k8s.example.com` or `*.example.com`, and for addresses";
            check.hinted(place, title, hint);
        }
    }
    items.iter().map(|san| san.value.clone()).collect()
}

/// A warning for each entry that lets everybody in.
pub(super) fn open_to_the_world(
    list: Option<&Located<List<String>>>,
    what: &str,
    field: &str,
    check: &mut Check,
) {
    for entry in list.map_or(&[][..], |list| &list.value) {
        if entry.value.parse::<IpNet>().is_ok_and(|net| net.prefix_len() == 0) {
            let title = format!("{what} is open to the whole internet ({})", entry.value);
            check.warn(&entry.place, title, format!("name your own addresses in `{field}`"));
        }
    }
}

/// As written; else, as kOps does it, one where DNS cannot name the control plane's machines.
fn load_balancer(scope: &Scope<'_>, network: &Network, check: &mut Check) -> Option<ApiLoadBalancer> {
    let api = scope.spec.api.as_ref().map(|api| &api.value);
    let written = api.and_then(|api| api.load_balancer.as_ref());
    let by_dns = api.and_then(|api| api.dns.as_ref());
    if let (Some(field), None, DnsType::None) = (by_dns, written, network.dns) {
        let hint = "choose `loadBalancer: {class: Network, type: Public}` in place of it";
        check.hinted(&field.place, "without DNS the API needs a load balancer", hint);
    }
    let by_default = by_dns.is_none()
        && (network.control_plane_topology == Topology::Private || network.dns == DnsType::None);
    let empty = ApiLoadBalancerSpec::default();
    let (spec, place) = match written {
        Some(written) => (&written.value, &written.place),
        None if by_default => (&empty, scope.spec_place),
        None => return None,
    };
    match &spec.class {
        Some(class) if class.value == LoadBalancerClass::Classic => {
            check.hinted(&class.place, "classic load balancers are not supported", "use `class: Network`");
        }
        None if written.is_some() => {
            let title = "without a `class` the API's load balancer is a network one";
            check.warn(
                place,
                title,
                "kOps would make a classic one, which kcl does not: write `class: Network`",
            );
        }
        _ => {}
    }
    if let Some(field) = &spec.security_group_override {
        let hint = "use `additionalSecurityGroups`";
        check.hinted(&field.place, "a network load balancer has no `securityGroupOverride`", hint);
    }
    let scheme = match spec.scheme.as_ref().map(|scheme| scheme.value) {
        Some(LoadBalancerType::Public) | None => Scheme::Public,
        Some(LoadBalancerType::Internal) => Scheme::Internal,
    };
    Some(ApiLoadBalancer {
        scheme,
        additional_security_groups: syntax::security_groups(spec.additional_security_groups.as_ref(), check),
        cross_zone: flag(spec.cross_zone_load_balancing.as_ref(), network.dns == DnsType::None),
        use_for_internal_api: internal(spec, scheme, check),
        ssl_certificate: certificate(spec, check),
        ssl_policy: value(spec.ssl_policy.as_ref()),
        access_log: spec.access_log.as_ref().and_then(|log| access_log(log, check)),
        subnets: subnets(spec.subnets.as_ref(), scheme, network, place, check),
    })
}

/// An internal balancer does not send a machine's connection back to itself.
fn internal(spec: &ApiLoadBalancerSpec, scheme: Scheme, check: &mut Check) -> bool {
    let Some(field) = spec.use_for_internal_api.as_ref().filter(|field| field.value) else { return false };
    if scheme == Scheme::Internal {
        let title = "machines cannot use an internal network load balancer for the API";
        check.hinted(
            &field.place,
            title,
            "a control-plane machine could not reach itself through it: leave it out",
        );
    }
    true
}

fn certificate(spec: &ApiLoadBalancerSpec, check: &mut Check) -> Option<String> {
    if let (Some(policy), None) = (&spec.ssl_policy, &spec.ssl_certificate) {
        check.hinted(
            &policy.place,
            "`sslPolicy` without `sslCertificate`",
            "TLS ends at the load balancer only with a certificate",
        );
    }
    let certificate = spec.ssl_certificate.as_ref()?;
    syntax::arn(certificate, "acm", "certificate/", "an ACM certificate", check);
    Some(certificate.value.clone())
}

fn access_log(log: &Located<AccessLogSpec>, check: &mut Check) -> Option<AccessLog> {
    let Some(bucket) = &log.value.bucket else {
        check.missing(&log.place, "bucket");
        return None;
    };
    Some(AccessLog { bucket: bucket.value.clone(), prefix: value(log.value.bucket_prefix.as_ref()) })
}

fn subnets(
    list: Option<&Located<List<LoadBalancerSubnetSpec>>>,
    scheme: Scheme,
    network: &Network,
    place: &Place,
    check: &mut Check,
) -> Vec<LoadBalancerSubnet> {
    let Some(list) = list.filter(|list| !list.value.is_empty()) else {
        let names = one_per_zone(network, scheme);
        if names.is_empty() && !network.subnets.is_empty() {
            let hint = "a public one stands in utility or public subnets";
            check.lacking(place, "subnets", "the cluster has no subnet for the API's load balancer", hint);
        }
        let plain = |subnet| LoadBalancerSubnet { subnet, private_ipv4_address: None, allocation_id: None };
        return names.into_iter().map(plain).collect();
    };
    check.unique("subnet", list.value.iter().filter_map(|item| item.value.name.as_ref()));
    zones_apart(&list.value, network, check);
    list.value.iter().filter_map(|item| subnet(item, scheme, network, check)).collect()
}

/// A load balancer stands in one subnet of a zone at most.
fn zones_apart(items: &[Located<LoadBalancerSubnetSpec>], network: &Network, check: &mut Check) {
    let mut taken: Vec<&Subnet> = Vec::new();
    for name in items.iter().filter_map(|item| item.value.name.as_ref()) {
        let Some(found) = network.subnets.iter().find(|subnet| subnet.name == name.value) else { continue };
        match taken.iter().find(|other| other.zone == found.zone && other.name != found.name) {
            Some(other) => {
                let title =
                    format!("subnets `{}` and `{}` are both in {}", other.name, found.name, found.zone);
                check.hinted(
                    &name.place,
                    title,
                    "a load balancer has one subnet of each zone: keep one of them",
                );
            }
            None => taken.push(found),
        }
    }
}

fn subnet(
    item: &Located<LoadBalancerSubnetSpec>,
    scheme: Scheme,
    network: &Network,
    check: &mut Check,
) -> Option<LoadBalancerSubnet> {
    let Some(name) = &item.value.name else {
        check.missing(&item.place, "name");
        return None;
    };
    let Some(found) = network.subnets.iter().find(|subnet| subnet.name == name.value) else {
        let hint = suggest::hint(&name.value, network.subnets.iter().map(|subnet| subnet.name.as_str()));
        check.hinted(&name.place, format!("the cluster has no subnet `{}`", name.value), hint);
        return None;
    };
    if let Some(field) = item.value.allocation_id.as_ref().filter(|_| scheme == Scheme::Internal) {
        check.hinted(&field.place, "an internal load balancer has no Elastic IP", "only with `type: Public`");
    }
    if let Some(field) = item.value.private_ipv4_address.as_ref().filter(|_| scheme == Scheme::Public) {
        check.hinted(
            &field.place,
            "a public load balancer has no private address of your choice",
            "only with `type: Internal`",
        );
    }
    Some(LoadBalancerSubnet {
        private_ipv4_address: private_address(item.value.private_ipv4_address.as_ref(), found, check),
        allocation_id: syntax::id(
            item.value.allocation_id.as_ref(),
            "eipalloc-",
            "an Elastic IP's allocation",
            check,
        ),
        subnet: name.value.clone(),
    })
}

fn private_address(
    field: Option<&Located<String>>,
    subnet: &Subnet,
    check: &mut Check,
) -> Option<std::net::Ipv4Addr> {
    let field = field?;
    let Ok(address) = field.value.parse() else {
        check.error(&field.place, format!("`{}` is not an IPv4 address", field.value));
        return None;
    };
    let cidr = match &subnet.origin {
        SubnetOrigin::Managed { cidr } => Some(*cidr),
        SubnetOrigin::Shared { cidr, .. } => *cidr,
    };
    if let Some(cidr) = cidr.filter(|cidr| !cidr.contains(&address)) {
        check.error(&field.place, format!("{address} is not in subnet `{}` ({cidr})", subnet.name));
    }
    Some(address)
}

/// The subnets of a load balancer: the first that suits in each zone. A public one stands in utility
/// subnets, else public ones; an internal one in private subnets, else public ones.
pub(super) fn one_per_zone(network: &Network, scheme: Scheme) -> Vec<String> {
    let preference = match scheme {
        Scheme::Public => [SubnetType::Utility, SubnetType::Public],
        Scheme::Internal => [SubnetType::Private, SubnetType::Public],
    };
    let mut zones: Vec<&str> = Vec::new();
    for subnet in &network.subnets {
        if !zones.contains(&subnet.zone.as_str()) {
            zones.push(&subnet.zone);
        }
    }
    let in_zone = |zone: &&str| {
        let of = |kind| network.subnets.iter().find(|subnet| subnet.zone == **zone && subnet.kind == kind);
        preference.iter().find_map(|kind| of(*kind)).map(|subnet| subnet.name.clone())
    };
    zones.iter().filter_map(in_zone).collect()
}
