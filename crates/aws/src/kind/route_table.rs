//! Route tables.

use aws_sdk_ec2::types::{self, ResourceType};
use kcl_engine::{Attrs, LiveNode, Ref, Resource};
use kcl_model::resource;

use super::{Kind, Service};
use crate::blockers;
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};

/// Route tables. A VPC's main one has no tags and is not ours.
pub(crate) struct RouteTable;

impl Kind for RouteTable {
    type Resource = resource::RouteTable;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:route-table"];

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            ground.ec2_create(&["ec2:CreateRouteTable"]),
            ground.ec2_within::<resource::Vpc>("ec2:CreateRouteTable", "vpc"),
            ground.ec2_retag(),
            ground.ec2_delete(&["ec2:DeleteRouteTable"]),
        ];
        let read = Permission::read(&["ec2:DescribeRouteTables"]);
        [read, ground.if_wanted::<resource::RouteTable>(manage.concat())].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let tables = ec2::route_tables(scope).await?;
        let names = ec2::route_table_names(scope, tables);
        let live = tables.iter().filter_map(|table| {
            let ours = Ours::of(scope.cluster, table.route_table_id(), table.tags())?;
            let live = resource::RouteTable {
                vpc: Ref::id("vpc", "id", table.vpc_id().unwrap_or_default()),
                tags: ours.tags.clone(),
            };
            Some(ours.live(names.get(&ours.id)?, &live))
        });
        live.collect()
    }

    async fn create(aws: &Aws, name: &str, want: &resource::RouteTable) -> Result<Attrs, Error> {
        let vpc = want.vpc.value()?;
        let token = aws.token(resource::RouteTable::SCHEMA.kind, name, want);
        let call = || async {
            let call = aws.ec2.create_route_table().vpc_id(vpc).client_token(&token);
            let call = call.tag_specifications(ec2::specification(ResourceType::RouteTable, &want.tags));
            call.send().await.during("ec2:CreateRouteTable")
        };
        let answer = wait::retry(PROPAGATION, Error::is_not_found, call).await?;
        let id = answer.route_table().and_then(types::RouteTable::route_table_id);
        Ok(ec2::attrs(ec2::required(id, "ec2:CreateRouteTable", "route table id")?))
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::RouteTable,
        want: &resource::RouteTable,
    ) -> Result<Attrs, Error> {
        ec2::retag(aws, ec2::id_of(live)?, &old.tags, &want.tags).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, old: &resource::RouteTable) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            let call = aws.ec2.delete_route_table().route_table_id(id);
            call.send().await.during("ec2:DeleteRouteTable")?;
            Ok(())
        };
        blockers::delete(&aws.others, id, call, || {
            blockers::of_route_table(aws, ec2::cluster_of(&old.tags), id)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Wanted};
    use kcl_model::resource::{Route, RouteTable, RouteTableAssociation, RouteTarget};

    use super::Kind as _;
    use crate::error::ErrorKind;
    use crate::observe::Depth;
    use crate::testing::{self, CLUSTER, World};

    /// A table with a route and a subnet that uses it.
    fn wanted() -> Wanted {
        let mut wanted = testing::network("a");
        let table = RouteTable {
            vpc: testing::id("vpc", CLUSTER),
            tags: testing::tags_and(CLUSTER, "kubernetes.io/kops/role", "public"),
        };
        testing::add(&mut wanted, CLUSTER, &table);
        let target = testing::id("internet-gateway", CLUSTER);
        let route = Route {
            route_table: testing::id("route-table", CLUSTER),
            destination: "0.0.0.0/0".to_owned(),
            target: RouteTarget { target_type: "gateway".to_owned(), target },
        };
        testing::add(&mut wanted, &format!("{CLUSTER} 0.0.0.0/0"), &route);
        let subnet = format!("a.{CLUSTER}");
        let association = RouteTableAssociation {
            subnet: testing::id("subnet", &subnet),
            route_table: testing::id("route-table", CLUSTER),
        };
        testing::add(&mut wanted, &subnet, &association);
        wanted
    }

    fn rename(world: &World, id: &str) {
        let params = [("ResourceId.1", id), ("Tag.1.Key", "Name"), ("Tag.1.Value", "renamed")];
        world.local.direct("ec2", "CreateTags", &params).expect("it is renamed");
    }

    #[tokio::test]
    async fn one_that_lost_its_name_is_found_again_with_its_routes() {
        let world = World::start().await;
        let wanted = wanted();
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Preview).await;
        let table = live.iter().find(|node| node.id.kind.as_str() == "route-table").expect("it is there");
        rename(&world, &table.attrs["id"]);
        assert_eq!(world.reach(&wanted).await, [(Action::Update, format!("route-table/{CLUSTER}"))]);
    }

    #[tokio::test]
    async fn no_table_takes_the_name_of_one_that_is_there() {
        let world = World::start().await;
        let first = wanted();
        let mut second = first.clone();
        let table: RouteTable = first.get(CLUSTER).expect("it is wanted");
        let mut tags = table.tags.clone();
        tags.insert("Name".to_owned(), "other".to_owned());
        testing::add(&mut second, "other", &RouteTable { tags, ..table });
        world.reach(&second).await;
        // Of the same purpose, with a name that nobody wants any more: it is not mistaken for the other.
        assert_eq!(world.reach(&first).await, [(Action::Delete, "route-table/other".to_owned())]);
    }

    #[tokio::test]
    async fn a_subnet_of_the_cluster_may_leave_and_is_waited_for() {
        let world = World::start().await;
        let wanted = wanted();
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Preview).await;
        let node = |kind: &str| live.iter().find(|node| node.id.kind.as_str() == kind).expect("it is there");
        let (table, association) = (node("route-table"), node("route-table-association"));
        let old: RouteTable = serde_json::from_value(table.fields.clone()).expect("a route table");
        let deleted = super::RouteTable::delete(&world.aws, "", &table.attrs, &old);
        // By another step of the same run, which is about to come.
        let later = async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let call = world.aws.ec2.disassociate_route_table().association_id(&association.attrs["id"]);
            call.send().await.expect("the subnet leaves");
        };
        let (deleted, ()) = futures::join!(deleted, later);
        deleted.expect("the table follows");
    }

    #[tokio::test]
    async fn a_strangers_subnet_is_named_at_once() {
        let world = World::start().await;
        let wanted = wanted();
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Preview).await;
        let node = |kind: &str| live.iter().find(|node| node.id.kind.as_str() == kind).expect("it is there");
        let (table, vpc) = (node("route-table"), &node("vpc").attrs["id"]);
        let params = [("VpcId", vpc.as_str()), ("CidrBlock", "10.0.77.0/24")];
        let subnet = world.local.direct("ec2", "CreateSubnet", &params).expect("a subnet of theirs");
        let subnet = subnet.value("subnet/subnetId").to_owned();
        let params = [("RouteTableId", table.attrs["id"].as_str()), ("SubnetId", &subnet)];
        world.local.direct("ec2", "AssociateRouteTable", &params).expect("it uses the table");
        let own = node("route-table-association");
        let params = [("AssociationId", own.attrs["id"].as_str())];
        world.local.direct("ec2", "DisassociateRouteTable", &params).expect("ours does not any more");
        let old: RouteTable = serde_json::from_value(table.fields.clone()).expect("a route table");
        let error = super::RouteTable::delete(&world.aws, "", &table.attrs, &old).await;
        let error = error.expect_err("it is in use");
        assert_eq!(error.kind, ErrorKind::InUse);
        assert!(error.message.ends_with(&format!("is still used by subnet {subnet}")), "{error}");
    }
}
