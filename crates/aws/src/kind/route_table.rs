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
use crate::wait::{self, PROPAGATION};

/// Route tables. A VPC's main one has no tags and is not ours.
pub(crate) struct RouteTable;

impl Kind for RouteTable {
    type Resource = resource::RouteTable;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:route-table"];

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let live = ec2::route_tables(scope).await?.iter().filter_map(|table| {
            let ours = Ours::of(scope.cluster, table.route_table_id(), table.tags())?;
            let live = resource::RouteTable {
                vpc: Ref::id("vpc", "id", table.vpc_id().unwrap_or_default()),
                tags: ours.tags.clone(),
            };
            Some(ours.live(ours.name(), &live))
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

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, _old: &resource::RouteTable) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            let call = aws.ec2.delete_route_table().route_table_id(id);
            call.send().await.during("ec2:DeleteRouteTable")?;
            Ok(())
        };
        blockers::delete(id, call, || blockers::of_route_table(aws, id)).await
    }
}
