//! Security groups.

use aws_sdk_ec2::types::{self, ResourceType};
use kcl_engine::{Attrs, LiveNode, Owner, Ref, Resource as _};
use kcl_model::resource;

use super::{Kind, Service};
use crate::blockers;
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::tags;
use crate::wait::{self, PROPAGATION};

/// Security groups, called by their group names.
pub(crate) struct SecurityGroup;

impl Kind for SecurityGroup {
    type Resource = resource::SecurityGroup;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:security-group"];

    /// Those that controllers made are removed with the cluster, whatever it wants.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            ground.ec2_create(&["ec2:CreateSecurityGroup"]),
            ground.ec2_within::<resource::Vpc>("ec2:CreateSecurityGroup", "vpc"),
            ground.ec2_retag(),
        ];
        [
            Permission::read(&["ec2:DescribeSecurityGroups"]),
            ground.if_wanted::<resource::SecurityGroup>(manage.concat()),
            ground.ec2_delete_of_controllers(&["ec2:DeleteSecurityGroup"]),
        ]
        .concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let live = ec2::security_groups(scope).await?.iter().filter_map(|group| {
            let ours = recognise(scope, group)?;
            let live = resource::SecurityGroup {
                vpc: Ref::id("vpc", "id", group.vpc_id().unwrap_or_default()),
                description: group.description().unwrap_or_default().to_owned(),
                tags: ours.tags.clone(),
            };
            let name = group.group_name().unwrap_or(&ours.id).to_owned();
            Some(ours.live(name, &live))
        });
        live.collect()
    }

    async fn create(aws: &Aws, name: &str, want: &resource::SecurityGroup) -> Result<Attrs, Error> {
        let vpc = want.vpc.value()?;
        let create = || {
            wait::retry(PROPAGATION, Error::is_not_found, || async {
                let call = aws.ec2_once.create_security_group().group_name(name).vpc_id(vpc);
                let call = call.description(&want.description);
                let call =
                    call.tag_specifications(ec2::specification(ResourceType::SecurityGroup, &want.tags));
                let answer = call.send().await.during("ec2:CreateSecurityGroup")?;
                let id = ec2::required(answer.group_id(), "ec2:CreateSecurityGroup", "group id");
                id.map(str::to_owned)
            })
        };
        let found = || async { Ok(find(aws, name, vpc).await?.filter(|group| is_ours(group, want)).map(id)) };
        match wait::create_once(create, found).await {
            Ok(id) => Ok(ec2::attrs(&id)),
            Err(error) if error.kind == ErrorKind::AlreadyExists => existing(aws, name, want, error).await,
            Err(error) => Err(error),
        }
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::SecurityGroup,
        want: &resource::SecurityGroup,
    ) -> Result<Attrs, Error> {
        ec2::retag(aws, ec2::id_of(live)?, &old.tags, &want.tags).await?;
        Ok(live.clone())
    }

    async fn delete(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::SecurityGroup,
    ) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            let call = aws.ec2.delete_security_group().group_id(id);
            call.send().await.during("ec2:DeleteSecurityGroup")?;
            Ok(())
        };
        let (cluster, vpc) = (ec2::cluster_of(&old.tags), old.vpc.value()?);
        blockers::delete(&aws.others, id, call, || blockers::of_security_group(aws, cluster, id, vpc)).await
    }
}

/// Whose a group is. The cloud controller puts our tags on the groups it makes for classic load balancers,
/// but never a `Name`. One that is wanted is ours, if one of the marks is left: its rules are, too.
pub(crate) fn recognise(scope: &Scope<'_>, group: &types::SecurityGroup) -> Option<Ours> {
    let mut ours = Ours::of(scope.cluster, group.group_id(), group.tags())?;
    if group.group_name().is_some_and(|name| scope.wants(resource::SecurityGroup::SCHEMA.kind, name)) {
        ours.owner = Owner::Cluster;
        return Some(ours);
    }
    let for_service =
        group.description().is_some_and(|text| text.starts_with("Security group for Kubernetes ELB "));
    if for_service && !ours.tags.contains_key("Name") {
        ours.owner = Owner::Controller;
    }
    Some(ours)
}

fn id(group: types::SecurityGroup) -> String {
    group.group_id.unwrap_or_default()
}

fn is_ours(group: &types::SecurityGroup, want: &resource::SecurityGroup) -> bool {
    tags::owner(ec2::cluster_of(&want.tags), &ec2::tags_of(group.tags())) == Some(Owner::Cluster)
}

async fn find(aws: &Aws, name: &str, vpc: &str) -> Result<Option<types::SecurityGroup>, Error> {
    let call = aws.ec2.describe_security_groups().filters(ec2::filter("group-name", name));
    let answer = call.filters(ec2::filter("vpc-id", vpc)).send().await;
    let answer = answer.during("ec2:DescribeSecurityGroups")?;
    Ok(answer.security_groups.unwrap_or_default().into_iter().next())
}

/// A VPC has one group of a name: it is ours, or somebody else's stands in the way.
async fn existing(
    aws: &Aws,
    name: &str,
    want: &resource::SecurityGroup,
    error: Error,
) -> Result<Attrs, Error> {
    let vpc = want.vpc.value()?;
    let Some(group) = find(aws, name, vpc).await? else { return Err(error) };
    if is_ours(&group, want) {
        return Ok(ec2::attrs(&id(group)));
    }
    let message = format!(
        "{vpc} has a security group {name} already ({}), which does not have this cluster's tags",
        id(group)
    );
    Err(Error { message, ..error })
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Ref, Wanted};
    use kcl_model::resource::SecurityGroup;

    use crate::kind::Kind;
    use crate::observe::Depth;
    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let (first, mut second) = (testing::network(""), testing::network(""));
        let name = format!("nodes.{CLUSTER}");
        let changed = SecurityGroup {
            vpc: testing::id("vpc", CLUSTER),
            description: "Security group for nodes".to_owned(),
            tags: testing::tags_and(&name, "kcl.dev/x", "1"),
        };
        testing::add(&mut second, &name, &changed);
        let done = world.round_trip(&first, &second).await;
        assert_eq!(done, [(Action::Update, format!("security-group/{name}"))]);
    }

    /// An account with the cluster's VPC, what is wanted then, and the VPC's id.
    async fn with_vpc() -> (World, Wanted, String) {
        let world = World::start().await;
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, CLUSTER, &testing::vpc());
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Deep).await;
        let vpc = live.first().and_then(|node| node.attrs.get("id")).expect("there is a VPC").clone();
        (world, wanted, vpc)
    }

    #[tokio::test]
    async fn somebody_elses_group_is_in_the_way() {
        let (world, _, vpc) = with_vpc().await;
        let params = [("GroupName", "nodes"), ("GroupDescription", "theirs"), ("VpcId", vpc.as_str())];
        world.local.direct("ec2", "CreateSecurityGroup", &params).expect("a group of theirs");
        let group = SecurityGroup {
            vpc: Ref::id("vpc", "id", &vpc),
            description: "ours".to_owned(),
            tags: testing::tags("nodes"),
        };
        let error = <super::SecurityGroup as Kind>::create(&world.aws, "nodes", &group).await;
        let error = error.expect_err("the name is taken");
        assert!(
            error.message.starts_with(&format!("{vpc} has a security group nodes already (sg-")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn one_that_only_the_load_balancer_controller_has_marked_goes_with_the_cluster() {
        let (world, wanted, vpc) = with_vpc().await;
        for (name, cluster) in [("k8s-traffic-ours", CLUSTER), ("k8s-traffic-theirs", "other.example.com")] {
            let params = [
                ("GroupName", name),
                ("GroupDescription", "[k8s] Shared Backend SecurityGroup for LoadBalancer"),
                ("VpcId", vpc.as_str()),
                ("TagSpecification.1.ResourceType", "security-group"),
                ("TagSpecification.1.Tag.1.Key", "elbv2.k8s.aws/cluster"),
                ("TagSpecification.1.Tag.1.Value", cluster),
            ];
            world.local.direct("ec2", "CreateSecurityGroup", &params).expect("a group");
        }
        let names = |live: Vec<kcl_engine::LiveNode>| {
            let groups = live.into_iter().filter(|node| node.id.kind.as_str() == "security-group");
            groups.map(|node| node.id.name).collect::<Vec<_>>()
        };
        assert_eq!(names(world.live(&wanted, Depth::Owned).await), Vec::<String>::new());
        let groups = names(world.live(&Wanted::default(), Depth::Everything).await);
        assert_eq!(groups.len(), 1, "{groups:?}");
    }
}
