//! VPCs.

use aws_sdk_ec2::types::{self, ResourceType, VpcAttributeName};
use futures::future::{try_join, try_join_all};
use kcl_engine::{Attrs, LiveNode, Ref, Set};
use kcl_model::resource;

use super::{Kind, Service};
use crate::blockers;
use crate::client::Aws;
use crate::ec2::{self, Ours};
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};

/// What AWS calls "no options of one's own".
const NO_DHCP_OPTIONS: &str = "default";

/// VPCs, found by either of the cluster's two marks (`KubernetesCluster` and `kubernetes.io/cluster/<name>`).
///
/// One that has lost both is nobody's as far as can be known: a name or a block proves nothing, since anybody may
/// have given the same. It is left alone, and another one is made; whoever gives it one of its tags back first
/// gets it recognised. One whose `KubernetesCluster` names another cluster is that one's.
pub(crate) struct Vpc;

impl Kind for Vpc {
    type Resource = resource::Vpc;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:vpc"];

    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const CHANGE: [&str; 4] = [
            "ec2:AssociateDhcpOptions",
            "ec2:AssociateVpcCidrBlock",
            "ec2:DisassociateVpcCidrBlock",
            "ec2:ModifyVpcAttribute",
        ];
        let manage = [
            // The endpoints are what may be in the way of its deletion, beside what is looked for anyway.
            Permission::read(&["ec2:DescribeVpcAttribute", "ec2:DescribeVpcEndpoints"]),
            ground.ec2_create(&["ec2:CreateVpc"]),
            ground.ec2_change(&CHANGE),
            ground.ec2_retag(),
            ground.ec2_delete(&["ec2:DeleteVpc"]),
        ];
        [Permission::read(&["ec2:DescribeVpcs"]), ground.if_wanted::<resource::Vpc>(manage.concat())].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let call = scope.aws.ec2.describe_vpcs().filters(scope.ec2_filter());
        let vpcs = call.into_paginator().items().send().try_collect().await;
        let vpcs: Vec<types::Vpc> = vpcs.during("ec2:DescribeVpcs")?;
        let ours = vpcs.iter().filter_map(|vpc| {
            let ours = Ours::of(scope.cluster, vpc.vpc_id(), vpc.tags())?;
            Some(read(scope.aws, vpc, ours))
        });
        // A cluster makes one VPC.
        let nodes = try_join_all(ours).await?;
        Ok(ec2::recognise(scope, nodes, |live: &resource::Vpc, want| live.cidr == want.cidr))
    }

    async fn create(aws: &Aws, _name: &str, want: &resource::Vpc) -> Result<Attrs, Error> {
        let create = || async {
            let call = aws.ec2_once.create_vpc().cidr_block(&want.cidr);
            let call = call.amazon_provided_ipv6_cidr_block(want.amazon_ipv6);
            let call = call.tag_specifications(ec2::specification(ResourceType::Vpc, &want.tags));
            let answer = call.send().await.during("ec2:CreateVpc")?;
            let id = answer.vpc().and_then(types::Vpc::vpc_id);
            ec2::required(id, "ec2:CreateVpc", "VPC id").map(str::to_owned)
        };
        let id = wait::create_once(create, || find(aws, want)).await?;
        let fresh = resource::Vpc {
            additional_cidrs: Set::default(),
            dns_support: true,
            dns_hostnames: false,
            dhcp_options: None,
            ..want.clone()
        };
        configure(aws, &id, &fresh, want).await?;
        Ok(ec2::attrs(&id))
    }

    async fn update(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::Vpc,
        want: &resource::Vpc,
    ) -> Result<Attrs, Error> {
        let id = ec2::id_of(live)?;
        ec2::retag(aws, id, &old.tags, &want.tags).await?;
        configure(aws, id, old, want).await?;
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, old: &resource::Vpc) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            aws.ec2.delete_vpc().vpc_id(id).send().await.during("ec2:DeleteVpc")?;
            Ok(())
        };
        blockers::delete(&aws.others, id, call, || blockers::of_vpc(aws, ec2::cluster_of(&old.tags), id))
            .await
    }
}

async fn read(aws: &Aws, vpc: &types::Vpc, ours: Ours) -> Result<LiveNode, Error> {
    let support = attribute(aws, &ours.id, VpcAttributeName::EnableDnsSupport);
    let hostnames = attribute(aws, &ours.id, VpcAttributeName::EnableDnsHostnames);
    let (dns_support, dns_hostnames) = try_join(support, hostnames).await?;
    let cidr = vpc.cidr_block().unwrap_or_default().to_owned();
    let blocks = vpc.cidr_block_association_set().iter();
    let blocks = blocks.filter(|block| is_there(block.cidr_block_state()));
    let additional = blocks.filter_map(|block| block.cidr_block()).filter(|block| *block != cidr);
    let live = resource::Vpc {
        additional_cidrs: additional.map(str::to_owned).collect(),
        amazon_ipv6: vpc
            .ipv6_cidr_block_association_set()
            .iter()
            .any(|block| is_there(block.ipv6_cidr_block_state())),
        dns_support,
        dns_hostnames,
        dhcp_options: vpc
            .dhcp_options_id()
            .filter(|id| *id != NO_DHCP_OPTIONS)
            .map(|id| Ref::id("dhcp-options", "id", id)),
        cidr,
        tags: ours.tags.clone(),
    };
    ours.live(ours.name(), &live)
}

async fn attribute(aws: &Aws, id: &str, attribute: VpcAttributeName) -> Result<bool, Error> {
    let call = aws.ec2.describe_vpc_attribute().vpc_id(id).attribute(attribute);
    let answer = call.send().await.during("ec2:DescribeVpcAttribute")?;
    let value = answer.enable_dns_support().or(answer.enable_dns_hostnames());
    Ok(value.and_then(types::AttributeBooleanValue::value).unwrap_or(false))
}

/// A block stays in the list for a while after it has gone.
fn is_there(state: Option<&types::VpcCidrBlockState>) -> bool {
    let state = state.and_then(|state| state.state()).map(types::VpcCidrBlockStateCode::as_str);
    !matches!(state, Some("disassociating" | "disassociated" | "failing" | "failed"))
}

async fn find(aws: &Aws, want: &resource::Vpc) -> Result<Option<String>, Error> {
    let call = aws.ec2.describe_vpcs().set_filters(Some(ec2::filters_for(&want.tags)));
    let answer = call.filters(ec2::filter("cidr", &want.cidr)).send().await.during("ec2:DescribeVpcs")?;
    Ok(answer.vpcs().first().and_then(|vpc| vpc.vpc_id()).map(str::to_owned))
}

/// Changes what `CreateVpc` cannot say.
async fn configure(aws: &Aws, id: &str, old: &resource::Vpc, want: &resource::Vpc) -> Result<(), Error> {
    for new in want.additional_cidrs.iter().filter(|block| !old.additional_cidrs.contains(block)) {
        associate(aws, id, Some(new)).await?;
    }
    match (old.amazon_ipv6, want.amazon_ipv6) {
        (false, true) => associate(aws, id, None).await?,
        (true, false) => disassociate(aws, id, |block| block.cidr.is_none()).await?,
        _ => {}
    }
    // Names for machines need a name server: it comes first and goes last.
    let support = (old.dns_support != want.dns_support).then_some(want.dns_support);
    let hostnames = (old.dns_hostnames != want.dns_hostnames).then_some(want.dns_hostnames);
    let changes = [(support, None), (None, hostnames)];
    let changes = if want.dns_support { changes } else { [changes[1], changes[0]] };
    for (support, hostnames) in changes.into_iter().filter(|change| *change != (None, None)) {
        modify(aws, id, support, hostnames).await?;
    }
    if old.dhcp_options != want.dhcp_options {
        use_dhcp_options(aws, id, want.dhcp_options.as_ref()).await?;
    }
    // Last: it is refused while subnets stand on it, and all else should not wait for them.
    for gone in old.additional_cidrs.iter().filter(|block| !want.additional_cidrs.contains(block)) {
        remove_block(aws, id, gone).await?;
    }
    Ok(())
}

/// Takes a block away. Subnets in it that the run deletes have gone by now; any other one stays.
async fn remove_block(aws: &Aws, id: &str, cidr: &str) -> Result<(), Error> {
    let target = format!("the block {cidr} of {id}");
    let call = || disassociate(aws, id, |block| block.cidr.as_deref() == Some(cidr));
    let removed = blockers::delete(&aws.others, &target, call, || blockers::of_block(aws, id, cidr)).await;
    removed.map_err(|error| {
        if error.kind != ErrorKind::InUse {
            return error;
        }
        let message = format!("{}; --prune removes a subnet that the spec does not want", error.message);
        Error { message, ..error }
    })
}

async fn modify(aws: &Aws, id: &str, support: Option<bool>, hostnames: Option<bool>) -> Result<(), Error> {
    let call = || async {
        let call = aws.ec2.modify_vpc_attribute().vpc_id(id);
        let call = call.set_enable_dns_support(support.map(ec2::switch));
        let call = call.set_enable_dns_hostnames(hostnames.map(ec2::switch));
        call.send().await.during("ec2:ModifyVpcAttribute")
    };
    wait::retry(PROPAGATION, Error::is_not_found, call).await?;
    Ok(())
}

async fn use_dhcp_options(aws: &Aws, id: &str, options: Option<&Ref>) -> Result<(), Error> {
    let options = options.map_or(Ok(NO_DHCP_OPTIONS), Ref::value)?;
    let call = || async {
        let call = aws.ec2.associate_dhcp_options().vpc_id(id).dhcp_options_id(options);
        call.send().await.during("ec2:AssociateDhcpOptions")
    };
    wait::retry(PROPAGATION, Error::is_not_found, call).await?;
    Ok(())
}

/// A block of a VPC, as far as it matters here; only Amazon's IPv6 block has no `cidr` of ours.
struct Block {
    association: String,
    cidr: Option<String>,
    is_associating: bool,
}

async fn blocks(aws: &Aws, id: &str) -> Result<Vec<Block>, Error> {
    let answer = aws.ec2.describe_vpcs().vpc_ids(id).send().await.during("ec2:DescribeVpcs")?;
    let Some(vpc) = answer.vpcs().first() else { return Ok(Vec::new()) };
    let is_associating = |state: Option<&types::VpcCidrBlockState>| {
        state.and_then(|state| state.state()) == Some(&types::VpcCidrBlockStateCode::Associating)
    };
    let v4 = vpc.cidr_block_association_set().iter().filter(|block| is_there(block.cidr_block_state()));
    let v4 = v4.filter_map(|block| {
        Some(Block {
            association: block.association_id()?.to_owned(),
            cidr: Some(block.cidr_block()?.to_owned()),
            is_associating: is_associating(block.cidr_block_state()),
        })
    });
    let v6 = vpc.ipv6_cidr_block_association_set().iter();
    let v6 = v6.filter(|block| is_there(block.ipv6_cidr_block_state())).filter_map(|block| {
        Some(Block {
            association: block.association_id()?.to_owned(),
            cidr: None,
            is_associating: is_associating(block.ipv6_cidr_block_state()),
        })
    });
    Ok(v4.chain(v6).collect())
}

/// Adds an IPv4 block, or Amazon's IPv6 block, and waits until subnets can be cut from it.
async fn associate(aws: &Aws, id: &str, cidr: Option<&str>) -> Result<(), Error> {
    let call = || async {
        let call = aws.ec2_once.associate_vpc_cidr_block().vpc_id(id).set_cidr_block(cidr.map(str::to_owned));
        let call = call.set_amazon_provided_ipv6_cidr_block(cidr.is_none().then_some(true));
        call.send().await.during("ec2:AssociateVpcCidrBlock").map(drop)
    };
    // Asked for again after a lost answer, the VPC would get another block of Amazon's, or refuse its own.
    let there = || async {
        let mut blocks = blocks(aws, id).await?.into_iter();
        Ok(blocks.any(|block| block.cidr.as_deref() == cidr).then_some(()))
    };
    let is_new = |error: &Error| aws.is_not_known_yet(error);
    wait::create_once(|| wait::retry(PROPAGATION, is_new, call), there).await?;
    let what = format!("the block {} of {id}", cidr.unwrap_or("for IPv6"));
    let probe = || async {
        let blocks = blocks(aws, id).await?;
        let block = blocks.into_iter().find(|block| block.cidr.as_deref() == cidr);
        Ok(block.filter(|block| !block.is_associating).map(|_| ()))
    };
    wait::until(PROPAGATION, "ec2:DescribeVpcs", &what, probe).await
}

async fn disassociate(aws: &Aws, id: &str, is_meant: impl Fn(&Block) -> bool) -> Result<(), Error> {
    for block in blocks(aws, id).await?.into_iter().filter(is_meant) {
        let call = aws.ec2.disassociate_vpc_cidr_block().association_id(&block.association);
        match call.send().await.during("ec2:DisassociateVpcCidrBlock") {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Action, Wanted};
    use kcl_model::resource::{DhcpOptions, Subnet, Vpc};

    use crate::kind::Kind;
    use crate::observe::Depth;
    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let (mut first, mut second) = (Wanted::default(), Wanted::default());
        let options = DhcpOptions {
            domain_name: "eu-north-1.compute.internal".to_owned(),
            domain_name_servers: vec!["AmazonProvidedDNS".to_owned()],
            tags: testing::tags(CLUSTER),
        };
        testing::add(&mut first, CLUSTER, &testing::vpc());
        testing::add(&mut second, CLUSTER, &options);
        let changed = Vpc {
            additional_cidrs: ["10.1.0.0/16".to_owned()].into_iter().collect(),
            amazon_ipv6: false,
            dns_support: false,
            dns_hostnames: false,
            dhcp_options: Some(testing::id("dhcp-options", CLUSTER)),
            tags: testing::tags_and(CLUSTER, "kcl.dev/x", "1"),
            ..testing::vpc()
        };
        testing::add(&mut second, CLUSTER, &changed);
        world.reach(&second).await;
        let done = world.round_trip(&first, &second).await;
        let update = (Action::Update, format!("vpc/{CLUSTER}"));
        assert!(done.contains(&update), "changed in place: {done:?}");
    }

    /// With a further block, and a subnet in it.
    fn with_block() -> Wanted {
        let mut wanted = Wanted::default();
        let vpc =
            Vpc { additional_cidrs: ["10.1.0.0/16".to_owned()].into_iter().collect(), ..testing::vpc() };
        testing::add(&mut wanted, CLUSTER, &vpc);
        let name = format!("b.{CLUSTER}");
        let subnet = Subnet { cidr: "10.1.7.0/24".to_owned(), ..testing::subnet('b', &name) };
        testing::add(&mut wanted, &name, &subnet);
        wanted
    }

    fn without_block() -> Wanted {
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, CLUSTER, &testing::vpc());
        wanted
    }

    #[tokio::test]
    async fn a_block_goes_after_the_subnets_in_it() {
        let world = World::start().await;
        let done = world.round_trip(&with_block(), &without_block()).await;
        let expected =
            [(Action::Update, format!("vpc/{CLUSTER}")), (Action::Delete, format!("subnet/b.{CLUSTER}"))];
        assert_eq!(done, expected);
    }

    #[tokio::test]
    async fn a_subnet_that_stays_keeps_its_block_and_is_named() {
        let world = World::start().await;
        world.reach(&with_block()).await;
        let live = world.live(&with_block(), Depth::Deep).await;
        let node = live.iter().find(|node| node.id.kind.as_str() == "vpc").expect("it is there");
        let old: Vpc = with_block().get(CLUSTER).expect("it is wanted");
        let begun = std::time::Instant::now();
        let want = testing::vpc();
        let updated = <super::Vpc as Kind>::update(&world.aws, CLUSTER, &node.attrs, &old, &want).await;
        let error = updated.expect_err("a subnet is in it");
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "nothing is waited for");
        let id = &node.attrs["id"];
        let start = format!("the block 10.1.0.0/16 of {id} is still used by subnet subnet-");
        assert!(error.message.starts_with(&start), "{error}");
        assert!(error.message.ends_with("--prune removes a subnet that the spec does not want"), "{error}");
    }

    #[tokio::test]
    async fn a_lost_answer_makes_no_second_one() {
        let world = World::start().await;
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, CLUSTER, &testing::vpc());
        world.lose_answer("ec2", "CreateVpc");
        world.reach(&wanted).await;
        assert_eq!(world.local.count("ec2", "CreateVpc"), 1);
        world.remove().await;
    }

    #[tokio::test]
    async fn a_lost_answer_adds_no_second_block() {
        let world = World::start().await;
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, CLUSTER, &Vpc { amazon_ipv6: false, ..testing::vpc() });
        world.reach(&wanted).await;
        world.lose_answer("ec2", "AssociateVpcCidrBlock");
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, CLUSTER, &Vpc { amazon_ipv6: true, ..testing::vpc() });
        world.reach(&wanted).await;
        assert_eq!(world.local.count("ec2", "AssociateVpcCidrBlock"), 1);
    }
}
