//! VPC, subnets, and the ways in and out of them.
//!
//! One public route table for all public and utility subnets, one private one per zone with private subnets.
//! What the spec gives by id is used as it is; its routing is its owner's.

use std::collections::BTreeMap;

use kcl_engine::{Ref, Resource, ResourceId, Set};
use kcl_spec::cluster::{
    AdditionalRoute, Cluster, Egress, NatAddress, RouteTarget as GivenTarget, Subnet as SpecSubnet,
    SubnetOrigin, SubnetType, Vpc as SpecVpc,
};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::resource::{
    DhcpOptions, ElasticIp, Instance, InternetGateway, NatGateway, Route, RouteTable, RouteTableAssociation,
    RouteTarget, Subnet, Vpc,
};
use crate::{names, tags};

const ANYWHERE: &str = "0.0.0.0/0";
const ANYWHERE_V6: &str = "::/0";

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    vpc(builder)?;
    let cluster = builder.cluster;
    // Routing is ours only where at least one subnet is.
    let needs_routes = cluster.network.subnets.iter().any(|subnet| is_managed(subnet) && is_routed(subnet));
    if needs_routes {
        internet_gateway(builder)?;
        public_routes(builder)?;
    }
    for subnet in &cluster.network.subnets {
        add_subnet(builder, subnet)?;
    }
    for (zone, subnets) in private_subnets(cluster) {
        private_routes(builder, zone, &subnets)?;
    }
    for subnet in cluster.network.subnets.iter().filter(|subnet| is_managed(subnet) && is_routed(subnet)) {
        associate(builder, subnet)?;
    }
    Ok(())
}

fn is_managed(subnet: &SpecSubnet) -> bool {
    matches!(subnet.origin, SubnetOrigin::Managed { .. })
}

fn is_routed(subnet: &SpecSubnet) -> bool {
    subnet.egress != Egress::External
}

/// Private subnets whose routes are ours, by zone.
fn private_subnets(cluster: &Cluster) -> BTreeMap<&str, Vec<&SpecSubnet>> {
    let mut zones: BTreeMap<&str, Vec<&SpecSubnet>> = BTreeMap::new();
    let subnets = cluster.network.subnets.iter();
    for subnet in subnets.filter(|s| s.kind == SubnetType::Private && is_managed(s) && is_routed(s)) {
        zones.entry(&subnet.zone).or_default().push(subnet);
    }
    zones
}

fn vpc(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let (cluster, name) = (builder.cluster, builder.name());
    if let SpecVpc::Shared { id } = &cluster.network.vpc {
        builder.add_shared::<Vpc>(name, id);
        return Ok(());
    }
    // EC2 names machines by this domain; the oldest region's is different.
    let domain_name = match cluster.region.as_str() {
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    };
    let options = DhcpOptions {
        domain_name,
        domain_name_servers: vec!["AmazonProvidedDNS".to_owned()],
        tags: builder.tags(name),
    };
    builder.add(name, &options)?;
    let vpc = Vpc {
        cidr: cluster.network.cidr.to_string(),
        additional_cidrs: cluster
            .network
            .additional_cidrs
            .iter()
            .map(ToString::to_string)
            .collect::<Set<_>>(),
        amazon_ipv6: true,
        dns_support: true,
        dns_hostnames: true,
        dhcp_options: Some(Ref::to(DhcpOptions::SCHEMA.kind, name, "id")),
        tags: builder.tags(name),
    };
    builder.add(name, &vpc)?;
    Ok(())
}

fn internet_gateway(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let name = builder.name();
    let SpecVpc::Shared { id } = &builder.cluster.network.vpc else {
        let gateway = InternetGateway { vpc: Some(builder.vpc()), tags: builder.tags(name) };
        builder.add(name, &gateway)?;
        return Ok(());
    };
    let Some(vpc) = builder.facts.vpc.as_ref().filter(|vpc| vpc.id == *id) else {
        return Err(ModelError::MissingFact { what: "VPC", name: id.clone() });
    };
    let Some(gateway) = &vpc.internet_gateway else {
        return Err(ModelError::NoInternetGateway { vpc: id.clone() });
    };
    builder.add_shared::<InternetGateway>(name, gateway);
    Ok(())
}

fn public_routes(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let name = builder.name();
    let table = RouteTable { vpc: builder.vpc(), tags: tags::route_table(builder.cluster, name, "public") };
    builder.add(name, &table)?;
    for destination in [ANYWHERE, ANYWHERE_V6] {
        let target = to_resource("gateway", Ref::to(InternetGateway::SCHEMA.kind, name, "id"));
        route(builder, name, destination.to_owned(), target)?;
    }
    Ok(())
}

fn add_subnet(builder: &mut Builder<'_>, spec: &SpecSubnet) -> Result<(), ModelError> {
    let name = names::subnet(&spec.name, builder.name());
    match &spec.origin {
        SubnetOrigin::Shared { id, .. } => {
            check_shared(builder, spec, id)?;
            builder.add_shared::<Subnet>(&name, id);
        }
        SubnetOrigin::Managed { cidr } => {
            let subnet = Subnet {
                vpc: builder.vpc(),
                cidr: cidr.to_string(),
                zone: spec.zone.clone(),
                ipv6_cidr: None,
                hostname_type: "resource-name".to_owned(),
                resource_name_dns_a: true,
                tags: tags::subnet(builder.cluster, spec, &name),
            };
            builder.add(name, &subnet)?;
        }
    }
    Ok(())
}

/// A shared subnet that lies elsewhere would fail much later, with machines half made.
fn check_shared(builder: &Builder<'_>, spec: &SpecSubnet, id: &str) -> Result<(), ModelError> {
    let Some(facts) = builder.facts.subnets.get(id) else {
        return Err(ModelError::MissingFact { what: "subnet", name: id.to_owned() });
    };
    let mismatch = |found: &str, wanted: &str| ModelError::SubnetMismatch {
        id: id.to_owned(),
        name: spec.name.clone(),
        found: found.to_owned(),
        wanted: wanted.to_owned(),
    };
    if facts.zone != spec.zone {
        return Err(mismatch(&facts.zone, &spec.zone));
    }
    match &builder.cluster.network.vpc {
        SpecVpc::Shared { id: vpc } if facts.vpc != *vpc => Err(mismatch(&facts.vpc, vpc)),
        _ => Ok(()),
    }
}

fn private_routes(builder: &mut Builder<'_>, zone: &str, subnets: &[&SpecSubnet]) -> Result<(), ModelError> {
    let name = names::private_route_table(zone, builder.name());
    let role = format!("private-{zone}");
    let table = RouteTable { vpc: builder.vpc(), tags: tags::route_table(builder.cluster, &name, &role) };
    builder.add(&name, &table)?;
    // The spec allows one egress a zone, and the same further routes: they share this table.
    let Some(first) = subnets.first() else { return Ok(()) };
    let target = match &first.egress {
        Egress::NatGateway { address } => {
            Some(to_resource("nat-gateway", nat_gateway(builder, zone, address)?))
        }
        Egress::ExistingNatGateway { id } => Some(to_given("nat-gateway", NatGateway::SCHEMA.kind, id)),
        Egress::Instance { id } => Some(to_given("instance", Instance::SCHEMA.kind, id)),
        Egress::TransitGateway { id } => Some(to_given("transit-gateway", "transit-gateway", id)),
        Egress::InternetGateway => {
            Some(to_resource("gateway", Ref::to(InternetGateway::SCHEMA.kind, builder.name(), "id")))
        }
        Egress::External => None,
    };
    if let Some(target) = target {
        route(builder, &name, ANYWHERE.to_owned(), target)?;
    }
    let further: BTreeMap<String, &AdditionalRoute> = subnets
        .iter()
        .flat_map(|subnet| &subnet.additional_routes)
        .map(|route| (route.cidr.to_string(), route))
        .collect();
    for (destination, additional) in further {
        route(builder, &name, destination, given_target(&additional.target))?;
    }
    Ok(())
}

/// The zone's NAT gateway, in its utility (else public) subnet.
fn nat_gateway(builder: &mut Builder<'_>, zone: &str, address: &NatAddress) -> Result<Ref, ModelError> {
    let name = names::nat_gateway(zone, builder.name());
    let Some(place) = public_subnet(builder.cluster, zone) else {
        return Err(ModelError::NoPlaceForNat { zone: zone.to_owned() });
    };
    let elastic_ip = match address {
        NatAddress::Allocated => {
            let address = ElasticIp { tags: builder.tags(&name) };
            builder.add(&name, &address)?;
            Ref::to(ElasticIp::SCHEMA.kind, &name, "id")
        }
        NatAddress::ExistingAllocation { id } => Ref::id(ElasticIp::SCHEMA.kind, "id", id),
        NatAddress::ExistingAddress { address } => {
            let Some(id) = builder.facts.addresses.get(address) else {
                return Err(ModelError::MissingFact { what: "Elastic IP", name: address.to_string() });
            };
            Ref::id(ElasticIp::SCHEMA.kind, "id", id)
        }
    };
    let gateway = NatGateway { subnet: builder.subnet(&place.name), elastic_ip, tags: builder.tags(&name) };
    let id = builder.add(&name, &gateway)?;
    // EC2 refuses a NAT gateway in a VPC that has no internet gateway yet.
    if let Some(internet_gateway) = builder.own_internet_gateway() {
        builder.order(&id, internet_gateway);
    }
    Ok(Ref::to(NatGateway::SCHEMA.kind, name, "id"))
}

/// The subnet of a zone for what has a public address and is no machine: the utility one, else a public one.
pub(crate) fn public_subnet<'a>(cluster: &'a Cluster, zone: &str) -> Option<&'a SpecSubnet> {
    let of_kind = |kind| {
        let mut subnets = cluster.network.subnets.iter();
        subnets.find(|subnet| subnet.zone == zone && subnet.kind == kind)
    };
    of_kind(SubnetType::Utility).or_else(|| of_kind(SubnetType::Public))
}

fn associate(builder: &mut Builder<'_>, spec: &SpecSubnet) -> Result<(), ModelError> {
    let table = match spec.kind {
        SubnetType::Private => names::private_route_table(&spec.zone, builder.name()),
        SubnetType::Public | SubnetType::Utility => builder.name().to_owned(),
    };
    let association = RouteTableAssociation {
        subnet: builder.subnet(&spec.name),
        route_table: Ref::to(RouteTable::SCHEMA.kind, &table, "id"),
    };
    let id = builder.add(names::subnet(&spec.name, builder.name()), &association)?;
    let default_route = ResourceId::new(Route::SCHEMA.kind, route_name(&table, ANYWHERE));
    let default_route = builder.has(&default_route).then_some(default_route);
    builder.egress.insert(spec.name.clone(), default_route.into_iter().chain([id]).collect());
    Ok(())
}

fn route_name(table: &str, destination: &str) -> String {
    format!("{table} {destination}")
}

fn route(
    builder: &mut Builder<'_>,
    table: &str,
    destination: String,
    target: RouteTarget,
) -> Result<(), ModelError> {
    let name = route_name(table, &destination);
    let route = Route { route_table: Ref::to(RouteTable::SCHEMA.kind, table, "id"), destination, target };
    builder.add(name, &route)?;
    Ok(())
}

fn to_resource(target_type: &str, target: Ref) -> RouteTarget {
    RouteTarget { target_type: target_type.to_owned(), target }
}

/// A target of the user's own.
fn to_given(target_type: &str, kind: &'static str, id: &str) -> RouteTarget {
    to_resource(target_type, Ref::id(kind, "id", id))
}

fn given_target(target: &GivenTarget) -> RouteTarget {
    match target {
        GivenTarget::PeeringConnection(id) => to_given("peering-connection", "peering-connection", id),
        GivenTarget::Instance(id) => to_given("instance", Instance::SCHEMA.kind, id),
        GivenTarget::NatGateway(id) => to_given("nat-gateway", NatGateway::SCHEMA.kind, id),
        GivenTarget::TransitGateway(id) => to_given("transit-gateway", "transit-gateway", id),
        GivenTarget::InternetGateway(id) => to_given("gateway", InternetGateway::SCHEMA.kind, id),
        GivenTarget::EgressOnlyInternetGateway(id) => {
            to_given("egress-only-internet-gateway", "egress-only-internet-gateway", id)
        }
    }
}
