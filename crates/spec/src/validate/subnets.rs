//! Subnets: each for itself, and among each other.

use ipnet::Ipv4Net;

use super::check::Check;
use super::network::DEFAULT_NETWORK;
use super::{Scope, syntax, value};
use crate::cluster::{AdditionalRoute, Egress, NatAddress, RouteTarget, Subnet, SubnetOrigin, SubnetType};
use crate::schema::cluster::{RouteSpec, SubnetSpec, SubnetTypeSpec};
use crate::source::{Located, Place};
use crate::suggest;

/// A subnet, and where its range stands.
pub(super) struct SubnetDraft {
    pub(super) subnet: Subnet,
    /// Where its name stands, or the subnet itself when it has none.
    pub(super) place: Place,
    zone_place: Option<Place>,
    pub(super) cidr: Option<Located<Ipv4Net>>,
    egress_place: Place,
}

/// The subnets of the spec, each for itself and among each other.
pub(super) fn subnets(scope: &Scope<'_>, check: &mut Check) -> Vec<SubnetDraft> {
    let Some(list) = scope.spec.subnets.as_ref().filter(|list| !list.value.is_empty()) else {
        let place = scope.spec.subnets.as_ref().map_or(scope.spec_place, |list| &list.place);
        check.lacking(place, "subnets", "the cluster has no subnet", "add at least one to `spec.subnets`");
        return Vec::new();
    };
    check.unique("subnet", list.value.iter().filter_map(|subnet| subnet.value.name.as_ref()));
    check.unique("subnet id", list.value.iter().filter_map(|subnet| subnet.value.id.as_ref()));
    let drafts: Vec<SubnetDraft> = list.value.iter().map(|spec| subnet(spec, check)).collect();
    shared_or_not(scope, &drafts, check);
    overlaps(&drafts, check);
    nat_gateways(&drafts, check);
    drafts
}

fn subnet(spec: &Located<SubnetSpec>, check: &mut Check) -> SubnetDraft {
    let Located { value: fields, place } = spec;
    let name = value(fields.name.as_ref()).unwrap_or_default();
    match &fields.name {
        Some(field) if !syntax::is_dns_name(&name) => {
            let title = format!("subnet name `{name}` is not possible");
            check.hinted(&field.place, title, "lower-case letters, digits, `-` and dots");
        }
        Some(_) => {}
        None => check.missing(place, "name"),
    }
    if fields.subnet_type.is_none() {
        let hint = "one of `Public`, `Private`, `Utility`";
        check.lacking(place, "type", format!("subnet `{name}` has no `type`"), hint);
    }
    let kind = match fields.subnet_type.as_ref().map(|kind| kind.value) {
        Some(SubnetTypeSpec::Private) => SubnetType::Private,
        Some(SubnetTypeSpec::Utility) => SubnetType::Utility,
        Some(SubnetTypeSpec::Public) | None => SubnetType::Public,
    };
    let cidr = fields.cidr.as_ref().and_then(|cidr| Some(cidr.with(subnet_cidr(cidr, check)?)));
    let origin = origin(fields, cidr.as_ref(), place, check);
    SubnetDraft {
        subnet: Subnet {
            zone: zone(fields, place, &name, check),
            egress: egress(fields, kind, check),
            additional_routes: routes(fields, kind, check),
            name,
            kind,
            origin,
        },
        place: fields.name.as_ref().map_or(place, |name| &name.place).clone(),
        zone_place: fields.zone.as_ref().map(|zone| zone.place.clone()),
        egress_place: fields
            .egress
            .as_ref()
            .or(fields.public_ip.as_ref())
            .map_or(place, |egress| &egress.place)
            .clone(),
        cidr,
    }
}

fn origin(
    fields: &SubnetSpec,
    cidr: Option<&Located<Ipv4Net>>,
    place: &Place,
    check: &mut Check,
) -> SubnetOrigin {
    let cidr = cidr.map(|cidr| cidr.value);
    if let Some(id) = syntax::id(fields.id.as_ref(), "subnet-", "a subnet", check) {
        return SubnetOrigin::Shared { id, cidr };
    }
    if fields.cidr.is_none() {
        let title = match &fields.name {
            Some(name) => format!("subnet `{}` has no `cidr`", name.value),
            None => "the subnet has no `cidr`".to_owned(),
        };
        let hint = "give it a part of the VPC's range, or the `id` of a subnet of your own";
        check.lacking(place, "cidr", title, hint);
    }
    SubnetOrigin::Managed { cidr: cidr.unwrap_or(DEFAULT_NETWORK) }
}

/// AWS makes subnets from /28 to /16.
fn subnet_cidr(field: &Located<String>, check: &mut Check) -> Option<Ipv4Net> {
    let net = syntax::cidr4(field, check)?;
    if !(16..=28).contains(&net.prefix_len()) {
        check.hinted(
            &field.place,
            format!("a subnet cannot be a /{}", net.prefix_len()),
            "AWS allows /16 to /28",
        );
    }
    Some(net)
}

fn zone(fields: &SubnetSpec, place: &Place, name: &str, check: &mut Check) -> String {
    let Some(zone) = &fields.zone else {
        check.lacking(
            place,
            "zone",
            format!("subnet `{name}` has no `zone`"),
            "name its zone, as in `eu-north-1a`",
        );
        return String::new();
    };
    if syntax::is_region(&zone.value) {
        let title = format!("`{}` is a region, not a zone", zone.value);
        check.hinted(&zone.place, title, format!("add the zone's letter, as in `{}a`", zone.value));
    } else if syntax::region_of(&zone.value).is_none() {
        let title = format!("`{}` is not a zone", zone.value);
        check.hinted(&zone.place, title, "write it as AWS does, as in `eu-north-1a`");
    }
    zone.value.clone()
}

fn egress(fields: &SubnetSpec, kind: SubnetType, check: &mut Check) -> Egress {
    let is_private = kind == SubnetType::Private;
    for field in [fields.egress.as_ref(), fields.public_ip.as_ref()].into_iter().flatten() {
        if !is_private && field.value != "External" {
            check.hinted(&field.place, "only private subnets have an egress of their own", "leave it out");
        }
    }
    let egress = fields.egress.as_ref().map_or("", |egress| &egress.value);
    if let (Some(address), true) = (&fields.public_ip, !egress.is_empty()) {
        check.hinted(&address.place, "`publicIP` and `egress` exclude each other", "keep one of them");
    }
    let id = || egress.to_owned();
    match egress {
        "" if !is_private => Egress::InternetGateway,
        "" => Egress::NatGateway { address: nat_address(fields, check) },
        "External" => Egress::External,
        _ if syntax::is_id(egress, "nat-") => Egress::ExistingNatGateway { id: id() },
        _ if syntax::is_id(egress, "eipalloc-") => {
            Egress::NatGateway { address: NatAddress::ExistingAllocation { id: id() } }
        }
        _ if syntax::is_id(egress, "i-") => Egress::Instance { id: id() },
        _ if syntax::is_id(egress, "tgw-") => Egress::TransitGateway { id: id() },
        _ => {
            if let Some(field) = &fields.egress {
                let hint = "one of `nat-...`, `eipalloc-...`, `i-...`, `tgw-...`, `External`";
                check.hinted(&field.place, format!("unknown egress `{egress}`"), hint);
            }
            Egress::External
        }
    }
}

fn nat_address(fields: &SubnetSpec, check: &mut Check) -> NatAddress {
    let Some(field) = &fields.public_ip else {
        return NatAddress::Allocated;
    };
    let Ok(address) = field.value.parse() else {
        check.error(&field.place, format!("`{}` is not an IPv4 address", field.value));
        return NatAddress::Allocated;
    };
    NatAddress::ExistingAddress { address }
}

fn routes(fields: &SubnetSpec, kind: SubnetType, check: &mut Check) -> Vec<AdditionalRoute> {
    let Some(list) = &fields.additional_routes else { return Vec::new() };
    if kind != SubnetType::Private && !list.value.is_empty() {
        check.error(&list.place, "only private subnets have routes of their own");
    }
    check.unique("route to", list.value.iter().filter_map(|route| route.value.cidr.as_ref()));
    list.value.iter().filter_map(|spec| route(spec, check)).collect()
}

fn route(spec: &Located<RouteSpec>, check: &mut Check) -> Option<AdditionalRoute> {
    let (Some(cidr), Some(target)) = (&spec.value.cidr, &spec.value.target) else {
        let field = if spec.value.cidr.is_none() { "cidr" } else { "target" };
        check.missing(&spec.place, field);
        return None;
    };
    let Some(target) = route_target(&target.value) else {
        let hint = "one of `pcx-...`, `i-...`, `nat-...`, `tgw-...`, `igw-...`, `eigw-...`";
        check.hinted(&target.place, format!("unknown target `{}`", target.value), hint);
        return None;
    };
    Some(AdditionalRoute { cidr: syntax::cidr4(cidr, check)?, target })
}

fn route_target(id: &str) -> Option<RouteTarget> {
    let kind = match id.split_once('-')?.0 {
        "pcx" => RouteTarget::PeeringConnection,
        "i" => RouteTarget::Instance,
        "nat" => RouteTarget::NatGateway,
        "tgw" => RouteTarget::TransitGateway,
        "igw" => RouteTarget::InternetGateway,
        "eigw" => RouteTarget::EgressOnlyInternetGateway,
        _ => return None,
    };
    id.split_once('-')
        .filter(|(prefix, _)| syntax::is_id(id, &format!("{prefix}-")))
        .map(|_| kind(id.to_owned()))
}

/// Subnets of the user's own need the VPC's id, and cannot stand beside subnets of ours.
fn shared_or_not(scope: &Scope<'_>, drafts: &[SubnetDraft], check: &mut Check) {
    let is_shared = |draft: &SubnetDraft| matches!(draft.subnet.origin, SubnetOrigin::Shared { .. });
    let Some(shared) = drafts.iter().find(|draft| is_shared(draft)) else { return };
    if scope.spec.network_id.is_none() {
        let title = format!("subnet `{}` has an `id`, but the VPC has none", shared.subnet.name);
        check.hinted(&shared.place, title, "name the subnets' VPC in `spec.networkID`");
    }
    for draft in drafts.iter().filter(|draft| !is_shared(draft)) {
        let title = format!("subnet `{}` has no `id`, but `{}` has", draft.subnet.name, shared.subnet.name);
        check.hinted(&draft.place, title, "either all subnets are your own, or none is");
    }
}

fn overlaps(drafts: &[SubnetDraft], check: &mut Check) {
    for (index, draft) in drafts.iter().enumerate() {
        let Some(cidr) = &draft.cidr else { continue };
        for earlier in drafts.iter().take(index) {
            let Some(other) = &earlier.cidr else { continue };
            if syntax::overlap(cidr.value, other.value) {
                let title = format!(
                    "subnet `{}` ({}) overlaps subnet `{}` ({})",
                    draft.subnet.name, cidr.value, earlier.subnet.name, other.value
                );
                check.hinted(
                    &cidr.place,
                    title,
                    format!("the other one is at {}", other.place.seen_from(&cidr.place)),
                );
            }
        }
    }
}

/// The private subnets of a zone share a route table, and their NAT gateway needs a subnet with a
/// way out in the same zone.
fn nat_gateways(drafts: &[SubnetDraft], check: &mut Check) {
    let private = |draft: &&SubnetDraft| {
        draft.subnet.kind == SubnetType::Private
            && matches!(draft.subnet.origin, SubnetOrigin::Managed { .. })
    };
    for (index, draft) in drafts.iter().enumerate().filter(|(_, draft)| private(draft)) {
        let Subnet { name, zone, egress, .. } = &draft.subnet;
        let earlier = drafts.iter().take(index).filter(private).find(|other| other.subnet.zone == *zone);
        if let Some(other) = earlier {
            if other.subnet.egress != *egress {
                let title = format!(
                    "private subnets `{}` and `{name}` leave zone {zone} by different ways",
                    other.subnet.name
                );
                check.hinted(
                    &draft.egress_place,
                    title,
                    "they share a route table: give both the same `egress`",
                );
            }
            if other.subnet.additional_routes != draft.subnet.additional_routes {
                let title = format!(
                    "private subnets `{}` and `{name}` have different `additionalRoutes`",
                    other.subnet.name
                );
                check.hinted(
                    &draft.place,
                    title,
                    "they share the zone's route table: give both the same ones",
                );
            }
        }
        let has_way_out =
            drafts.iter().any(|other| other.subnet.zone == *zone && other.subnet.kind != SubnetType::Private);
        if matches!(egress, Egress::NatGateway { .. }) && !has_way_out && earlier.is_none() {
            let title = format!(
                "private subnet `{name}` has no way out: zone {zone} has no subnet for a NAT gateway"
            );
            check.hinted(
                &draft.place,
                title,
                format!("add a subnet of type `Utility` in {zone}, or an `egress`"),
            );
        }
    }
}

/// The region of the zones; all are in one.
pub(super) fn region(drafts: &[SubnetDraft], check: &mut Check) -> String {
    let mut first: Option<(String, &SubnetDraft)> = None;
    for draft in drafts {
        let (Some(region), Some(place)) = (syntax::region_of(&draft.subnet.zone), &draft.zone_place) else {
            continue;
        };
        match &first {
            Some((known, other)) if *known != region => {
                let title =
                    format!("zone {} is in another region than {}", draft.subnet.zone, other.subnet.zone);
                check.hinted(place, title, "a cluster is in one region");
            }
            Some(_) => {}
            None => first = Some((region, draft)),
        }
    }
    let Some((region, draft)) = first else { return String::new() };
    if let (false, Some(place)) = (syntax::REGIONS.contains(&region.as_str()), &draft.zone_place) {
        let hint = match suggest::nearest(&region, syntax::REGIONS.iter().copied()) {
            Some(nearest) => format!("did you mean a zone of `{nearest}`?"),
            None => "AWS will tell whether it exists".to_owned(),
        };
        check.warn(place, format!("no region `{region}` is known to this kcl"), hint);
    }
    region
}
