//! How a cluster's machines and the ways to them are, as AWS sees it.
//!
//! Reads only: the auto scaling groups with their machines in one call, the load balancers in one, the targets behind
//! them in one for each target group, and why machines are missing only for groups that lack some.

use aws_sdk_autoscaling::types::{AutoScalingGroup, Filter, LifecycleState, ScalingActivityStatusCode};
use aws_sdk_elasticloadbalancingv2::types::{LoadBalancer, LoadBalancerStateEnum, TargetHealthReasonEnum};
use futures::future::{try_join, try_join_all};
use serde::Serialize;

use crate::client::Aws;
use crate::elb;
use crate::error::{During, Error};
use crate::permission::Permission;
use crate::tags::{CLUSTER_TAG, GROUP_TAG};

/// What there is of a cluster's machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The instance groups, by name.
    pub groups: Vec<GroupHealth>,
    /// What keeps load balancers from working, in words.
    pub balancers: Vec<String>,
    /// The target groups that the machines are registered with, by name.
    pub target_groups: Vec<TargetGroupHealth>,
}

/// One instance group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupHealth {
    /// The instance group's name.
    pub name: String,
    /// How many machines the auto scaling group wants at the moment.
    pub desired: u32,
    /// Ids of its machines that are in service.
    pub running: Vec<String>,
    /// What kept AWS from starting the machines that are missing, in its own words.
    pub problem: Option<String>,
}

/// The targets of one target group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetGroupHealth {
    /// The target group's name in AWS.
    pub name: String,
    /// Its targets.
    pub targets: Vec<TargetHealth>,
}

/// One target of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetHealth {
    /// The machine: `i-...`
    pub instance: String,
    /// The port.
    pub port: Option<u16>,
    /// `healthy`, `initial`, `unhealthy`, `unused`, `draining`...
    pub state: String,
    /// Why, where it is not healthy.
    pub reason: Option<String>,
}

/// Reads it. `balancers`: the names in AWS of its load balancers.
pub async fn health(aws: &Aws, cluster: &str, balancers: &[String]) -> Result<Health, Error> {
    let machines = async {
        let groups = scaling_groups(aws, cluster).await?;
        let mut arns: Vec<&str> =
            groups.iter().flat_map(AutoScalingGroup::target_group_arns).map(String::as_str).collect();
        arns.sort_unstable();
        arns.dedup();
        let target_groups = try_join_all(arns.into_iter().map(|arn| target_group(aws, arn)));
        try_join(judged(aws, &groups), target_groups).await
    };
    let ((groups, mut target_groups), balancers) =
        Box::pin(try_join(machines, self::balancers(aws, balancers))).await?;
    target_groups.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Health { groups, balancers, target_groups })
}

/// What keeps load balancers from working, in words: a new one takes AWS some minutes, and some never come.
pub async fn balancers(aws: &Aws, names: &[String]) -> Result<Vec<String>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found = elb::by_name(aws, names).await?;
    let told = names.iter().filter_map(|name| {
        let Some(found) = found.iter().find(|found| found.load_balancer_name() == Some(name)) else {
            return Some(format!("there is no load balancer {name}"));
        };
        balancer_problem(name, found)
    });
    Ok(told.collect())
}

fn balancer_problem(name: &str, found: &LoadBalancer) -> Option<String> {
    let state = found.state()?;
    let code = state.code()?;
    if *code == LoadBalancerStateEnum::Active {
        return None;
    }
    let reason = state.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
    let minutes = " (a new one takes AWS some minutes)";
    let minutes = if *code == LoadBalancerStateEnum::Provisioning { minutes } else { "" };
    Some(format!("load balancer {name} is {}{minutes}{reason}", code.as_str()))
}

/// Reads what there is of its machines alone.
pub async fn groups(aws: &Aws, cluster: &str) -> Result<Vec<GroupHealth>, Error> {
    judged(aws, &scaling_groups(aws, cluster).await?).await
}

async fn scaling_groups(aws: &Aws, cluster: &str) -> Result<Vec<AutoScalingGroup>, Error> {
    let filter = Filter::builder().name(format!("tag:{CLUSTER_TAG}")).values(cluster).build();
    let call = aws.autoscaling.describe_auto_scaling_groups().filters(filter);
    let groups = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    groups.during("autoscaling:DescribeAutoScalingGroups")
}

async fn judged(aws: &Aws, groups: &[AutoScalingGroup]) -> Result<Vec<GroupHealth>, Error> {
    let mut groups = try_join_all(groups.iter().map(|item| group(aws, item))).await?;
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(groups)
}

/// What reading it needs.
pub(crate) fn permissions() -> Vec<Permission> {
    Permission::read(&[
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeScalingActivities",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTargetHealth",
    ])
}

async fn group(aws: &Aws, item: &AutoScalingGroup) -> Result<GroupHealth, Error> {
    let aws_name = item.auto_scaling_group_name().unwrap_or_default();
    let tag = item.tags().iter().find(|tag| tag.key() == Some(GROUP_TAG));
    let in_service = item
        .instances()
        .iter()
        .filter(|machine| machine.lifecycle_state() == Some(&LifecycleState::InService));
    let running: Vec<String> =
        in_service.filter_map(|machine| machine.instance_id()).map(str::to_owned).collect();
    let desired = item.desired_capacity().and_then(|size| u32::try_from(size).ok()).unwrap_or_default();
    let is_short = running.len() < desired as usize;
    Ok(GroupHealth {
        name: tag.and_then(|tag| tag.value()).unwrap_or(aws_name).to_owned(),
        problem: if is_short { problem(aws, aws_name).await? } else { None },
        desired,
        running,
    })
}

/// Spot capacity that is not to be had, a quota, a template that does not work: only the activities tell.
async fn problem(aws: &Aws, group: &str) -> Result<Option<String>, Error> {
    let call = aws.autoscaling.describe_scaling_activities().auto_scaling_group_name(group).max_records(10);
    let answer = call.send().await.during("autoscaling:DescribeScalingActivities")?;
    // The newest comes first. One that went well after a failure makes that history.
    let settled = answer.activities().iter().find(|activity| {
        matches!(
            activity.status_code(),
            Some(
                ScalingActivityStatusCode::Successful
                    | ScalingActivityStatusCode::Failed
                    | ScalingActivityStatusCode::Cancelled
            )
        )
    });
    let failed = settled.filter(|it| it.status_code() != Some(&ScalingActivityStatusCode::Successful));
    Ok(failed.and_then(|it| it.status_message().or(it.description())).map(str::to_owned))
}

async fn target_group(aws: &Aws, arn: &str) -> Result<TargetGroupHealth, Error> {
    let call = aws.elb.describe_target_health().target_group_arn(arn);
    let answer = call.send().await.during("elasticloadbalancing:DescribeTargetHealth")?;
    let targets = answer.target_health_descriptions().iter().filter_map(|it| {
        let health = it.target_health();
        Some(TargetHealth {
            instance: it.target()?.id()?.to_owned(),
            port: it.target()?.port().and_then(|port| u16::try_from(port).ok()),
            state: health.and_then(|it| it.state()).map_or("unknown", |state| state.as_str()).to_owned(),
            reason: health
                .and_then(|it| it.description().or(it.reason().map(TargetHealthReasonEnum::as_str)))
                .map(str::to_owned),
        })
    });
    let mut targets: Vec<TargetHealth> = targets.collect();
    targets.sort_by(|a, b| (&a.instance, a.port).cmp(&(&b.instance, b.port)));
    Ok(TargetGroupHealth { name: name_of(arn).to_owned(), targets })
}

/// The name in `arn:...:targetgroup/NAME/0123456789abcdef`.
fn name_of(arn: &str) -> &str {
    arn.split('/').nth(1).unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use kcl_engine::Ref;
    use kcl_model::resource;

    use super::*;
    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn machines_of_groups() {
        let world = World::start().await;
        let name = format!("nodes.{CLUSTER}");
        let mut wanted = testing::network("a");
        testing::add(&mut wanted, &name, &testing::launch_template(&name));
        testing::add(&mut wanted, &name, &testing::auto_scaling_group(&name));
        world.reach(&wanted).await;
        let health = health(&world.aws, CLUSTER, &[]).await.expect("it is read");
        let [group] = health.groups.as_slice() else { panic!("{health:?}") };
        assert_eq!((group.name.as_str(), group.desired), ("nodes", 1));
        assert_eq!((group.running.len(), &group.problem), (1, &None));
        let other = super::health(&world.aws, "other.example.com", &[]).await.expect("it is read");
        assert_eq!(other, Health::default());
    }

    #[tokio::test]
    async fn targets_are_asked_for_beside_load_balancers() {
        let world = World::start().await;
        let (name, mut wanted) = (format!("nodes.{CLUSTER}"), testing::network("a"));
        testing::add(&mut wanted, testing::TARGET_GROUP, &testing::target_group());
        testing::add(&mut wanted, &name, &testing::launch_template(&name));
        let target_groups = [Ref::to("target-group", testing::TARGET_GROUP, "arn")].into_iter().collect();
        let group = resource::AutoScalingGroup { target_groups, ..testing::auto_scaling_group(&name) };
        testing::add(&mut wanted, &name, &group);
        world.reach(&wanted).await;
        let service = "elasticloadbalancing";
        let [balancers, targets] =
            ["DescribeLoadBalancers", "DescribeTargetHealth"].map(|action| world.local.hold(service, action));
        let both = tokio::task::spawn_blocking(move || balancers.is_reached() && targets.is_reached());
        let names = ["api".to_owned()];
        let (health, both) = futures::join!(health(&world.aws, CLUSTER, &names), both);
        assert!(both.expect("no panic"), "one waits for the other");
        assert_eq!(health.expect("it is read").target_groups.len(), 1);
    }

    #[test]
    fn a_load_balancer_that_does_not_work_is_told() {
        use aws_sdk_elasticloadbalancingv2::types::LoadBalancerState;
        let told = |code: &str, reason: Option<&str>| {
            let state = LoadBalancerState::builder().code(code.into()).set_reason(reason.map(str::to_owned));
            balancer_problem("api", &LoadBalancer::builder().state(state.build()).build())
        };
        assert_eq!(told("active", None), None);
        assert_eq!(told("failed", Some("no more")).as_deref(), Some("load balancer api is failed: no more"));
        let young = told("provisioning", None).expect("it does not work yet");
        assert_eq!(young, "load balancer api is provisioning (a new one takes AWS some minutes)");
    }

    #[tokio::test]
    async fn load_balancers_that_are_not_there_hide_no_others() {
        let world = World::start().await;
        let network = testing::network("a");
        world.reach(&network).await;
        let live = world.live(&network, crate::observe::Depth::Preview).await;
        let subnet = live.iter().find(|node| node.id.kind.as_str() == "subnet").expect("it is there");
        let make = world.aws.elb.create_load_balancer().name("there").r#type("network".into());
        make.subnets(&subnet.attrs["id"]).send().await.expect("it is made");
        let told = balancers(&world.aws, &["there".to_owned(), "gone".to_owned()]).await.expect("it is read");
        assert_eq!(told, ["there is no load balancer gone"]);
        assert!(balancers(&world.aws, &["there".to_owned()]).await.expect("it is read").is_empty());
    }

    #[test]
    fn names() {
        let arn = "arn:aws:elasticloadbalancing:eu-north-1:1:targetgroup/http-k8s-example-com-abcdef/0a1b";
        assert_eq!(name_of(arn), "http-k8s-example-com-abcdef");
    }
}
