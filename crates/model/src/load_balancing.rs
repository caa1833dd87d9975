//! Network load balancers, their listeners and target groups: what API, bastion and ingress have in common.

use ipnet::IpNet;
use kcl_engine::{Ref, Resource};

use crate::builder::{Builder, given_groups, group_ref};
use crate::error::ModelError;
use crate::names;
use crate::resource::{AccessLog, HealthCheck, Listener, LoadBalancer, Protocol, TargetGroup};

/// What AWS takes for a TLS listener whose policy is not named; named here, so that it can be compared.
const DEFAULT_SSL_POLICY: &str = "ELBSecurityPolicy-2016-08";

/// A load balancer to be.
pub(crate) struct Balancer<'a> {
    /// `api`, `bastion`, `ingress`: its names begin with it.
    pub(crate) prefix: &'a str,
    /// It has private addresses only.
    pub(crate) internal: bool,
    /// Names of its subnets in the spec.
    pub(crate) subnets: Vec<&'a str>,
    /// Security groups of the user's own, beside `<prefix>-elb`.
    pub(crate) additional_security_groups: &'a [String],
    pub(crate) cross_zone: bool,
    pub(crate) access_log: Option<AccessLog>,
}

/// Adds a load balancer and its security group.
pub(crate) fn add(builder: &mut Builder<'_>, balancer: Balancer<'_>) -> Result<(), ModelError> {
    let prefix = balancer.prefix;
    let group = names::load_balancer_security_group(prefix, builder.name());
    builder.security_group(&group, &format!("Security group for {prefix} ELB"))?;
    let name = names::load_balancer(prefix, builder.name());
    let groups = [group_ref(&group)].into_iter().chain(given_groups(balancer.additional_security_groups));
    let resource = LoadBalancer {
        lb_name: names::load_balancer_in_aws(prefix, builder.name()),
        internal: balancer.internal,
        subnets: balancer.subnets.iter().map(|subnet| builder.subnet(subnet)).collect(),
        security_groups: groups.collect(),
        cross_zone: balancer.cross_zone,
        ip_address_type: "ipv4".to_owned(),
        access_log: balancer.access_log,
        tags: builder.tags(&name),
    };
    let id = builder.add(name, &resource)?;
    // An internet-facing one is refused in a VPC that has no internet gateway yet.
    if let Some(gateway) = builder.own_internet_gateway().filter(|_| !balancer.internal) {
        builder.order(&id, gateway);
    }
    Ok(())
}

/// Lets clients at `cidr` reach `ports` of the load balancer.
pub(crate) fn open(
    builder: &mut Builder<'_>,
    prefix: &str,
    ports: &[u16],
    cidr: &IpNet,
) -> Result<(), ModelError> {
    let group = names::load_balancer_security_group(prefix, builder.name());
    for port in ports {
        builder.allow_cidr(&group, Protocol::tcp(*port, *port), cidr)?;
    }
    builder.allow_path_mtu(&group, cidr)
}

/// Lets the load balancer reach `ports` of the machines in the group `machines`.
pub(crate) fn lead_to(
    builder: &mut Builder<'_>,
    prefix: &str,
    machines: &str,
    ports: &[u16],
) -> Result<(), ModelError> {
    let group = names::load_balancer_security_group(prefix, builder.name());
    for port in ports {
        builder.allow_group(machines, Protocol::tcp(*port, *port), &group)?;
    }
    builder.allow_group(machines, Protocol::icmp_fragmentation_needed(), &group)?;
    builder.allow_group(&group, Protocol::icmp_fragmentation_needed(), machines)
}

/// A target group to be.
pub(crate) struct Target {
    /// Its name begins with it.
    pub(crate) prefix: &'static str,
    /// The port on the machines.
    pub(crate) port: u16,
    /// `TCP` or `TLS`.
    pub(crate) protocol: &'static str,
    /// The path of a health check over HTTPS; none: a connection is enough.
    pub(crate) health_path: Option<&'static str>,
    pub(crate) proxy_protocol: bool,
}

impl Target {
    /// Plain TCP to `port`.
    pub(crate) fn tcp(prefix: &'static str, port: u16) -> Self {
        Self { prefix, port, protocol: "TCP", health_path: None, proxy_protocol: false }
    }
}

/// Adds a target group.
pub(crate) fn target_group(builder: &mut Builder<'_>, target: &Target) -> Result<(), ModelError> {
    let name = names::load_balancer_in_aws(target.prefix, builder.name());
    let group = TargetGroup {
        tg_name: name.clone(),
        vpc: builder.vpc(),
        port: target.port,
        protocol: target.protocol.to_owned(),
        health_check: HealthCheck {
            protocol: if target.health_path.is_some() { "HTTPS" } else { "TCP" }.to_owned(),
            port: "traffic-port".to_owned(),
            path: target.health_path.map(str::to_owned),
            interval: 10,
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        },
        deregistration_delay: 30,
        connection_termination: true,
        proxy_protocol: target.proxy_protocol,
        tags: builder.tags(&name),
    };
    builder.add(name, &group)?;
    Ok(())
}

/// The target group with that prefix.
pub(crate) fn target_ref(prefix: &str, cluster: &str) -> Ref {
    Ref::to(TargetGroup::SCHEMA.kind, names::load_balancer_in_aws(prefix, cluster), "arn")
}

/// TLS that ends at the load balancer.
pub(crate) struct Tls<'a> {
    /// The certificate's ARN.
    pub(crate) certificate: &'a str,
    /// The policy's name; none: AWS' default.
    pub(crate) policy: Option<&'a str>,
}

/// Adds a listener at `port` of the load balancer `prefix`, which forwards to the target group `target`.
pub(crate) fn listener(
    builder: &mut Builder<'_>,
    prefix: &str,
    port: u16,
    tls: Option<&Tls<'_>>,
    target: &str,
) -> Result<(), ModelError> {
    let balancer = names::load_balancer(prefix, builder.name());
    let name = names::listener(&balancer, port);
    let listener = Listener {
        load_balancer: Ref::to(LoadBalancer::SCHEMA.kind, balancer, "arn"),
        port,
        protocol: if tls.is_some() { "TLS" } else { "TCP" }.to_owned(),
        target_group: Some(target_ref(target, builder.name())),
        certificate: tls.map(|tls| tls.certificate.to_owned()),
        ssl_policy: tls.map(|tls| tls.policy.unwrap_or(DEFAULT_SSL_POLICY).to_owned()),
        tags: builder.tags(&name),
    };
    builder.add(name, &listener)?;
    Ok(())
}
