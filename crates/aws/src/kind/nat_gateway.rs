//! NAT gateways.

use aws_sdk_ec2::types::{self, NatGatewayState, ResourceType};
use kcl_engine::{Attrs, LiveNode, Ref, Resource};
use kcl_model::resource;

use super::{Kind, Service};
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION, SLOW_RESOURCE};

/// NAT gateways.
pub(crate) struct NatGateway;

impl Kind for NatGateway {
    type Resource = resource::NatGateway;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:natgateway"];

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const CREATE: &str = "ec2:CreateNatGateway";
        let gateways = ground.all::<resource::NatGateway>();
        let given = gateways.iter().filter_map(|(_, gateway)| gateway.elastic_ip.value().ok());
        let given: Vec<String> = given.map(str::to_owned).collect();
        let manage = [
            ground.ec2_create(&[CREATE]),
            ground.ec2_within::<resource::Subnet>(CREATE, "subnet"),
            ground.ec2_within::<resource::ElasticIp>(CREATE, "elastic-ip"),
            ground.ec2_within_given(CREATE, "elastic-ip", given),
            ground.ec2_retag(),
            ground.ec2_delete(&["ec2:DeleteNatGateway"]),
        ];
        let read = Permission::read(&["ec2:DescribeNatGateways"]);
        [read, ground.if_wanted::<resource::NatGateway>(manage.concat())].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let call = scope.aws.ec2.describe_nat_gateways().filter(scope.ec2_filter());
        let gateways = call.into_paginator().items().send().try_collect().await;
        let gateways: Vec<types::NatGateway> = gateways.during("ec2:DescribeNatGateways")?;
        // One that failed goes by itself within an hour, and its address is free at once.
        let is_there = |gateway: &&types::NatGateway| {
            matches!(gateway.state(), Some(NatGatewayState::Pending | NatGatewayState::Available))
        };
        let live = gateways.iter().filter(is_there).filter_map(|gateway| {
            let ours = Ours::of(scope.cluster, gateway.nat_gateway_id(), gateway.tags())?;
            let live = resource::NatGateway {
                subnet: Ref::id("subnet", "id", gateway.subnet_id().unwrap_or_default()),
                elastic_ip: Ref::id("elastic-ip", "id", allocation(gateway)),
                tags: ours.tags.clone(),
            };
            Some(ours.live(ours.name(), &live))
        });
        live.collect()
    }

    async fn create(aws: &Aws, name: &str, want: &resource::NatGateway) -> Result<Attrs, Error> {
        let (subnet, address) = (want.subnet.value()?, want.elastic_ip.value()?);
        let token = aws.token(resource::NatGateway::SCHEMA.kind, name, want);
        let call = || async {
            let call = aws.ec2.create_nat_gateway().subnet_id(subnet).allocation_id(address);
            let call = call.client_token(&token);
            let call = call.tag_specifications(ec2::specification(ResourceType::Natgateway, &want.tags));
            call.send().await.during("ec2:CreateNatGateway")
        };
        let answer = wait::retry(PROPAGATION, |error| aws.is_not_known_yet(error), call).await?;
        let id = answer.nat_gateway().and_then(types::NatGateway::nat_gateway_id);
        let id = ec2::required(id, "ec2:CreateNatGateway", "NAT gateway id")?;
        let available = || available(aws, id);
        wait::until(SLOW_RESOURCE, "ec2:DescribeNatGateways", &until_what(id), available).await?;
        Ok(ec2::attrs(id))
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::NatGateway,
        want: &resource::NatGateway,
    ) -> Result<Attrs, Error> {
        ec2::retag(aws, ec2::id_of(live)?, &old.tags, &want.tags).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, _old: &resource::NatGateway) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = aws.ec2.delete_nat_gateway().nat_gateway_id(id);
        match call.send().await.during("ec2:DeleteNatGateway") {
            Err(error) if error.is_not_found() => return Ok(()),
            result => result?,
        };
        // Until it is gone its interface stays in the subnet, and its address in use.
        let gone = || async {
            let state = read(aws, id).await?.and_then(|gateway| gateway.state);
            Ok(matches!(state, None | Some(NatGatewayState::Deleted)).then_some(()))
        };
        let what = format!("the NAT gateway {id} to be deleted");
        wait::until(SLOW_RESOURCE, "ec2:DescribeNatGateways", &what, gone).await
    }
}

/// The allocation of its first address; further ones only add ports.
fn allocation(gateway: &types::NatGateway) -> &str {
    let addresses = gateway.nat_gateway_addresses();
    let primary = addresses.iter().find(|address| address.is_primary() == Some(true));
    primary.or(addresses.first()).and_then(|address| address.allocation_id()).unwrap_or_default()
}

async fn read(aws: &Aws, id: &str) -> Result<Option<types::NatGateway>, Error> {
    let call = aws.ec2.describe_nat_gateways().nat_gateway_ids(id);
    match call.send().await.during("ec2:DescribeNatGateways") {
        Ok(answer) => Ok(answer.nat_gateways.unwrap_or_default().into_iter().next()),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for a gateway that may have been made by a run that did not wait for it; false where there is none, or none
/// that will be of use.
pub(super) async fn is_available_in_time(aws: &Aws, id: &str) -> Result<bool, Error> {
    let usable = || async {
        let Some(gateway) = read(aws, id).await? else { return Ok(Some(false)) };
        match gateway.state() {
            Some(NatGatewayState::Pending) => Ok(None),
            Some(NatGatewayState::Failed) => Err(failure(id, &gateway, &NatGatewayState::Failed)),
            state => Ok(Some(state == Some(&NatGatewayState::Available))),
        }
    };
    wait::until(SLOW_RESOURCE, "ec2:DescribeNatGateways", &until_what(id), usable).await
}

fn until_what(id: &str) -> String {
    format!("the NAT gateway {id} to become available")
}

async fn available(aws: &Aws, id: &str) -> Result<Option<()>, Error> {
    // Just made, it may not be listed yet.
    let Some(gateway) = read(aws, id).await? else { return Ok(None) };
    match gateway.state() {
        Some(NatGatewayState::Available) => Ok(Some(())),
        Some(NatGatewayState::Pending) | None => Ok(None),
        Some(state) => Err(failure(id, &gateway, state)),
    }
}

/// Why a gateway will not be of use.
fn failure(id: &str, gateway: &types::NatGateway, state: &NatGatewayState) -> Error {
    let why = gateway.failure_message().unwrap_or_default();
    let message = format!("the NAT gateway {id} is {}: {why}", state.as_str());
    let error = Error::new(ErrorKind::Refused, "ec2:CreateNatGateway", message);
    Error { code: gateway.failure_code().map(str::to_owned), ..error }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_sdk_ec2::types::ResourceType;
    use kcl_engine::{Action, Ref, Wanted};
    use kcl_model::resource::{ElasticIp, NatGateway, Route, RouteTable, RouteTableAssociation, RouteTarget};

    use kcl_testkit::FrontConfig;

    use crate::client::Aws;
    use crate::refusals::Refusals;
    use crate::testing::{self, CLUSTER, World};

    /// With its address and the routes and tables that lead to it.
    fn wanted(tag: &str) -> Wanted {
        let mut wanted = testing::network("ab");
        let name = format!("a.{CLUSTER}");
        let tags = testing::tags_and(&name, "kcl.dev/x", tag);
        testing::add(&mut wanted, &name, &ElasticIp { tags: tags.clone() });
        let gateway = NatGateway {
            subnet: testing::id("subnet", &name),
            elastic_ip: testing::id("elastic-ip", &name),
            tags: tags.clone(),
        };
        testing::add(&mut wanted, &name, &gateway);
        let table = RouteTable { vpc: testing::id("vpc", CLUSTER), tags };
        testing::add(&mut wanted, &name, &table);
        wanted
    }

    fn route(wanted: &mut Wanted, target_type: &str, target: Ref) {
        let table = format!("a.{CLUSTER}");
        let route = Route {
            route_table: testing::id("route-table", &table),
            destination: "0.0.0.0/0".to_owned(),
            target: RouteTarget { target_type: target_type.to_owned(), target },
        };
        testing::add(wanted, &format!("{table} 0.0.0.0/0"), &route);
    }

    #[tokio::test]
    async fn lives_with_its_address_and_routes() {
        let world = World::slow().await;
        let name = format!("a.{CLUSTER}");
        let (mut first, mut second) = (wanted("1"), wanted("2"));
        route(&mut first, "nat-gateway", testing::id("nat-gateway", &name));
        route(&mut second, "gateway", testing::id("internet-gateway", CLUSTER));
        let subnet = format!("b.{CLUSTER}");
        let association = RouteTableAssociation {
            subnet: testing::id("subnet", &subnet),
            route_table: testing::id("route-table", &name),
        };
        testing::add(&mut first, &subnet, &association);
        testing::add(
            &mut second,
            CLUSTER,
            &RouteTable { vpc: testing::id("vpc", CLUSTER), tags: testing::tags(CLUSTER) },
        );
        let elsewhere =
            RouteTableAssociation { route_table: testing::id("route-table", CLUSTER), ..association };
        testing::add(&mut second, &subnet, &elsewhere);
        let done = world.round_trip(&first, &second).await;
        let expected = [
            (Action::Update, format!("elastic-ip/{name}")),
            (Action::Update, format!("nat-gateway/{name}")),
            (Action::Update, format!("route-table/{name}")),
            (Action::Create, format!("route-table/{CLUSTER}")),
            (Action::Update, format!("route/{name} 0.0.0.0/0")),
            (Action::Update, format!("route-table-association/{subnet}")),
        ];
        assert_eq!(done.iter().collect::<BTreeSet<_>>(), expected.iter().collect::<BTreeSet<_>>());
    }

    #[tokio::test]
    async fn its_address_waits_for_one_that_is_going_already() {
        let world = World::with(FrontConfig { nat_asks: 6, ..FrontConfig::instant() }).await;
        world.reach(&wanted("1")).await;
        // As a run that was killed leaves it: it is no longer listed, and holds its address.
        let gateways = world.local.direct("ec2", "DescribeNatGateways", &[]).expect("it is listed");
        let id = gateways.value("natGatewaySet/item/natGatewayId").to_owned();
        world.aws.ec2.delete_nat_gateway().nat_gateway_id(id).send().await.expect("it goes");
        world.local.take_calls();
        world.remove().await;
        let calls = world.local.calls();
        let releases = calls.iter().filter(|call| call.is("ec2", "ReleaseAddress"));
        let answers: Vec<_> = releases.map(|call| call.error_code.as_deref().unwrap_or("done")).collect();
        assert_eq!(answers.first().copied(), Some("AuthFailure"), "{answers:?}");
        assert!(answers.contains(&"done"), "{answers:?}");
        assert_eq!(world.local.unsupported(), Vec::<String>::new());
    }

    /// As a run that was killed leaves it: made, and not yet available.
    #[tokio::test]
    async fn a_route_waits_for_a_gateway_that_is_there_already() {
        let world = World::with(FrontConfig { nat_asks: 6, ..FrontConfig::instant() }).await;
        let name = format!("a.{CLUSTER}");
        let mut all = wanted("1");
        let mut first = testing::network("ab");
        let tags = testing::tags_and(&name, "kcl.dev/x", "1");
        testing::add(&mut first, &name, &ElasticIp { tags: tags.clone() });
        world.reach(&first).await;
        let value = |action: &str, path: &str| {
            let filter = [("Filter.1.Name", "tag:Name"), ("Filter.1.Value.1", name.as_str())];
            let answer = world.local.direct("ec2", action, &filter).expect("it is listed");
            answer.value(path).to_owned()
        };
        let killed = Aws::over(&testing::sdk_config(&world.local), Refusals::default()).await;
        let call = killed.expect("the local AWS answers").ec2.create_nat_gateway();
        let call = call.subnet_id(value("DescribeSubnets", "subnetSet/item/subnetId"));
        let call = call.allocation_id(value("DescribeAddresses", "addressesSet/item/allocationId"));
        let call = call.tag_specifications(crate::ec2::specification(ResourceType::Natgateway, &tags));
        call.send().await.expect("it is made");
        world.local.take_calls();
        route(&mut all, "nat-gateway", testing::id("nat-gateway", &name));
        world.reach(&all).await;
        let calls = world.local.calls();
        assert_eq!(calls.iter().filter(|call| call.is("ec2", "CreateNatGateway")).count(), 0);
        let routes = calls.iter().filter(|call| call.is("ec2", "CreateRoute"));
        let answers: Vec<_> = routes.map(|call| call.error_code.as_deref().unwrap_or("done")).collect();
        assert_eq!(answers, ["InvalidNatGatewayID.NotFound", "done"]);
    }

    #[tokio::test]
    async fn what_nobody_made_is_not_waited_for() {
        let world = World::start().await;
        world.reach(&testing::network("a")).await;
        let route = Route {
            route_table: Ref::id("route-table", "id", "rtb-0aaaaaaaaaaaaaaaa"),
            destination: "0.0.0.0/0".to_owned(),
            target: RouteTarget {
                target_type: "gateway".to_owned(),
                target: Ref::id("gateway", "id", "igw-0aaaaaaaaaaaaaaaa"),
            },
        };
        let made = <crate::kind::route::Route as crate::kind::Kind>::create(&world.aws, "r", &route).await;
        assert!(made.is_err_and(|error| error.is_not_found()));
        assert_eq!(world.local.count("ec2", "CreateRoute"), 1);
    }
}
