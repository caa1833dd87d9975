//! Which route table a subnet uses.

use aws_sdk_ec2::types;
use kcl_engine::{Attrs, LiveNode, Ref};
use kcl_model::resource;

use super::{Kind, Service};
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};

/// An association of that id is not there, be it that its subnet has one of another id.
const NO_ASSOCIATION: &str = "InvalidAssociationID.NotFound";

/// Subnets' uses of the cluster's route tables.
pub(crate) struct RouteTableAssociation;

impl Kind for RouteTableAssociation {
    type Resource = resource::RouteTableAssociation;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:route-table"];

    /// An association has no tags: those of table and subnet count, which are both the cluster's.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            ground.ec2_change(&["ec2:AssociateRouteTable", "ec2:ReplaceRouteTableAssociation"]),
            ground.ec2_delete(&["ec2:DisassociateRouteTable"]),
        ];
        ground.if_wanted::<resource::RouteTableAssociation>(manage.concat())
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let (tables, subnets) =
            futures::future::try_join(ec2::route_tables(scope), ec2::subnets(scope)).await?;
        let mut live = Vec::new();
        for table in tables {
            let Some(ours) = Ours::of(scope.cluster, table.route_table_id(), table.tags()) else { continue };
            for association in table.associations() {
                let Some((id, subnet)) = read(association) else { continue };
                let fields = resource::RouteTableAssociation {
                    subnet: Ref::id("subnet", "id", subnet),
                    route_table: Ref::id("route-table", "id", &ours.id),
                };
                let name = subnet_name(scope, subnets, subnet);
                live.push(LiveNode::new(name, &fields, ec2::attrs(id), ours.owner)?);
            }
        }
        Ok(live)
    }

    async fn create(aws: &Aws, _name: &str, want: &resource::RouteTableAssociation) -> Result<Attrs, Error> {
        let (subnet, table) = (want.subnet.value()?, want.route_table.value()?);
        let call = || async {
            let call = aws.ec2.associate_route_table().subnet_id(subnet).route_table_id(table);
            call.send().await.during("ec2:AssociateRouteTable")
        };
        match wait::retry(PROPAGATION, Error::is_not_found, call).await {
            Ok(answer) => {
                let id = ec2::required(answer.association_id(), "ec2:AssociateRouteTable", "id")?;
                Ok(ec2::attrs(id))
            }
            // The subnet has a table already, by somebody's hand or by an answer that was lost.
            Err(error) if error.is_code(&["Resource.AlreadyAssociated"]) => {
                let point = || async { point(aws, subnet, table).await?.ok_or_else(|| error.clone()) };
                // Just made, it may not be listed yet, or the one before it still.
                let unseen = |again: &Error| again.code == error.code || again.is_code(&[NO_ASSOCIATION]);
                wait::retry(PROPAGATION, unseen, point).await
            }
            Err(error) => Err(error),
        }
    }

    async fn update(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        _old: &resource::RouteTableAssociation,
        want: &resource::RouteTableAssociation,
    ) -> Result<Attrs, Error> {
        match replace(aws, ec2::id_of(live)?, want.route_table.value()?).await {
            // This very change gave it another id, and the answer was lost; or somebody else did.
            Err(error) if error.is_code(&[NO_ASSOCIATION]) => Self::create(aws, name, want).await,
            result => result,
        }
    }

    async fn delete(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        _old: &resource::RouteTableAssociation,
    ) -> Result<(), Error> {
        let call = aws.ec2.disassociate_route_table().association_id(ec2::id_of(live)?);
        match call.send().await.during("ec2:DisassociateRouteTable") {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// The association's id and subnet; `None` for a VPC's main table, a gateway, and what is gone already.
fn read(association: &types::RouteTableAssociation) -> Option<(&str, &str)> {
    let state = association.association_state().and_then(|state| state.state());
    let state = state.map(types::RouteTableAssociationStateCode::as_str);
    if matches!(state, Some("disassociating" | "disassociated" | "failed")) {
        return None;
    }
    Some((association.route_table_association_id()?, association.subnet_id()?))
}

/// What the subnet is called among our resources, whether it is ours or shared with us.
fn subnet_name(scope: &Scope<'_>, subnets: &[types::Subnet], id: &str) -> String {
    let is_it = |attrs: &Attrs| attrs.get("id").is_some_and(|shared| shared == id);
    let mut shared = scope.wanted.shared();
    if let Some((resource, _)) = shared.find(|(one, attrs)| one.kind.as_str() == "subnet" && is_it(attrs)) {
        return resource.name.clone();
    }
    let subnet = subnets.iter().find(|subnet| subnet.subnet_id() == Some(id));
    let name = subnet.and_then(|subnet| {
        let ours = Ours::of(scope.cluster, subnet.subnet_id(), subnet.tags())?;
        Some(ec2::subnet_name(scope, subnet, &ours))
    });
    name.unwrap_or_else(|| id.to_owned())
}

/// The subnet's association and its table.
async fn current(aws: &Aws, subnet: &str) -> Result<Option<(String, String)>, Error> {
    let call = aws.ec2.describe_route_tables().filters(ec2::filter("association.subnet-id", subnet));
    let answer = call.send().await.during("ec2:DescribeRouteTables")?;
    let mut associations = answer.route_tables().iter().flat_map(|table| {
        table.associations().iter().filter_map(|one| Some((read(one)?, table.route_table_id()?)))
    });
    let found = associations.find(|((_, of), _)| *of == subnet);
    Ok(found.map(|((id, _), table)| (id.to_owned(), table.to_owned())))
}

/// Points the association that the subnet has at a table, unless it leads there; `None` where it has none.
async fn point(aws: &Aws, subnet: &str, table: &str) -> Result<Option<Attrs>, Error> {
    match current(aws, subnet).await? {
        Some((id, current)) if current == table => Ok(Some(ec2::attrs(&id))),
        Some((id, _)) => replace(aws, &id, table).await.map(Some),
        None => Ok(None),
    }
}

/// Points an association at another table, which gives it another id.
async fn replace(aws: &Aws, id: &str, table: &str) -> Result<Attrs, Error> {
    let call = || async {
        let call = aws.ec2.replace_route_table_association().association_id(id).route_table_id(table);
        call.send().await.during("ec2:ReplaceRouteTableAssociation")
    };
    let table_is_new = |error: &Error| error.is_not_found() && !error.is_code(&[NO_ASSOCIATION]);
    let answer = wait::retry(PROPAGATION, table_is_new, call).await?;
    let id = ec2::required(answer.new_association_id(), "ec2:ReplaceRouteTableAssociation", "id")?;
    Ok(ec2::attrs(id))
}

#[cfg(test)]
mod tests {
    use kcl_model::resource::{RouteTable, RouteTableAssociation};

    use kcl_testkit::{Fault, Point, When};

    use crate::observe::Depth;
    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn another_table_that_somebody_chose_is_replaced() {
        let world = World::start().await;
        let mut wanted = testing::network("a");
        let table = RouteTable { vpc: testing::id("vpc", CLUSTER), tags: testing::tags(CLUSTER) };
        testing::add(&mut wanted, CLUSTER, &table);
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Deep).await;
        let physical = |kind: &str| {
            let node = live.iter().find(|node| node.id.kind.as_str() == kind).expect("it is there");
            node.attrs.get("id").expect("it has an id").clone()
        };
        let vpc = physical("vpc");
        let made =
            world.local.direct("ec2", "CreateRouteTable", &[("VpcId", &vpc)]).expect("a table of theirs");
        let theirs = made.value("routeTable/routeTableId");
        let params = [("RouteTableId", theirs), ("SubnetId", &physical("subnet"))];
        world.local.direct("ec2", "AssociateRouteTable", &params).expect("the subnet uses it");
        let name = format!("a.{CLUSTER}");
        let association = RouteTableAssociation {
            subnet: testing::id("subnet", &name),
            route_table: testing::id("route-table", CLUSTER),
        };
        testing::add(&mut wanted, &name, &association);
        world.reach(&wanted).await;
        world.local.direct("ec2", "DeleteRouteTable", &[("RouteTableId", theirs)]).expect("nothing uses it");
        world.remove().await;
    }

    /// The change is made, and its answer lost: the SDK's next try names an association that is no more.
    #[tokio::test]
    async fn an_association_is_known_by_its_subnet() {
        let world = World::start().await;
        let name = format!("a.{CLUSTER}");
        let network = |table: &str| {
            let mut wanted = testing::network("a");
            for name in [CLUSTER, &name] {
                let table = RouteTable { vpc: testing::id("vpc", CLUSTER), tags: testing::tags(name) };
                testing::add(&mut wanted, name, &table);
            }
            let association = RouteTableAssociation {
                subnet: testing::id("subnet", &name),
                route_table: testing::id("route-table", table),
            };
            testing::add(&mut wanted, &name, &association);
            wanted
        };
        world.reach(&network(CLUSTER)).await;
        let replace = "ReplaceRouteTableAssociation";
        let first = Point { service: "ec2".to_owned(), action: replace.to_owned(), nth: 1 };
        let strikes = world.local.inject(Fault::ResponseLost, When::At(first), 0);
        world.local.take_calls();
        world.reach(&network(&name)).await;
        assert_eq!(strikes.count(), 1);
        assert_eq!(world.local.count("ec2", replace), 2, "it is asked for no longer");
        world.remove().await;
    }
}
