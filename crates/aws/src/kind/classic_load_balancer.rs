//! Classic load balancers, which the cloud controller makes for services of type `LoadBalancer`.
//!
//! AWS cannot filter them by tag, and a preview has no use for them: only the removal of the cluster lists the
//! region's and looks at the tags of each, twenty in a call.

use aws_sdk_elasticloadbalancing::types::LoadBalancerDescription;
use kcl_engine::{Attrs, LiveNode, Ref, Resource};
use kcl_model::resource::{ClassicLoadBalancer as Fields, SecurityGroup, Subnet};

use super::{Kind, Service, never_wanted};
use crate::client::Aws;
use crate::error::{During, Error};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, SLOW_RESOURCE};
use crate::{elb, named, tags};

/// Classic load balancers with the cluster's tags.
pub(crate) struct ClassicLoadBalancer;

impl Kind for ClassicLoadBalancer {
    type Resource = Fields;
    const SERVICE: Service = Service::Elb;
    const ONLY_REMOVED: bool = true;

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const READ: [&str; 2] =
            ["elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTags"];
        let delete = elb::delete_marked(ground, "elasticloadbalancing:DeleteLoadBalancer", "loadbalancer");
        [Permission::read(&READ), delete].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let pages = scope.aws.classic_elb.describe_load_balancers().into_paginator().items();
        let found = pages.send().collect::<Result<Vec<_>, _>>().await;
        let found = found.during("elasticloadbalancing:DescribeLoadBalancers")?;
        let names = found.iter().filter_map(|one| one.load_balancer_name.clone());
        let tagged = elb::describe_classic_tags(scope.aws, &names.collect::<Vec<_>>()).await?;
        let nodes = found.iter().filter_map(|one| {
            let name = one.load_balancer_name()?;
            let owner = tags::owner(scope.cluster, tagged.get(name)?)?;
            let attrs = named::attrs([("name", Some(name))]);
            Some(LiveNode::new(name, &fields(one), attrs, owner).map_err(Error::from))
        });
        nodes.collect()
    }

    async fn create(_aws: &Aws, name: &str, _want: &Fields) -> Result<Attrs, Error> {
        Err(never_wanted(name))
    }

    async fn update(
        _aws: &Aws,
        name: &str,
        _live: &Attrs,
        _old: &Fields,
        _want: &Fields,
    ) -> Result<Attrs, Error> {
        Err(never_wanted(name))
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, _old: &Fields) -> Result<(), Error> {
        let name = named::attr(live, "name")?;
        // One that is gone already is a success on AWS, too.
        let call = aws.classic_elb.delete_load_balancer().load_balancer_name(name);
        call.send().await.during("elasticloadbalancing:DeleteLoadBalancer")?;
        let what = format!("the classic load balancer {name} to go");
        wait::until(SLOW_RESOURCE, "elasticloadbalancing:DescribeLoadBalancers", &what, || async {
            let call = aws.classic_elb.describe_load_balancers().load_balancer_names(name);
            match call.send().await.during("elasticloadbalancing:DescribeLoadBalancers") {
                Err(error) if error.is_not_found() => Ok(Some(())),
                Err(error) => Err(error),
                Ok(answer) => Ok(answer.load_balancer_descriptions().is_empty().then_some(())),
            }
        })
        .await
    }
}

fn fields(balancer: &LoadBalancerDescription) -> Fields {
    let (subnets, groups) = (balancer.subnets().iter(), balancer.security_groups().iter());
    Fields {
        subnets: subnets.map(|id| Ref::id(Subnet::SCHEMA.kind, "id", id)).collect(),
        security_groups: groups.map(|id| Ref::id(SecurityGroup::SCHEMA.kind, "id", id)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancing::types::{Listener, Tag};
    use kcl_engine::{Action, Owner};
    use kcl_testkit::{Decision, Response};

    use crate::observe::Depth;
    use crate::testing::{self, CLUSTER, World};

    const KIND: &str = "classic-load-balancer";

    /// Makes one as the cloud controller does, in the network's subnet and its nodes' security group.
    async fn make(world: &World, name: &str, cluster: &str) {
        let live = world.live(&testing::network("a"), Depth::Deep).await;
        let id = |kind: &str| {
            let node = live.iter().find(|node| node.id.kind.as_str() == kind).expect("it is there");
            node.attrs.get("id").expect("it has an id").clone()
        };
        let listener = Listener::builder().protocol("TCP").load_balancer_port(80).instance_port(30080);
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().expect("a tag");
        let call = world.aws.classic_elb.create_load_balancer().load_balancer_name(name);
        let call = call.listeners(listener.build().expect("a listener")).subnets(id("subnet"));
        let call = call.security_groups(id("security-group"));
        let call = call.tags(tag(&format!("kubernetes.io/cluster/{cluster}"), "owned"));
        let call = call.tags(tag("kubernetes.io/service-name", "default/web"));
        call.send().await.expect("a controller makes it");
    }

    async fn listed(world: &World) -> Vec<String> {
        let answer = world.aws.classic_elb.describe_load_balancers().send().await.expect("they are listed");
        let names = answer.load_balancer_descriptions().iter().filter_map(|one| one.load_balancer_name());
        names.map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn goes_with_the_cluster_before_what_it_stands_in() {
        let world = World::slow().await;
        let network = testing::network("a");
        world.reach(&network).await;
        make(&world, "a0123456789abcdef", CLUSTER).await;
        world.local.take_calls();
        assert!(world.plan(&network).await.is_empty(), "it is not in the way of the cluster");
        assert!(!world.local.calls().iter().any(|call| call.service == "elasticloadbalancing"));

        let live = world.live(&network, Depth::Everything).await;
        let node = live.iter().find(|node| node.id.kind.as_str() == KIND).expect("it is seen");
        assert_eq!((node.id.name.as_str(), node.owner), ("a0123456789abcdef", Owner::Controller));
        let (nothing, options) =
            (kcl_engine::Wanted::default(), kcl_engine::Options { prune: true, teardown: true });
        let plan = kcl_engine::plan(&kcl_model::resource::catalogue(), &nothing, live, options);
        let plan = plan.expect("there is a plan");
        let place = |kind: &str| {
            let found = plan.steps.iter().position(|step| step.id.kind.as_str() == kind);
            found.unwrap_or_else(|| panic!("no {kind}"))
        };
        assert_eq!(plan.steps[place(KIND)].action, Action::Delete);
        for kind in ["subnet", "security-group"] {
            assert!(plan.steps[place(kind)].after.contains(&place(KIND)), "{kind}");
        }
        world.remove().await;
        assert_eq!(listed(&world).await, Vec::<String>::new());
        assert_eq!(world.local.unsupported(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn those_of_others_stay_and_are_read_in_batches() {
        let world = World::start().await;
        let network = testing::network("a");
        world.reach(&network).await;
        for number in 0..21 {
            make(&world, &format!("other-{number}"), "other.example.com").await;
        }
        make(&world, "ours", CLUSTER).await;
        world.local.take_calls();
        let live = world.live(&network, Depth::Everything).await;
        let names = live.iter().filter(|node| node.id.kind.as_str() == KIND).map(|node| &node.id.name);
        assert_eq!(names.collect::<Vec<_>>(), ["ours"]);
        let calls = world.local.calls();
        let tags = calls.iter().filter(|call| call.is("elasticloadbalancing", "DescribeTags"));
        assert_eq!(tags.filter(|call| call.param("Version") == "2012-06-01").count(), 2);
    }

    #[tokio::test]
    async fn one_that_went_away_meanwhile_hides_no_other() {
        let world = World::start().await;
        world.reach(&testing::network("a")).await;
        make(&world, "ours", CLUSTER).await;
        make(&world, "going", CLUSTER).await;
        world.local.before(|call| {
            let is_about = call.is("elasticloadbalancing", "DescribeTags")
                && call.list("LoadBalancerNames").contains(&"going");
            if !is_about {
                return Decision::Forward;
            }
            let message = "There is no ACTIVE Load Balancer named 'going'";
            Decision::Respond(Response::error(call.protocol, 400, "LoadBalancerNotFound", message))
        });
        let live = world.live(&testing::network("a"), Depth::Everything).await;
        let names = live.iter().filter(|node| node.id.kind.as_str() == KIND).map(|node| &node.id.name);
        assert_eq!(names.collect::<Vec<_>>(), ["ours"]);
    }
}
