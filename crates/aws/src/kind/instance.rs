//! Machines that no group of ours runs.

use aws_sdk_ec2::types::{Filter, Instance as Machine, InstanceStateName, Reservation};
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Ref};
use kcl_model::resource;

use super::{Kind, Service, never_wanted};
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, SLOW_RESOURCE};

/// Machines with the cluster's tags that are in no Auto Scaling group: an autoscaler of another kind made
/// them, or somebody by hand. Machines of a group go with their group.
pub(crate) struct Instance;

impl Kind for Instance {
    type Resource = resource::Instance;
    const SERVICE: Service = Service::Ec2;
    const ONLY_REMOVED: bool = true;

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        [Permission::read(&["ec2:DescribeInstances"]), ground.ec2_delete(&["ec2:TerminateInstances"])]
            .concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let states = Filter::builder().name("instance-state-name");
        let states = ["pending", "running", "stopping", "stopped", "shutting-down"]
            .into_iter()
            .fold(states, aws_sdk_ec2::types::builders::FilterBuilder::values);
        let states = states.build();
        let found = try_join_all(scope.ec2_exact_filters().map(|filter| async {
            let call = scope.aws.ec2.describe_instances().filters(filter).filters(states.clone());
            call.into_paginator().items().send().try_collect().await.during("ec2:DescribeInstances")
        }));
        let found: Vec<Vec<Reservation>> = found.await?;
        let machines = found.iter().flatten().flat_map(Reservation::instances);
        let mut machines: Vec<&Machine> = machines.filter(|machine| !is_in_group(machine)).collect();
        machines.sort_by_key(|machine| machine.instance_id());
        machines.dedup_by_key(|machine| machine.instance_id());
        machines.into_iter().filter_map(|one| live(scope, one)).collect()
    }

    async fn create(_aws: &Aws, name: &str, _want: &resource::Instance) -> Result<Attrs, Error> {
        Err(never_wanted(name))
    }

    async fn update(
        _aws: &Aws,
        name: &str,
        _live: &Attrs,
        _old: &resource::Instance,
        _want: &resource::Instance,
    ) -> Result<Attrs, Error> {
        Err(never_wanted(name))
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, _old: &resource::Instance) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = aws.ec2.terminate_instances().instance_ids(id);
        match call.send().await.during("ec2:TerminateInstances") {
            Err(error) if error.is_not_found() => return Ok(()),
            result => result?,
        };
        // Until then its interface, its volumes and its address are in use.
        let gone = || async {
            let call = aws.ec2.describe_instances().filters(ec2::filter("instance-id", id));
            let answer = call.send().await.during("ec2:DescribeInstances")?;
            let mut machines = answer.reservations().iter().flat_map(Reservation::instances);
            Ok(machines.all(is_terminated).then_some(()))
        };
        let what = format!("the instance {id} to be terminated");
        wait::until(SLOW_RESOURCE, "ec2:DescribeInstances", &what, gone).await
    }
}

fn is_in_group(machine: &Machine) -> bool {
    machine.tags().iter().any(|tag| tag.key() == Some("aws:autoscaling:groupName"))
}

fn is_terminated(machine: &Machine) -> bool {
    machine.state().and_then(|state| state.name()) == Some(&InstanceStateName::Terminated)
}

fn live(scope: &Scope<'_>, machine: &Machine) -> Option<Result<LiveNode, Error>> {
    let ours = Ours::of(scope.cluster, machine.instance_id(), machine.tags())?;
    let groups = machine.security_groups().iter().filter_map(|group| group.group_id());
    let fields = resource::Instance {
        subnet: machine.subnet_id().map(|id| Ref::id("subnet", "id", id)),
        security_groups: groups.map(|id| Ref::id("security-group", "id", id)).collect(),
        instance_type: machine.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
    };
    // Machines of one making share a `Name`.
    Some(LiveNode::new(&ours.id, &fields, ec2::attrs(&ours.id), Owner::Controller).map_err(Error::from))
}

#[cfg(test)]
mod tests {
    use crate::observe::Depth;
    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn goes_with_the_cluster_and_so_does_what_it_leaves() {
        let world = World::start().await;
        let wanted = testing::network("a");
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Deep).await;
        let id = |kind: &str| {
            let node = live.iter().find(|node| node.id.kind.as_str() == kind).expect("it is there");
            node.attrs.get("id").expect("it has an id").clone()
        };
        let (subnet, group) = (id("subnet"), id("security-group"));
        let images = world.local.direct("ec2", "DescribeImages", &[]).expect("there are images");
        let owned = format!("kubernetes.io/cluster/{CLUSTER}");
        let image = images.value("imagesSet/item/imageId");
        let params = [
            ("ImageId", image),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("InstanceType", "t3.micro"),
            ("SubnetId", &subnet),
            ("SecurityGroupId.1", &group),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", &owned),
            ("TagSpecification.1.Tag.1.Value", "owned"),
        ];
        world.local.direct("ec2", "RunInstances", &params).expect("there is a machine");
        let params =
            [("SubnetId", subnet.as_str()), ("SecurityGroupId.1", &group), ("Description", "aws-K8S-i-1")];
        world.local.direct("ec2", "CreateNetworkInterface", &params).expect("there is an interface");
        assert!(world.plan(&wanted).await.is_empty(), "neither is in the way of the cluster");
        let live = world.live(&wanted, Depth::Everything).await;
        let kinds: Vec<&str> = live.iter().map(|node| node.id.kind.as_str()).collect();
        assert!(kinds.contains(&"instance") && kinds.contains(&"network-interface"), "{kinds:?}");
        world.remove().await;
    }
}
