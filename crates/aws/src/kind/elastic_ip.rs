//! Elastic IP addresses.

use aws_sdk_ec2::types::{DomainType, ResourceType};
use kcl_engine::{Attrs, LiveNode};
use kcl_model::resource;

use super::{Kind, Service};
use crate::blockers;
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait;

/// Elastic IP addresses. Not every implementation of the tagging API lists them: a NAT gateway is a hint too.
pub(crate) struct ElasticIp;

impl Kind for ElasticIp {
    type Resource = resource::ElasticIp;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:elastic-ip", "ec2:natgateway"];

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let manage = [
            ground.ec2_create(&["ec2:AllocateAddress"]),
            ground.ec2_retag(),
            ground.ec2_delete(&["ec2:ReleaseAddress"]),
        ];
        let read = Permission::read(&["ec2:DescribeAddresses"]);
        [read, ground.if_wanted::<resource::ElasticIp>(manage.concat())].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let call = scope.aws.ec2.describe_addresses().filters(scope.ec2_filter());
        let answer = call.send().await.during("ec2:DescribeAddresses")?;
        let live = answer.addresses().iter().filter_map(|address| {
            let ours = Ours::of(scope.cluster, address.allocation_id(), address.tags())?;
            let live = resource::ElasticIp { tags: ours.tags.clone() };
            let attrs = attrs(&ours.id, address.public_ip());
            Some(LiveNode::new(ours.name(), &live, attrs, ours.owner).map_err(Error::from))
        });
        live.collect()
    }

    async fn create(aws: &Aws, _name: &str, want: &resource::ElasticIp) -> Result<Attrs, Error> {
        let create = || async {
            let call = aws.ec2_once.allocate_address().domain(DomainType::Vpc);
            let call = call.tag_specifications(ec2::specification(ResourceType::ElasticIp, &want.tags));
            let answer = call.send().await.during("ec2:AllocateAddress")?;
            let id = ec2::required(answer.allocation_id(), "ec2:AllocateAddress", "allocation id")?;
            Ok(attrs(id, answer.public_ip()))
        };
        wait::create_once(create, || find(aws, want)).await
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::ElasticIp,
        want: &resource::ElasticIp,
    ) -> Result<Attrs, Error> {
        ec2::retag(aws, ec2::id_of(live)?, &old.tags, &want.tags).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, old: &resource::ElasticIp) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            match aws.ec2.release_address().allocation_id(id).send().await.during("ec2:ReleaseAddress") {
                // About an address that a NAT gateway holds still, which is Amazon's to give back, not about who asks.
                Err(mut error)
                    if error.is_code(&["AuthFailure"]) && error.message.contains("permission to access") =>
                {
                    error.kind = ErrorKind::InUse;
                    Err(error)
                }
                result => result.map(drop),
            }
        };
        blockers::delete(&aws.others, id, call, || blockers::of_address(aws, ec2::cluster_of(&old.tags), id))
            .await
    }
}

fn attrs(id: &str, address: Option<&str>) -> Attrs {
    let mut attrs = ec2::attrs(id);
    attrs.extend(address.map(|address| ("ip".to_owned(), address.to_owned())));
    attrs
}

async fn find(aws: &Aws, want: &resource::ElasticIp) -> Result<Option<Attrs>, Error> {
    let call = aws.ec2.describe_addresses().set_filters(Some(ec2::filters_for(&want.tags)));
    let answer = call.send().await.during("ec2:DescribeAddresses")?;
    let mut found = answer.addresses().iter();
    Ok(found.find_map(|address| Some(attrs(address.allocation_id()?, address.public_ip()))))
}
