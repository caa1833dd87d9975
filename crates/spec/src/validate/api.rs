//! How the API server is reached.

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
    let name = |field: Option<&Located<String>>, prefix: &str, check: &mut Check| match field {
        Some(field) => {
            if !syntax::is_dns_name(&field.value) {
                check.error(&field.place, format!("`{}` is not a DNS name", field.value));
            }
            field.value.clone()
        }
        None => format!("{prefix}.{}", scope.name),
    };
    let sans = scope.spec.additional_sans.as_ref().map_or(&[][..], |list| &list.value);
    Api {
        public_name: name(scope.spec.master_public_name.as_ref(), "api", check),
        internal_name: name(scope.spec.master_internal_name.as_ref(), "api.internal", check),
        port: if is_shared { 6443 } else { 443 },
        access,
        additional_sans: sans.iter().map(|san| san.value.clone()).collect(),
        load_balancer,
    }
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
    let by_dns = api.is_some_and(|api| api.dns.is_some());
    let by_default =
        !by_dns && (network.control_plane_topology == Topology::Private || network.dns == DnsType::None);
    let empty = ApiLoadBalancerSpec::default();
    let (spec, place) = match written {
        Some(written) => (&written.value, &written.place),
        None if by_default => (&empty, scope.spec_place),
        None => return None,
    };
    if let Some(class) = spec.class.as_ref().filter(|class| class.value == LoadBalancerClass::Classic) {
        check.hinted(&class.place, "classic load balancers are not supported", "use `class: Network`");
    }
    if let Some(field) = &spec.security_group_override {
        let hint = "use `additionalSecurityGroups`";
        check.hinted(&field.place, "a network load balancer has no `securityGroupOverride`", hint);
    }
    let scheme = match spec.scheme.as_ref().map(|scheme| scheme.value) {
        Some(LoadBalancerType::Public) => Scheme::Public,
        Some(LoadBalancerType::Internal) => Scheme::Internal,
        None => {
            if written.is_some() {
                check.lacking(
                    place,
                    "type",
                    "the API's load balancer has no `type`",
                    "`Public` or `Internal`",
                );
            }
            Scheme::Public
        }
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
    list.value.iter().filter_map(|item| subnet(item, scheme, network, check)).collect()
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
