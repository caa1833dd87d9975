//! Routes.

use std::future::Future;

use aws_sdk_ec2::types::{self, RouteOrigin};
use kcl_engine::{Attrs, LiveNode, Owner, Ref};
use kcl_model::resource::{self, RouteTarget};

use super::{Kind, Service, nat_gateway};
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};

/// Routes that somebody made; not those that a VPC has by itself or learns from a VPN.
pub(crate) struct Route;

impl Kind for Route {
    type Resource = resource::Route;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:route-table"];

    /// A route has no tags: its table's count.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            ground.ec2_change(&["ec2:CreateRoute", "ec2:ReplaceRoute"]),
            ground.ec2_delete(&["ec2:DeleteRoute"]),
        ];
        ground.if_wanted::<resource::Route>(manage.concat())
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let wanted = scope.wanted_names("route");
        let mut live = Vec::new();
        let tables = ec2::route_tables(scope).await?;
        let names = ec2::route_table_names(scope, tables);
        for table in tables {
            let Some(ours) = Ours::of(scope.cluster, table.route_table_id(), table.tags()) else { continue };
            for route in table.routes() {
                let Some(fields) = read(&ours.id, route) else { continue };
                let table = names.get(&ours.id).unwrap_or(&ours.id);
                let name = format!("{table} {}", fields.destination);
                let is_wanted = wanted.contains(&name.as_str());
                let by_controller = !is_wanted && leads_to_pods(&fields);
                let owner = if by_controller { Owner::Controller } else { ours.owner };
                live.push(LiveNode::new(name, &fields, Attrs::new(), owner)?);
            }
        }
        Ok(live)
    }

    async fn create(aws: &Aws, _name: &str, want: &resource::Route) -> Result<Attrs, Error> {
        match once_target_is_known(aws, want, || create(aws, want)).await {
            // A destination has one route: this one becomes ours.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                once_target_is_known(aws, want, || replace(aws, want)).await?;
            }
            result => result?,
        }
        Ok(Attrs::new())
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        _live: &Attrs,
        _old: &resource::Route,
        want: &resource::Route,
    ) -> Result<Attrs, Error> {
        once_target_is_known(aws, want, || replace(aws, want)).await?;
        Ok(Attrs::new())
    }

    async fn delete(aws: &Aws, _name: &str, _live: &Attrs, old: &resource::Route) -> Result<(), Error> {
        let to = Destination::of(&old.destination);
        let call = aws.ec2.delete_route().route_table_id(old.route_table.value()?);
        let call = call.set_destination_cidr_block(to.v4).set_destination_ipv6_cidr_block(to.v6);
        match call.set_destination_prefix_list_id(to.prefix_list).send().await.during("ec2:DeleteRoute") {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// The request's parameter for a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Destination {
    v4: Option<String>,
    v6: Option<String>,
    prefix_list: Option<String>,
}

impl Destination {
    fn of(destination: &str) -> Self {
        let destination = destination.to_owned();
        if destination.starts_with("pl-") {
            Self { prefix_list: Some(destination), ..Self::default() }
        } else if destination.contains(':') {
            Self { v6: Some(destination), ..Self::default() }
        } else {
            Self { v4: Some(destination), ..Self::default() }
        }
    }
}

/// A route that somebody made; `None` for any other.
fn read(table: &str, route: &types::Route) -> Option<resource::Route> {
    let by_itself = matches!(
        route.origin(),
        Some(
            RouteOrigin::CreateRouteTable
                | RouteOrigin::EnableVgwRoutePropagation
                | RouteOrigin::Advertisement
        )
    );
    let is_local = route.gateway_id() == Some("local");
    let gateway_endpoint = route.destination_prefix_list_id().is_some()
        && route.gateway_id().is_some_and(|id| id.starts_with("vpce-"));
    if by_itself || is_local || gateway_endpoint {
        return None;
    }
    let destination = route
        .destination_cidr_block()
        .or(route.destination_ipv6_cidr_block())
        .or(route.destination_prefix_list_id())?;
    Some(resource::Route {
        route_table: Ref::id("route-table", "id", table),
        destination: destination.to_owned(),
        target: target(route),
    })
}

fn target(route: &types::Route) -> RouteTarget {
    let is_endpoint = |id: &&str| id.starts_with("vpce-");
    // The interface of a machine is told together with the machine, which comes first.
    let targets = [
        ("vpc-endpoint", "vpc-endpoint", route.gateway_id().filter(is_endpoint)),
        ("gateway", "internet-gateway", route.gateway_id()),
        ("nat-gateway", "nat-gateway", route.nat_gateway_id()),
        ("instance", "instance", route.instance_id()),
        ("network-interface", "network-interface", route.network_interface_id()),
        ("transit-gateway", "transit-gateway", route.transit_gateway_id()),
        (
            "egress-only-internet-gateway",
            "egress-only-internet-gateway",
            route.egress_only_internet_gateway_id(),
        ),
        ("peering-connection", "peering-connection", route.vpc_peering_connection_id()),
        ("other", "other", route.local_gateway_id()),
        ("other", "other", route.carrier_gateway_id()),
        ("other", "other", route.core_network_arn()),
    ];
    let found = targets.into_iter().find_map(|(name, kind, id)| Some((name, kind, id?)));
    let (target_type, kind, id) = found.unwrap_or(("other", "other", ""));
    RouteTarget { target_type: target_type.to_owned(), target: Ref::id(kind, "id", id) }
}

/// Whether a route is like those that the cloud controller makes: to a machine, for its pods. A route for
/// everything is somebody's NAT.
fn leads_to_pods(route: &resource::Route) -> bool {
    let to_machine = ["instance", "network-interface"].contains(&route.target.target_type.as_str());
    to_machine && !route.destination.ends_with("/0")
}

/// The target, if it is given by this parameter.
fn given_as(want: &resource::Route, parameter: &str) -> Result<Option<String>, Error> {
    if want.target.target_type != parameter {
        return Ok(None);
    }
    Ok(Some(want.target.target.value()?.to_owned()))
}

/// Runs `change`, again where that helps: what this run has made may not be known yet, and a NAT gateway that an
/// earlier one left behind cannot be led to before it is available.
async fn once_target_is_known<F>(
    aws: &Aws,
    want: &resource::Route,
    change: impl Fn() -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let error = match wait::retry(PROPAGATION, |error| aws.is_not_known_yet(error), &change).await {
        Err(error) if error.is_not_found() => error,
        result => return result,
    };
    let gateway = given_as(want, "nat-gateway")?.filter(|id| error.message.contains(id.as_str()));
    let Some(gateway) = gateway else { return Err(error) };
    if !nat_gateway::is_available_in_time(aws, &gateway).await? {
        return Err(error);
    }
    wait::retry(PROPAGATION, Error::is_not_found, change).await
}

fn check(want: &resource::Route, action: &str) -> Result<(), Error> {
    if want.target.target_type != "other" {
        return Ok(());
    }
    let message = format!("kcl cannot make a route to {}", want.target.target.value()?);
    Err(Error::new(ErrorKind::Refused, action, message))
}

async fn create(aws: &Aws, want: &resource::Route) -> Result<(), Error> {
    check(want, "ec2:CreateRoute")?;
    let to = Destination::of(&want.destination);
    let call = aws.ec2.create_route().route_table_id(want.route_table.value()?);
    let call = call.set_destination_cidr_block(to.v4).set_destination_ipv6_cidr_block(to.v6);
    let call = call.set_destination_prefix_list_id(to.prefix_list);
    let call = call.set_gateway_id(given_as(want, "gateway")?);
    let call = call.set_nat_gateway_id(given_as(want, "nat-gateway")?);
    let call = call.set_instance_id(given_as(want, "instance")?);
    let call = call.set_network_interface_id(given_as(want, "network-interface")?);
    let call = call.set_transit_gateway_id(given_as(want, "transit-gateway")?);
    let call = call.set_egress_only_internet_gateway_id(given_as(want, "egress-only-internet-gateway")?);
    let call = call.set_vpc_peering_connection_id(given_as(want, "peering-connection")?);
    let call = call.set_vpc_endpoint_id(given_as(want, "vpc-endpoint")?);
    call.send().await.during("ec2:CreateRoute")?;
    Ok(())
}

async fn replace(aws: &Aws, want: &resource::Route) -> Result<(), Error> {
    check(want, "ec2:ReplaceRoute")?;
    let to = Destination::of(&want.destination);
    let call = aws.ec2.replace_route().route_table_id(want.route_table.value()?);
    let call = call.set_destination_cidr_block(to.v4).set_destination_ipv6_cidr_block(to.v6);
    let call = call.set_destination_prefix_list_id(to.prefix_list);
    let call = call.set_gateway_id(given_as(want, "gateway")?);
    let call = call.set_nat_gateway_id(given_as(want, "nat-gateway")?);
    let call = call.set_instance_id(given_as(want, "instance")?);
    let call = call.set_network_interface_id(given_as(want, "network-interface")?);
    let call = call.set_transit_gateway_id(given_as(want, "transit-gateway")?);
    let call = call.set_egress_only_internet_gateway_id(given_as(want, "egress-only-internet-gateway")?);
    let call = call.set_vpc_peering_connection_id(given_as(want, "peering-connection")?);
    let call = call.set_vpc_endpoint_id(given_as(want, "vpc-endpoint")?);
    match call.send().await.during("ec2:ReplaceRoute") {
        // It went in the meantime. `InvalidParameterValue`: "There is no route defined for ...".
        Err(error)
            if error.is_code(&["InvalidRoute.NotFound"])
                || error.message.contains("There is no route defined") =>
        {
            create(aws, want).await
        }
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> types::builders::RouteBuilder {
        types::Route::builder().destination_cidr_block("10.0.0.0/8").origin(RouteOrigin::CreateRoute)
    }

    #[test]
    fn targets() {
        let read = |route: types::builders::RouteBuilder| {
            read("rtb-1", &route.build()).map(|route| route.target.target_type)
        };
        assert_eq!(read(route().gateway_id("igw-1")).as_deref(), Some("gateway"));
        assert_eq!(read(route().gateway_id("vpce-1")).as_deref(), Some("vpc-endpoint"));
        assert_eq!(
            read(route().instance_id("i-1").network_interface_id("eni-1")).as_deref(),
            Some("instance")
        );
        assert_eq!(read(route().transit_gateway_id("tgw-1")).as_deref(), Some("transit-gateway"));
        assert_eq!(read(route().core_network_arn("arn:aws:x")).as_deref(), Some("other"));
        assert_eq!(read(route().gateway_id("local")), None);
        assert_eq!(read(route().gateway_id("vgw-1").origin(RouteOrigin::EnableVgwRoutePropagation)), None);
    }

    #[test]
    fn destinations() {
        assert_eq!(Destination::of("::/0").v6.as_deref(), Some("::/0"));
        assert_eq!(Destination::of("10.0.0.0/8").v4.as_deref(), Some("10.0.0.0/8"));
        assert_eq!(Destination::of("pl-1").prefix_list.as_deref(), Some("pl-1"));
    }
}
