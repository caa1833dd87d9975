//! Listeners: the ports of a load balancer.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, ForwardActionConfig, Listener as Live, ProtocolEnum,
};
use kcl_engine::{Attrs, LiveNode, Ref, Resource};
use kcl_model::resource::{Listener as Wanted, LoadBalancer, Tags, TargetGroup};

use super::{Kind, Service};
use crate::client::Aws;
use crate::elb::{self, Owned};
use crate::error::{During, Error, ErrorKind};
use crate::named;
use crate::observe::Scope;
use crate::permission::{Ground, Permission};

pub(crate) struct Listener;

impl Kind for Listener {
    type Resource = Wanted;
    const SERVICE: Service = Service::Elb;
    const TAGGED_AS: &'static [&'static str] =
        &["elasticloadbalancing:loadbalancer", "elasticloadbalancing:listener"];

    /// A listener is made on its load balancer, and changed on itself: it has that one's name.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const MANAGE: [&str; 5] = [
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateListener",
            "elasticloadbalancing:DeleteListener",
            "elasticloadbalancing:ModifyListener",
            "elasticloadbalancing:RemoveTags",
        ];
        let balancers = ground.all::<LoadBalancer>();
        let arns = balancers.iter().flat_map(|(_, want)| {
            let own = ground.arn("elasticloadbalancing", &format!("listener/net/{}/*", want.lb_name));
            [elb::balancer_arn(ground, &want.lb_name), own]
        });
        let manage = vec![Permission::new("LoadBalancers", &MANAGE, arns)];
        let read = Permission::read(&["elasticloadbalancing:DescribeListeners"]);
        [read, ground.if_wanted::<Wanted>(manage)].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let balancing = elb::balancing(scope).await?;
        let nodes = balancing.listeners.iter().map(|Owned { item, name, tags, owner }| {
            Ok(LiveNode::new(name, &fields(item, tags), attrs(item.listener_arn()), *owner)?)
        });
        nodes.collect()
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let call = aws
            .elb
            .create_listener()
            .load_balancer_arn(want.load_balancer.value()?)
            .port(i32::from(want.port))
            .protocol(ProtocolEnum::from(want.protocol.as_str()))
            .set_default_actions(Some(vec![forward(want)?]))
            .set_certificates(certificates(want))
            .set_ssl_policy(want.ssl_policy.clone())
            .set_tags(Some(elb::sdk_tags(&want.tags)));
        match call.send().await.during("elasticloadbalancing:CreateListener") {
            Err(error) if error.kind == ErrorKind::AlreadyExists => adopt(aws, name, want, error).await,
            made => {
                let made = made?.listeners.unwrap_or_default().into_iter().next();
                let arn = made.and_then(|made| made.listener_arn);
                Ok(attrs(arn.as_deref()))
            }
        }
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        let arn = named::attr(live, "arn")?;
        elb::change_tags(aws, arn, &old.tags, &want.tags).await?;
        if (Wanted { tags: want.tags.clone(), ..old.clone() }) == *want {
            return Ok(live.clone());
        }
        let call = aws
            .elb
            .modify_listener()
            .listener_arn(arn)
            .port(i32::from(want.port))
            .protocol(ProtocolEnum::from(want.protocol.as_str()))
            .set_default_actions(Some(vec![forward(want)?]))
            .set_certificates(certificates(want))
            .set_ssl_policy(want.ssl_policy.clone());
        call.send().await.during("elasticloadbalancing:ModifyListener")?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let arn = named::attr(live, "arn")?;
        let call = aws.elb.delete_listener().listener_arn(arn);
        match call.send().await.during("elasticloadbalancing:DeleteListener") {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn attrs(arn: Option<&str>) -> Attrs {
    named::attrs([("arn", arn)])
}

fn fields(item: &Live, tags: &Tags) -> Wanted {
    let is_tls = item.protocol() == Some(&ProtocolEnum::Tls);
    let certificate = item.certificates().iter().find_map(Certificate::certificate_arn);
    Wanted {
        load_balancer: Ref::id(
            LoadBalancer::SCHEMA.kind,
            "arn",
            item.load_balancer_arn().unwrap_or_default(),
        ),
        port: elb::port(item.port()),
        protocol: elb::protocol(item.protocol()),
        target_group: forwards_to(item).map(|arn| Ref::id(TargetGroup::SCHEMA.kind, "arn", arn)),
        certificate: certificate.filter(|_| is_tls).map(str::to_owned),
        // A policy means something for TLS only, though it may be told for TCP as well.
        ssl_policy: item.ssl_policy().filter(|_| is_tls).map(str::to_owned),
        tags: tags.clone(),
    }
}

/// The one target group that all traffic goes to, if there is one.
fn forwards_to(item: &Live) -> Option<&str> {
    let [action] = item.default_actions() else { return None };
    if action.r#type() != Some(&ActionTypeEnum::Forward) {
        return None;
    }
    match action.forward_config().map(ForwardActionConfig::target_groups) {
        Some([single]) => single.target_group_arn(),
        Some([_, _, ..]) => None,
        _ => action.target_group_arn(),
    }
}

fn forward(want: &Wanted) -> Result<Action, Error> {
    let Some(group) = &want.target_group else {
        let message = "a listener without a target group cannot be made";
        return Err(Error::new(ErrorKind::Unexpected, "elasticloadbalancing:CreateListener", message));
    };
    Ok(Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(group.value()?).build())
}

fn certificates(want: &Wanted) -> Option<Vec<Certificate>> {
    let arn = want.certificate.as_ref()?;
    Some(vec![Certificate::builder().certificate_arn(arn).build()])
}

/// Its port is taken: by an interrupted run's listener, which is then brought to what is wanted. The load
/// balancer is the cluster's own, so nobody else can have put one there in good faith.
async fn adopt(aws: &Aws, name: &str, want: &Wanted, error: Error) -> Result<Attrs, Error> {
    let listeners = elb::describe_listeners(aws, want.load_balancer.value()?).await?;
    let Some(item) = listeners.iter().find(|item| elb::port(item.port()) == want.port) else {
        return Err(error);
    };
    let old = fields(item, &Tags::new());
    Listener::update(aws, name, &attrs(item.listener_arn()), &old, want).await
}

#[cfg(test)]
mod tests {
    use kcl_engine::Action;
    use kcl_model::resource::Listener;

    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let mut first = testing::network("a");
        testing::add_balancing(&mut first);
        let mut second = first.clone();
        let name = format!("api.{CLUSTER} 8443");
        testing::add(&mut second, &name, &testing::listener(8443));
        let done = world.round_trip(&first, &second).await;
        assert_eq!(done, [(Action::Create, format!("listener/{name}"))]);
    }

    #[tokio::test]
    async fn a_tag_and_a_missing_one_are_mended() {
        let world = World::start().await;
        let mut wanted = testing::network("a");
        testing::add_balancing(&mut wanted);
        world.reach(&wanted).await;
        let name = format!("api.{CLUSTER} 443");
        let tags = testing::tags_and(&name, "kcl.dev/x", "1");
        testing::add(&mut wanted, &name, &Listener { tags, ..testing::listener(443) });
        assert_eq!(world.reach(&wanted).await, [(Action::Update, format!("listener/{name}"))]);
        let live = world.live(&wanted, crate::Depth::Preview).await;
        let node = live.iter().find(|node| node.id.kind.as_str() == "listener").expect("it is there");
        let call = world.aws.elb.delete_listener().listener_arn(&node.attrs["arn"]);
        call.send().await.expect("it is deleted");
        assert_eq!(world.reach(&wanted).await, [(Action::Create, format!("listener/{name}"))]);
    }
}
