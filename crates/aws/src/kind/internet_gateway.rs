//! Internet gateways.

use aws_sdk_ec2::types::{self, ResourceType};
use kcl_engine::{Attrs, LiveNode, Ref};
use kcl_model::resource;

use super::{Kind, Service};
use crate::blockers;
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};

/// Internet gateways.
pub(crate) struct InternetGateway;

impl Kind for InternetGateway {
    type Resource = resource::InternetGateway;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:internet-gateway"];

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            ground.ec2_create(&["ec2:CreateInternetGateway"]),
            ground.ec2_change(&["ec2:AttachInternetGateway"]),
            ground.ec2_retag(),
            ground.ec2_delete(&["ec2:DeleteInternetGateway", "ec2:DetachInternetGateway"]),
        ];
        let read = Permission::read(&["ec2:DescribeInternetGateways"]);
        [read, ground.if_wanted::<resource::InternetGateway>(manage.concat())].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let call = scope.aws.ec2.describe_internet_gateways().filters(scope.ec2_filter());
        let gateways = call.into_paginator().items().send().try_collect().await;
        let gateways: Vec<types::InternetGateway> = gateways.during("ec2:DescribeInternetGateways")?;
        let live = gateways.iter().filter_map(|gateway| {
            let ours = Ours::of(scope.cluster, gateway.internet_gateway_id(), gateway.tags())?;
            let live = resource::InternetGateway {
                vpc: attached_to(gateway).map(|id| Ref::id("vpc", "id", id)),
                tags: ours.tags.clone(),
            };
            Some(ours.live(ours.name(), &live))
        });
        // A VPC has one internet gateway.
        let nodes = live.collect::<Result<Vec<_>, _>>()?;
        Ok(ec2::recognise(scope, nodes, |_: &resource::InternetGateway, _| true))
    }

    async fn create(aws: &Aws, _name: &str, want: &resource::InternetGateway) -> Result<Attrs, Error> {
        let create = || async {
            let call = aws.ec2_once.create_internet_gateway();
            let call = call.tag_specifications(ec2::specification(ResourceType::InternetGateway, &want.tags));
            let answer = call.send().await.during("ec2:CreateInternetGateway")?;
            let id = answer.internet_gateway().and_then(types::InternetGateway::internet_gateway_id);
            ec2::required(id, "ec2:CreateInternetGateway", "id").map(str::to_owned)
        };
        let id = wait::create_once(create, || find(aws, want)).await?;
        if let Some(vpc) = &want.vpc {
            attach(aws, &id, vpc.value()?).await?;
        }
        Ok(ec2::attrs(&id))
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::InternetGateway,
        want: &resource::InternetGateway,
    ) -> Result<Attrs, Error> {
        let id = ec2::id_of(live)?;
        ec2::retag(aws, id, &old.tags, &want.tags).await?;
        if old.vpc != want.vpc {
            if let Some(vpc) = &old.vpc {
                detach(aws, id, vpc.value()?, ec2::cluster_of(&old.tags)).await?;
            }
            if let Some(vpc) = &want.vpc {
                attach(aws, id, vpc.value()?).await?;
            }
        }
        Ok(live.clone())
    }

    async fn delete(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::InternetGateway,
    ) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        if let Some(vpc) = &old.vpc {
            detach(aws, id, vpc.value()?, ec2::cluster_of(&old.tags)).await?;
        }
        let call = || async {
            let call = aws.ec2.delete_internet_gateway().internet_gateway_id(id);
            call.send().await.during("ec2:DeleteInternetGateway")?;
            Ok(())
        };
        // Detached, nothing else can use it; that it is detached may take a moment to be known.
        blockers::delete(&aws.others, id, call, || async { Ok(Vec::new()) }).await
    }
}

fn attached_to(gateway: &types::InternetGateway) -> Option<&str> {
    let attachments = gateway.attachments().iter();
    // AWS says `available` where other attachments say `attached`.
    let attached = |attachment: &&types::InternetGatewayAttachment| {
        let state = attachment.state().map(types::AttachmentStatus::as_str);
        !matches!(state, Some("detaching" | "detached"))
    };
    attachments.filter(attached).find_map(|attachment| attachment.vpc_id())
}

async fn find(aws: &Aws, want: &resource::InternetGateway) -> Result<Option<String>, Error> {
    let call = aws.ec2.describe_internet_gateways().set_filters(Some(ec2::filters_for(&want.tags)));
    let answer = call.send().await.during("ec2:DescribeInternetGateways")?;
    Ok(answer.internet_gateways().first().and_then(|found| found.internet_gateway_id()).map(str::to_owned))
}

async fn attach(aws: &Aws, id: &str, vpc: &str) -> Result<(), Error> {
    let call = || async {
        let call = aws.ec2.attach_internet_gateway().internet_gateway_id(id).vpc_id(vpc);
        call.send().await.during("ec2:AttachInternetGateway")
    };
    match wait::retry(PROPAGATION, Error::is_not_found, call).await {
        Ok(_) => Ok(()),
        // The SDK asked twice and the first answer was lost: what counts is where it is attached now.
        Err(error) if error.is_code(&["Resource.AlreadyAssociated"]) => {
            let call = aws.ec2.describe_internet_gateways().internet_gateway_ids(id);
            let answer = call.send().await.during("ec2:DescribeInternetGateways")?;
            let attached = answer.internet_gateways().first().and_then(attached_to);
            if attached == Some(vpc) { Ok(()) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

async fn detach(aws: &Aws, id: &str, vpc: &str, cluster: &str) -> Result<(), Error> {
    let call = || async {
        let call = aws.ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(vpc);
        match call.send().await.during("ec2:DetachInternetGateway") {
            Err(error) if !error.is_code(&["Gateway.NotAttached"]) => Err(error),
            _ => Ok(()),
        }
    };
    blockers::delete(&aws.others, id, call, || blockers::public_addresses(aws, cluster, vpc)).await
}

#[cfg(test)]
mod tests {
    use kcl_engine::Action;
    use kcl_model::resource::InternetGateway;

    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let (attached, mut detached) = (testing::network(""), testing::network(""));
        let gateway = InternetGateway { vpc: None, tags: testing::tags_and(CLUSTER, "kcl.dev/x", "1") };
        testing::add(&mut detached, CLUSTER, &gateway);
        let update = [(Action::Update, format!("internet-gateway/{CLUSTER}"))];
        world.reach(&detached).await;
        assert_eq!(world.reach(&attached).await, update, "what an interrupted run left is attached");
        assert_eq!(world.round_trip(&attached, &detached).await, update);
    }
}
