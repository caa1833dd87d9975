//! Network load balancers.
//!
//! A new one takes minutes until it serves; nothing that comes after it has to wait for that: listeners and
//! DNS records work on one that is still being provisioned.

use aws_sdk_elasticloadbalancingv2::types::{
    IpAddressType, LoadBalancer as Live, LoadBalancerAttribute, LoadBalancerSchemeEnum, LoadBalancerTypeEnum,
};
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Ref, Resource, Set};
use kcl_model::resource::{AccessLog, LoadBalancer as Wanted, SecurityGroup, Subnet, Tags};

use super::{Kind, Service};
use crate::client::Aws;
use crate::elb::{self, Named, Owned};
use crate::error::{During, Error, ErrorKind};
use crate::iam;
use crate::named;
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::tags;
use crate::wait::{self, SLOW_RESOURCE};

const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const LOG: &str = "access_logs.s3.enabled";
const LOG_BUCKET: &str = "access_logs.s3.bucket";
const LOG_PREFIX: &str = "access_logs.s3.prefix";

pub(crate) struct LoadBalancer;

impl Kind for LoadBalancer {
    type Resource = Wanted;
    const SERVICE: Service = Service::Elb;
    const TAGGED_AS: &'static [&'static str] = &["elasticloadbalancing:loadbalancer"];

    /// Those that controllers made are removed with the cluster, whatever it wants.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const READ: [&str; 3] = [
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeTags",
        ];
        const MANAGE: [&str; 8] = [
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateLoadBalancer",
            "elasticloadbalancing:DeleteLoadBalancer",
            "elasticloadbalancing:ModifyLoadBalancerAttributes",
            "elasticloadbalancing:RemoveTags",
            "elasticloadbalancing:SetIpAddressType",
            "elasticloadbalancing:SetSecurityGroups",
            "elasticloadbalancing:SetSubnets",
        ];
        let arns =
            ground.all::<Wanted>().into_iter().map(|(_, want)| elb::balancer_arn(ground, &want.lb_name));
        let manage = [
            vec![Permission::new("LoadBalancers", &MANAGE, arns)],
            // ELB looks for a place in its caller's name:
            // <https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-permissions.html>.
            Permission::read(&["ec2:DescribeAccountAttributes"]),
            vec![iam::service_linked_role(ground, "elasticloadbalancing.amazonaws.com")],
        ];
        [
            Permission::read(&READ),
            ground.if_wanted::<Wanted>(manage.concat()),
            elb::delete_marked(ground, "elasticloadbalancing:DeleteLoadBalancer", "loadbalancer"),
        ]
        .concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let balancing = elb::balancing(scope).await?;
        let nodes = balancing.load_balancers.iter().map(|owned| async {
            let Owned { item, name, tags, owner } = owned;
            let Some(fields) = fields(scope.aws, item, tags).await? else { return Ok(None) };
            Ok::<_, Error>(Some(LiveNode::new(name, &fields, attrs(item), *owner)?))
        });
        Ok(try_join_all(nodes).await?.into_iter().flatten().collect())
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let scheme = if want.internal {
            LoadBalancerSchemeEnum::Internal
        } else {
            LoadBalancerSchemeEnum::InternetFacing
        };
        let call = aws
            .elb
            .create_load_balancer()
            .name(&want.lb_name)
            .r#type(LoadBalancerTypeEnum::Network)
            .scheme(scheme)
            .ip_address_type(IpAddressType::from(want.ip_address_type.as_str()))
            .set_subnets(Some(values(&want.subnets)?))
            .set_security_groups(Some(values(&want.security_groups)?).filter(|groups| !groups.is_empty()))
            .set_tags(Some(elb::sdk_tags(&want.tags)));
        let made = match call.send().await.during("elasticloadbalancing:CreateLoadBalancer") {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                return adopt(aws, name, want, error).await;
            }
            made => made?.load_balancers.unwrap_or_default().into_iter().next(),
        };
        let made = made
            .ok_or_else(|| Error::unexpected("elasticloadbalancing:CreateLoadBalancer", "load balancer"))?;
        let fresh = Wanted { cross_zone: false, access_log: None, ..want.clone() };
        modify_attributes(aws, made.arn(), &fresh, want).await?;
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
        if old.security_groups != want.security_groups {
            let call = aws.elb.set_security_groups().load_balancer_arn(arn);
            let call = call.set_security_groups(Some(values(&want.security_groups)?));
            call.send().await.during("elasticloadbalancing:SetSecurityGroups")?;
        }
        // Both address families need a place in every subnet: subnets first.
        if old.subnets != want.subnets {
            let call = aws.elb.set_subnets().load_balancer_arn(arn);
            let call = call.set_subnets(Some(values(&want.subnets)?));
            call.send().await.during("elasticloadbalancing:SetSubnets")?;
        }
        if old.ip_address_type != want.ip_address_type {
            let kind = IpAddressType::from(want.ip_address_type.as_str());
            let call = aws.elb.set_ip_address_type().load_balancer_arn(arn).ip_address_type(kind);
            call.send().await.during("elasticloadbalancing:SetIpAddressType")?;
        }
        modify_attributes(aws, arn, old, want).await?;
        elb::change_tags(aws, arn, &old.tags, &want.tags).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, name: &str, live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let arn = arn(live)?;
        let call = aws.elb.delete_load_balancer().load_balancer_arn(arn);
        match call.send().await.during("elasticloadbalancing:DeleteLoadBalancer") {
            Err(error) if !error.is_not_found() => return Err(elb::explain_protection(error)),
            _ => {}
        }
        let what = format!("the load balancer {name} to go");
        wait::until(SLOW_RESOURCE, "elasticloadbalancing:DescribeLoadBalancers", &what, || async {
            match Live::describe(aws, elb::Which::Arns(vec![arn.to_owned()])).await {
                Err(error) if error.is_not_found() => Ok(Some(())),
                Ok(found) if found.is_empty() => Ok(Some(())),
                found => found.map(|_| None),
            }
        })
        .await
    }
}

fn arn(live: &Attrs) -> Result<&str, Error> {
    named::attr(live, "arn")
}

fn values(refs: &Set<Ref>) -> Result<Vec<String>, Error> {
    named::values(refs)
}

fn attrs(item: &Live) -> Attrs {
    named::attrs([
        ("arn", item.load_balancer_arn()),
        ("name", item.load_balancer_name()),
        ("dns_name", item.dns_name().map(elb::dns_name).as_deref()),
        ("zone_id", item.canonical_hosted_zone_id()),
    ])
}

/// `None` when it went away in the meantime.
async fn fields(aws: &Aws, item: &Live, tags: &Tags) -> Result<Option<Wanted>, Error> {
    let call = aws.elb.describe_load_balancer_attributes().load_balancer_arn(item.arn());
    let attributes = match call.send().await.during("elasticloadbalancing:DescribeLoadBalancerAttributes") {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?.attributes.unwrap_or_default(),
    };
    let attributes = tags::collect(attributes.into_iter().map(|pair| (pair.key, pair.value)));
    let text = |key: &str| attributes.get(key).cloned().unwrap_or_default();
    let subnets = item.availability_zones().iter().filter_map(|zone| zone.subnet_id());
    let groups = item.security_groups().iter();
    let access_log = AccessLog { bucket: text(LOG_BUCKET), prefix: text(LOG_PREFIX) };
    Ok(Some(Wanted {
        lb_name: item.name().to_owned(),
        internal: item.scheme() == Some(&LoadBalancerSchemeEnum::Internal),
        subnets: subnets.map(|id| Ref::id(Subnet::SCHEMA.kind, "id", id)).collect(),
        security_groups: groups.map(|id| Ref::id(SecurityGroup::SCHEMA.kind, "id", id)).collect(),
        cross_zone: text(CROSS_ZONE) == "true",
        ip_address_type: item.ip_address_type().map_or("ipv4", |kind| kind.as_str()).to_owned(),
        access_log: (text(LOG) == "true").then_some(access_log),
        tags: tags.clone(),
    }))
}

async fn modify_attributes(aws: &Aws, arn: &str, old: &Wanted, want: &Wanted) -> Result<(), Error> {
    let attribute = |key: &str, value: &str| LoadBalancerAttribute::builder().key(key).value(value).build();
    let mut attributes = Vec::new();
    if old.cross_zone != want.cross_zone {
        attributes.push(attribute(CROSS_ZONE, &want.cross_zone.to_string()));
    }
    if old.access_log != want.access_log {
        attributes.push(attribute(LOG, &want.access_log.is_some().to_string()));
        if let Some(log) = &want.access_log {
            attributes.push(attribute(LOG_BUCKET, &log.bucket));
            attributes.push(attribute(LOG_PREFIX, &log.prefix));
        }
    }
    if attributes.is_empty() {
        return Ok(());
    }
    let call = aws.elb.modify_load_balancer_attributes().load_balancer_arn(arn);
    let call = call.set_attributes(Some(attributes));
    call.send().await.during("elasticloadbalancing:ModifyLoadBalancerAttributes")?;
    Ok(())
}

/// One of that name is there already: an interrupted run's, or somebody else's.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, error: Error) -> Result<Attrs, Error> {
    let Some((item, tags)) = elb::find::<Live>(aws, &want.lb_name).await? else { return Err(error) };
    if !named::is_ours(&tags, &want.tags) {
        return Err(named::stranger(error, &format!("load balancer {}", want.lb_name)));
    }
    let Some(old) = fields(aws, &item, &tags).await? else { return Err(error) };
    if old.internal != want.internal {
        let what = format!("load balancer {}", want.lb_name);
        return Err(named::unfit(error, &what, "internal where it should not be, or the other way round"));
    }
    LoadBalancer::update(aws, name, &attrs(&item), &old, want).await
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Wanted};
    use kcl_model::resource::LoadBalancer;

    use crate::Depth;
    use crate::testing::{self, CLUSTER, World};

    fn name() -> String {
        format!("api.{CLUSTER}")
    }

    fn wanted(change: impl FnOnce(&mut LoadBalancer)) -> Wanted {
        let mut wanted = testing::network("ab");
        testing::add_balancing(&mut wanted);
        let mut load_balancer: LoadBalancer = wanted.get(&name()).expect("it is there");
        change(&mut load_balancer);
        testing::add(&mut wanted, &name(), &load_balancer);
        wanted.order(
            &kcl_engine::ResourceId::new("load-balancer", name()),
            kcl_engine::ResourceId::new("internet-gateway", CLUSTER),
        );
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let first = wanted(|_| ());
        let second = wanted(|it| {
            it.cross_zone = true;
            it.subnets = ["a", "b"]
                .map(|zone| testing::id("subnet", &format!("{zone}.{CLUSTER}")))
                .into_iter()
                .collect();
            it.tags.insert("kcl.dev/x".to_owned(), "1".to_owned());
        });
        let done = world.round_trip(&first, &second).await;
        assert_eq!(done, [(Action::Update, format!("load-balancer/{}", name()))]);
    }

    #[tokio::test]
    async fn a_preview_of_what_is_there_takes_few_calls() {
        let world = World::start().await;
        let wanted = wanted(|_| ());
        world.reach(&wanted).await;
        world.local.take_calls();
        world.live(&wanted, Depth::Preview).await;
        let elb: usize =
            world.local.calls().iter().filter(|call| call.service == "elasticloadbalancing").count();
        // Balancers, target groups, listeners, tags, attributes of each.
        assert_eq!(elb, 6, "{:?}", world.local.counts());
    }

    #[tokio::test]
    async fn one_that_nobody_wants_is_seen_with_its_listeners() {
        let world = World::start().await;
        world.reach(&wanted(|_| ())).await;
        let live = world.live(&testing::network("ab"), Depth::Preview).await;
        let has = |kind: &str| live.iter().any(|node| node.id.kind.as_str() == kind);
        assert!(has("load-balancer") && has("listener") && has("target-group"));
    }

    #[tokio::test]
    async fn a_missing_one_hides_no_other() {
        let world = World::start().await;
        let first = wanted(|_| ());
        world.reach(&first).await;
        let mut second = first.clone();
        let other: LoadBalancer = first.get(&name()).expect("it is there");
        let other = LoadBalancer { lb_name: "not-there".to_owned(), ..other };
        testing::add(&mut second, "other", &other);
        let live = world.live(&second, Depth::Preview).await;
        assert_eq!(live.iter().filter(|node| node.id.kind.as_str() == "load-balancer").count(), 1);
    }

    #[tokio::test]
    async fn a_controllers_one_goes_with_the_cluster_only() {
        let world = World::start().await;
        let network = testing::network("a");
        world.reach(&network).await;
        let live = world.live(&network, Depth::Preview).await;
        let subnet = live.iter().find(|node| node.id.kind.as_str() == "subnet").expect("it is there");
        let tag = |key: &str, value: &str| {
            aws_sdk_elasticloadbalancingv2::types::Tag::builder().key(key).value(value).build()
        };
        let call =
            world.aws.elb.create_load_balancer().name("a0123").r#type(super::LoadBalancerTypeEnum::Network);
        let call = call.subnets(&subnet.attrs["id"]).tags(tag("kubernetes.io/service-name", "default/web"));
        let call = call.tags(tag(&format!("kubernetes.io/cluster/{CLUSTER}"), "owned"));
        call.send().await.expect("a controller makes it");
        assert!(world.plan(&network).await.is_empty());
        let live = world.live(&network, Depth::Everything).await;
        assert!(
            live.iter().any(|node| node.owner == kcl_engine::Owner::Controller && node.id.name == "a0123")
        );
        world.remove().await;
    }

    #[tokio::test]
    async fn a_protected_one_says_so() {
        let world = World::start().await;
        let wanted = wanted(|_| ());
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Preview).await;
        let node = live.iter().find(|node| node.id.kind.as_str() == "load-balancer").expect("it is there");
        let attribute =
            super::LoadBalancerAttribute::builder().key("deletion_protection.enabled").value("true");
        let call = world.aws.elb.modify_load_balancer_attributes().load_balancer_arn(&node.attrs["arn"]);
        call.attributes(attribute.build()).send().await.expect("it is protected");
        let old: LoadBalancer = wanted.get(&name()).expect("it is there");
        let name = name();
        let deleted = <super::LoadBalancer as super::Kind>::delete(&world.aws, &name, &node.attrs, &old);
        let error = deleted.await.unwrap_err();
        assert!(error.message.contains("deletion_protection.enabled"), "{error}");
    }
}
