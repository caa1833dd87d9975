//! DHCP options.

use aws_sdk_ec2::types::{self, NewDhcpConfiguration, ResourceType};
use kcl_engine::{Attrs, LiveNode};
use kcl_model::resource;

use super::{Kind, Service};
use crate::blockers;
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait;

const DOMAIN_NAME: &str = "domain-name";
const DOMAIN_NAME_SERVERS: &str = "domain-name-servers";

/// DHCP options. Always read, and so without a name in the tagging API: not every implementation lists them.
pub(crate) struct DhcpOptions;

impl Kind for DhcpOptions {
    type Resource = resource::DhcpOptions;
    const SERVICE: Service = Service::Ec2;

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            ground.ec2_create(&["ec2:CreateDhcpOptions"]),
            ground.ec2_retag(),
            ground.ec2_delete(&["ec2:DeleteDhcpOptions"]),
        ];
        let read = Permission::read(&["ec2:DescribeDhcpOptions"]);
        [read, ground.if_wanted::<resource::DhcpOptions>(manage.concat())].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let call = scope.aws.ec2.describe_dhcp_options().filters(scope.ec2_filter());
        let sets = call.into_paginator().items().send().try_collect().await;
        let sets: Vec<types::DhcpOptions> = sets.during("ec2:DescribeDhcpOptions")?;
        let live = sets.iter().filter_map(|options| {
            let ours = Ours::of(scope.cluster, options.dhcp_options_id(), options.tags())?;
            let live = resource::DhcpOptions {
                domain_name: values(options, DOMAIN_NAME).join(" "),
                domain_name_servers: values(options, DOMAIN_NAME_SERVERS),
                tags: ours.tags.clone(),
            };
            Some(ours.live(ours.name(), &live))
        });
        live.collect()
    }

    async fn create(aws: &Aws, _name: &str, want: &resource::DhcpOptions) -> Result<Attrs, Error> {
        let create = || async {
            let option = |key: &str, values: Vec<String>| {
                NewDhcpConfiguration::builder().key(key).set_values(Some(values)).build()
            };
            let call = aws.ec2_once.create_dhcp_options();
            let call = call.dhcp_configurations(option(DOMAIN_NAME, vec![want.domain_name.clone()]));
            let call =
                call.dhcp_configurations(option(DOMAIN_NAME_SERVERS, want.domain_name_servers.clone()));
            let call = call.tag_specifications(ec2::specification(ResourceType::DhcpOptions, &want.tags));
            let answer = call.send().await.during("ec2:CreateDhcpOptions")?;
            let id = answer.dhcp_options().and_then(types::DhcpOptions::dhcp_options_id);
            ec2::required(id, "ec2:CreateDhcpOptions", "id").map(str::to_owned)
        };
        let id = wait::create_once(create, || find(aws, want)).await?;
        Ok(ec2::attrs(&id))
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::DhcpOptions,
        want: &resource::DhcpOptions,
    ) -> Result<Attrs, Error> {
        ec2::retag(aws, ec2::id_of(live)?, &old.tags, &want.tags).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, old: &resource::DhcpOptions) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            let call = aws.ec2.delete_dhcp_options().dhcp_options_id(id);
            call.send().await.during("ec2:DeleteDhcpOptions")?;
            Ok(())
        };
        blockers::delete(&aws.others, id, call, || {
            blockers::of_dhcp_options(aws, ec2::cluster_of(&old.tags), id)
        })
        .await
    }
}

fn values(options: &types::DhcpOptions, key: &str) -> Vec<String> {
    let option = options.dhcp_configurations().iter().find(|option| option.key() == Some(key));
    let values = option.map(types::DhcpConfiguration::values).unwrap_or_default();
    values.iter().filter_map(|value| value.value.clone()).collect()
}

/// A replacement has its predecessor's name and tags: what the options say counts too.
async fn find(aws: &Aws, want: &resource::DhcpOptions) -> Result<Option<String>, Error> {
    let call = aws.ec2.describe_dhcp_options().set_filters(Some(ec2::filters_for(&want.tags)));
    let answer = call.send().await.during("ec2:DescribeDhcpOptions")?;
    let same = answer.dhcp_options().iter().find(|options| {
        values(options, DOMAIN_NAME) == [want.domain_name.clone()]
            && values(options, DOMAIN_NAME_SERVERS) == want.domain_name_servers
    });
    Ok(same.and_then(|options| options.dhcp_options_id()).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Wanted};
    use kcl_model::resource::{DhcpOptions, Vpc};

    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let wanted = |server: &str, tags| {
            let mut wanted = Wanted::default();
            let options = DhcpOptions {
                domain_name: "example.internal".to_owned(),
                domain_name_servers: vec![server.to_owned(), "10.0.0.3".to_owned()],
                tags,
            };
            testing::add(&mut wanted, CLUSTER, &options);
            let vpc = Vpc { dhcp_options: Some(testing::id("dhcp-options", CLUSTER)), ..testing::vpc() };
            testing::add(&mut wanted, CLUSTER, &vpc);
            wanted
        };
        let first = wanted("10.0.0.2", testing::tags(CLUSTER));
        world.reach(&first).await;
        let retagged = wanted("10.0.0.2", testing::tags_and(CLUSTER, "kcl.dev/x", "1"));
        assert_eq!(world.reach(&retagged).await, [(Action::Update, format!("dhcp-options/{CLUSTER}"))]);
        // Other servers are other options, which the VPC uses before the old ones go.
        let plan = world.plan(&wanted("10.0.0.9", testing::tags(CLUSTER))).await;
        let place = |action, kind: &str| {
            plan.steps.iter().position(|step| (step.action, step.id.kind.as_str()) == (action, kind))
        };
        let made = place(Action::Create, "dhcp-options").expect("others are made");
        let used = place(Action::Update, "vpc").expect("the VPC uses them");
        let gone = place(Action::Delete, "dhcp-options").expect("the old ones go");
        assert!(plan.steps[used].after.contains(&made));
        assert!(plan.steps[gone].after.contains(&used));
        world.remove().await;
    }
}
