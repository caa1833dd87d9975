//! Subnets.

use aws_sdk_ec2::types::{self, HostnameType, ResourceType};
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

/// How machines are named where nobody said otherwise.
const DEFAULT_HOSTNAMES: &str = "ip-name";

/// Subnets.
pub(crate) struct Subnet;

impl Kind for Subnet {
    type Resource = resource::Subnet;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:subnet"];

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let mut manage = [
            ground.ec2_create(&["ec2:CreateSubnet"]),
            ground.ec2_within::<resource::Vpc>("ec2:CreateSubnet", "vpc"),
            ground.ec2_change(&["ec2:DisassociateSubnetCidrBlock", "ec2:ModifySubnetAttribute"]),
            ground.ec2_retag(),
            ground.ec2_delete(&["ec2:DeleteSubnet"]),
        ]
        .concat();
        if ground.all::<resource::Subnet>().iter().any(|(_, subnet)| subnet.ipv6_cidr.is_some()) {
            manage.extend(ground.ec2_change(&["ec2:AssociateSubnetCidrBlock"]));
        }
        let read = Permission::read(&["ec2:DescribeSubnets"]);
        [read, ground.if_wanted::<resource::Subnet>(manage)].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let live = ec2::subnets(scope).await?.iter().filter_map(|subnet| {
            let ours = Ours::of(scope.cluster, subnet.subnet_id(), subnet.tags())?;
            let live = read(subnet, &ours);
            Some(ours.live(ec2::subnet_name(scope, subnet, &ours), &live))
        });
        live.collect()
    }

    async fn create(aws: &Aws, _name: &str, want: &resource::Subnet) -> Result<Attrs, Error> {
        let vpc = want.vpc.value()?;
        let create = || {
            wait::retry(PROPAGATION, Error::is_not_found, || async {
                let call = aws.ec2_once.create_subnet().vpc_id(vpc).cidr_block(&want.cidr);
                let call = call.availability_zone(&want.zone).set_ipv6_cidr_block(want.ipv6_cidr.clone());
                let call = call.tag_specifications(ec2::specification(ResourceType::Subnet, &want.tags));
                let answer = call.send().await.during("ec2:CreateSubnet")?;
                let id = answer.subnet().and_then(types::Subnet::subnet_id);
                ec2::required(id, "ec2:CreateSubnet", "subnet id").map(str::to_owned)
            })
        };
        let id = wait::create_once(create, || find(aws, want)).await?;
        let fresh = resource::Subnet {
            hostname_type: DEFAULT_HOSTNAMES.to_owned(),
            resource_name_dns_a: false,
            ..want.clone()
        };
        configure(aws, &id, &fresh, want).await?;
        Ok(ec2::attrs(&id))
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::Subnet,
        want: &resource::Subnet,
    ) -> Result<Attrs, Error> {
        let id = ec2::id_of(live)?;
        ec2::retag(aws, id, &old.tags, &want.tags).await?;
        if old.ipv6_cidr != want.ipv6_cidr {
            disassociate_ipv6(aws, id).await?;
            if let Some(cidr) = &want.ipv6_cidr {
                associate_ipv6(aws, id, cidr).await?;
            }
        }
        configure(aws, id, old, want).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, old: &resource::Subnet) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            aws.ec2.delete_subnet().subnet_id(id).send().await.during("ec2:DeleteSubnet")?;
            Ok(())
        };
        let cluster = ec2::cluster_of(&old.tags);
        blockers::delete(&aws.others, id, call, || blockers::interfaces(aws, cluster, "subnet-id", id)).await
    }
}

fn read(subnet: &types::Subnet, ours: &Ours) -> resource::Subnet {
    let names = subnet.private_dns_name_options_on_launch();
    let hostname_type = names.and_then(|names| names.hostname_type()).map(HostnameType::as_str);
    resource::Subnet {
        vpc: Ref::id("vpc", "id", subnet.vpc_id().unwrap_or_default()),
        cidr: subnet.cidr_block().unwrap_or_default().to_owned(),
        zone: subnet.availability_zone().unwrap_or_default().to_owned(),
        ipv6_cidr: ipv6_blocks(subnet).find_map(|block| block.ipv6_cidr_block()).map(str::to_owned),
        hostname_type: hostname_type.unwrap_or(DEFAULT_HOSTNAMES).to_owned(),
        resource_name_dns_a: names
            .and_then(types::PrivateDnsNameOptionsOnLaunch::enable_resource_name_dns_a_record)
            .unwrap_or(false),
        tags: ours.tags.clone(),
    }
}

/// The IPv6 blocks; one stays in the list for a while after it has gone.
fn ipv6_blocks(subnet: &types::Subnet) -> impl Iterator<Item = &types::SubnetIpv6CidrBlockAssociation> {
    subnet.ipv6_cidr_block_association_set().iter().filter(|block| {
        let state = block.ipv6_cidr_block_state().and_then(|state| state.state());
        let state = state.map(types::SubnetCidrBlockStateCode::as_str);
        !matches!(state, Some("disassociating" | "disassociated" | "failing" | "failed"))
    })
}

async fn find(aws: &Aws, want: &resource::Subnet) -> Result<Option<String>, Error> {
    let call = aws.ec2.describe_subnets().set_filters(Some(ec2::filters_for(&want.tags)));
    let call = call.filters(ec2::filter("vpc-id", want.vpc.value()?));
    let answer = call.filters(ec2::filter("cidr-block", &want.cidr)).send().await;
    let answer = answer.during("ec2:DescribeSubnets")?;
    Ok(answer.subnets().first().and_then(|subnet| subnet.subnet_id()).map(str::to_owned))
}

/// Gives it a block. Asked for again after a lost answer, a subnet refuses what it has.
async fn associate_ipv6(aws: &Aws, id: &str, cidr: &str) -> Result<(), Error> {
    let call = || async {
        let call = aws.ec2_once.associate_subnet_cidr_block().subnet_id(id).ipv6_cidr_block(cidr);
        call.send().await.during("ec2:AssociateSubnetCidrBlock").map(drop)
    };
    let there = || async {
        let blocks = live_ipv6_blocks(aws, id).await?;
        Ok(blocks.iter().any(|block| block.ipv6_cidr_block() == Some(cidr)).then_some(()))
    };
    wait::create_once(call, there).await
}

async fn live_ipv6_blocks(aws: &Aws, id: &str) -> Result<Vec<types::SubnetIpv6CidrBlockAssociation>, Error> {
    let answer = aws.ec2.describe_subnets().subnet_ids(id).send().await.during("ec2:DescribeSubnets")?;
    Ok(answer.subnets().iter().flat_map(ipv6_blocks).cloned().collect())
}

async fn disassociate_ipv6(aws: &Aws, id: &str) -> Result<(), Error> {
    let blocks = live_ipv6_blocks(aws, id).await?;
    for association in blocks.iter().filter_map(|block| block.association_id()) {
        let call = aws.ec2.disassociate_subnet_cidr_block().association_id(association);
        call.send().await.during("ec2:DisassociateSubnetCidrBlock")?;
    }
    Ok(())
}

/// Changes what `CreateSubnet` cannot say; AWS takes one attribute a call.
async fn configure(
    aws: &Aws,
    id: &str,
    old: &resource::Subnet,
    want: &resource::Subnet,
) -> Result<(), Error> {
    let hostnames = (old.hostname_type != want.hostname_type)
        .then(|| (Some(HostnameType::from(want.hostname_type.as_str())), None));
    let records = (old.resource_name_dns_a != want.resource_name_dns_a)
        .then(|| (None, Some(ec2::switch(want.resource_name_dns_a))));
    for (hostnames, records) in [hostnames, records].into_iter().flatten() {
        let call = || async {
            let call = aws.ec2.modify_subnet_attribute().subnet_id(id);
            let call = call.set_private_dns_hostname_type_on_launch(hostnames.clone());
            let call = call.set_enable_resource_name_dns_a_record_on_launch(records.clone());
            call.send().await.during("ec2:ModifySubnetAttribute")
        };
        wait::retry(PROPAGATION, Error::is_not_found, call).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::Vpc;
    use kcl_engine::Action;
    use kcl_model::resource::Subnet;

    use crate::error::ErrorKind;
    use crate::kind::Kind;
    use crate::observe::Depth;
    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let (first, mut second) = (testing::network("ab"), testing::network("ab"));
        let name = format!("a.{CLUSTER}");
        let changed = Subnet {
            hostname_type: "ip-name".to_owned(),
            resource_name_dns_a: false,
            tags: testing::tags_and(&name, "kubernetes.io/role/elb", "1"),
            ..testing::subnet('a', &name)
        };
        testing::add(&mut second, &name, &changed);
        let done = world.round_trip(&first, &second).await;
        assert_eq!(done, [(Action::Update, format!("subnet/{name}"))]);
    }

    #[tokio::test]
    async fn a_lost_answer_adds_no_second_block() {
        let world = World::start().await;
        world.reach(&testing::network("a")).await;
        let vpcs = world.aws.ec2.describe_vpcs().send().await.expect("they are told");
        let mut blocks = vpcs.vpcs().iter().flat_map(Vpc::ipv6_cidr_block_association_set);
        let block = blocks.find_map(|block| block.ipv6_cidr_block()).expect("Amazon's");
        let mut wanted = testing::network("a");
        let name = format!("a.{CLUSTER}");
        let ipv6_cidr = Some(block.replace("/56", "/64"));
        testing::add(&mut wanted, &name, &Subnet { ipv6_cidr, ..testing::subnet('a', &name) });
        let lost = world.lose_answer("ec2", "AssociateSubnetCidrBlock");
        world.reach(&wanted).await;
        assert_eq!((lost.count(), world.local.count("ec2", "AssociateSubnetCidrBlock")), (1, 1));
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_named() {
        let world = World::start().await;
        let wanted = testing::network("a");
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Deep).await;
        let subnet = live.iter().find(|node| node.id.kind.as_str() == "subnet").expect("there is a subnet");
        let id = subnet.attrs.get("id").expect("it has an id");
        let params = [("SubnetId", id.as_str()), ("Description", "somebody's own")];
        world.local.direct("ec2", "CreateNetworkInterface", &params).expect("there is an interface");
        let fields = serde_json::from_value(subnet.fields.clone()).expect("it is a subnet");
        let error =
            <super::Subnet as Kind>::delete(&world.aws, &subnet.id.name, &subnet.attrs, &fields).await;
        let error = error.expect_err("it is in use");
        assert_eq!(error.kind, ErrorKind::InUse);
        let message = &error.message;
        assert!(message.starts_with(&format!("{id} is still used by network interface eni-")), "{message}");
        assert!(message.ends_with("(somebody's own)"), "{message}");
    }
}
