//! Target groups: the machines behind a listener.

use aws_sdk_elasticloadbalancingv2::types::{
    ProtocolEnum, TargetGroup as Live, TargetGroupAttribute, TargetTypeEnum,
};
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Ref, Resource};
use kcl_model::resource::{HealthCheck, Tags, TargetGroup as Wanted, Vpc};

use super::{Kind, Service};
use crate::client::Aws;
use crate::elb::{self, Named, Owned};
use crate::error::{During, Error, ErrorKind};
use crate::named;
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::tags;
use crate::wait::{self, PROPAGATION};

const DELAY: &str = "deregistration_delay.timeout_seconds";
const TERMINATION: &str = "deregistration_delay.connection_termination.enabled";
const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";

pub(crate) struct TargetGroup;

impl Kind for TargetGroup {
    type Resource = Wanted;
    const SERVICE: Service = Service::Elb;
    const TAGGED_AS: &'static [&'static str] = &["elasticloadbalancing:targetgroup"];

    /// Those that controllers made are removed with the cluster, whatever it wants.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const READ: [&str; 2] = [
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "elasticloadbalancing:DescribeTargetGroups",
        ];
        const MANAGE: [&str; 6] = [
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateTargetGroup",
            "elasticloadbalancing:DeleteTargetGroup",
            "elasticloadbalancing:ModifyTargetGroup",
            "elasticloadbalancing:ModifyTargetGroupAttributes",
            "elasticloadbalancing:RemoveTags",
        ];
        let groups = ground.all::<Wanted>().into_iter();
        let arns = groups
            .map(|(_, want)| ground.arn("elasticloadbalancing", &format!("targetgroup/{}/*", want.tg_name)));
        [
            Permission::read(&READ),
            vec![Permission::new("LoadBalancers", &MANAGE, arns)],
            elb::delete_marked(ground, "elasticloadbalancing:DeleteTargetGroup", "targetgroup"),
        ]
        .concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let balancing = elb::balancing(scope).await?;
        let nodes = balancing.target_groups.iter().map(|owned| async {
            let Owned { item, name, tags, owner } = owned;
            let Some(fields) = fields(scope.aws, item, tags).await? else { return Ok(None) };
            Ok::<_, Error>(Some(LiveNode::new(name, &fields, attrs(item), *owner)?))
        });
        Ok(try_join_all(nodes).await?.into_iter().flatten().collect())
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let check = &want.health_check;
        let call = aws
            .elb
            .create_target_group()
            .name(&want.tg_name)
            .target_type(TargetTypeEnum::Instance)
            .vpc_id(want.vpc.value()?)
            .protocol(ProtocolEnum::from(want.protocol.as_str()))
            .port(i32::from(want.port))
            .health_check_protocol(ProtocolEnum::from(check.protocol.as_str()))
            .health_check_port(&check.port)
            .set_health_check_path(check.path.clone())
            .health_check_interval_seconds(check.interval)
            .healthy_threshold_count(check.healthy_threshold)
            .unhealthy_threshold_count(check.unhealthy_threshold)
            .set_tags(Some(elb::sdk_tags(&want.tags)));
        let made = match call.send().await.during("elasticloadbalancing:CreateTargetGroup") {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                return adopt(aws, name, want, error).await;
            }
            made => made?.target_groups.unwrap_or_default().into_iter().next(),
        };
        let made =
            made.ok_or_else(|| Error::unexpected("elasticloadbalancing:CreateTargetGroup", "target group"))?;
        modify_attributes(aws, made.arn(), want).await?;
        Ok(attrs(&made))
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        let arn = arn(live)?;
        if old.health_check != want.health_check {
            modify_health_check(aws, arn, &want.health_check).await?;
        }
        if attributes(old) != attributes(want) {
            modify_attributes(aws, arn, want).await?;
        }
        elb::change_tags(aws, arn, &old.tags, &want.tags).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let arn = arn(live)?;
        // A load balancer that is being deleted holds its target groups a little longer than itself.
        let in_use = |error: &Error| error.kind == ErrorKind::InUse;
        let deleted = wait::retry(PROPAGATION, in_use, || async {
            let call = aws.elb.delete_target_group().target_group_arn(arn);
            call.send().await.during("elasticloadbalancing:DeleteTargetGroup")
        });
        match deleted.await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn arn(live: &Attrs) -> Result<&str, Error> {
    named::attr(live, "arn")
}

fn attrs(item: &Live) -> Attrs {
    named::attrs([("arn", item.target_group_arn()), ("name", item.target_group_name())])
}

/// `None` when it went away in the meantime.
async fn fields(aws: &Aws, item: &Live, tags: &Tags) -> Result<Option<Wanted>, Error> {
    let call = aws.elb.describe_target_group_attributes().target_group_arn(item.arn());
    let attributes = match call.send().await.during("elasticloadbalancing:DescribeTargetGroupAttributes") {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?.attributes.unwrap_or_default(),
    };
    let attributes = tags::collect(attributes.into_iter().map(|pair| (pair.key, pair.value)));
    let is_on = |key: &str| attributes.get(key).is_some_and(|value| value == "true");
    Ok(Some(Wanted {
        tg_name: item.name().to_owned(),
        vpc: Ref::id(Vpc::SCHEMA.kind, "id", item.vpc_id().unwrap_or_default()),
        port: elb::port(item.port()),
        protocol: elb::protocol(item.protocol()),
        health_check: HealthCheck {
            protocol: elb::protocol(item.health_check_protocol()),
            port: item.health_check_port().unwrap_or("traffic-port").to_owned(),
            path: item.health_check_path().map(str::to_owned),
            interval: item.health_check_interval_seconds().unwrap_or_default(),
            healthy_threshold: item.healthy_threshold_count().unwrap_or_default(),
            unhealthy_threshold: item.unhealthy_threshold_count().unwrap_or_default(),
        },
        deregistration_delay: attributes.get(DELAY).and_then(|value| value.parse().ok()).unwrap_or_default(),
        connection_termination: is_on(TERMINATION),
        proxy_protocol: is_on(PROXY_PROTOCOL),
        tags: tags.clone(),
    }))
}

fn attributes(want: &Wanted) -> [(&'static str, String); 3] {
    [
        (DELAY, want.deregistration_delay.to_string()),
        (TERMINATION, want.connection_termination.to_string()),
        (PROXY_PROTOCOL, want.proxy_protocol.to_string()),
    ]
}

async fn modify_attributes(aws: &Aws, arn: &str, want: &Wanted) -> Result<(), Error> {
    let attributes = attributes(want).into_iter();
    let attributes =
        attributes.map(|(key, value)| TargetGroupAttribute::builder().key(key).value(value).build());
    let call = aws.elb.modify_target_group_attributes().target_group_arn(arn);
    let call = call.set_attributes(Some(attributes.collect()));
    call.send().await.during("elasticloadbalancing:ModifyTargetGroupAttributes")?;
    Ok(())
}

async fn modify_health_check(aws: &Aws, arn: &str, check: &HealthCheck) -> Result<(), Error> {
    let call = aws
        .elb
        .modify_target_group()
        .target_group_arn(arn)
        .health_check_protocol(ProtocolEnum::from(check.protocol.as_str()))
        .health_check_port(&check.port)
        .set_health_check_path(check.path.clone())
        .health_check_interval_seconds(check.interval)
        .healthy_threshold_count(check.healthy_threshold)
        .unhealthy_threshold_count(check.unhealthy_threshold);
    call.send().await.during("elasticloadbalancing:ModifyTargetGroup")?;
    Ok(())
}

/// One of that name is there already: an interrupted run's, or somebody else's.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, error: Error) -> Result<Attrs, Error> {
    let Some((item, tags)) = elb::find::<Live>(aws, &want.tg_name).await? else { return Err(error) };
    if !named::is_ours(&tags, &want.tags) {
        return Err(named::stranger(error, &format!("target group {}", want.tg_name)));
    }
    let Some(old) = fields(aws, &item, &tags).await? else { return Err(error) };
    if (old.vpc.value(), old.port, &old.protocol) != (want.vpc.value(), want.port, &want.protocol) {
        let what = format!("target group {}", want.tg_name);
        return Err(named::unfit(error, &what, "of another VPC, port or protocol"));
    }
    TargetGroup::update(aws, name, &attrs(&item), &old, want).await
}

#[cfg(test)]
mod tests {
    use kcl_engine::Action;
    use kcl_model::resource::{HealthCheck, TargetGroup};

    use crate::testing::{self, TARGET_GROUP, World};

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let wanted = |group: &TargetGroup| {
            let mut wanted = testing::network("a");
            testing::add(&mut wanted, TARGET_GROUP, group);
            wanted
        };
        let first = testing::target_group();
        let second = TargetGroup {
            proxy_protocol: true,
            deregistration_delay: 60,
            connection_termination: false,
            health_check: HealthCheck {
                protocol: "HTTPS".to_owned(),
                path: Some("/healthz".to_owned()),
                interval: 30,
                ..first.health_check.clone()
            },
            tags: testing::tags_and(TARGET_GROUP, "kcl.dev/x", "1"),
            ..first.clone()
        };
        let done = world.round_trip(&wanted(&first), &wanted(&second)).await;
        assert_eq!(done, [(Action::Update, format!("target-group/{TARGET_GROUP}"))]);
    }
}
