//! What stands in the way of a deletion, and whether waiting helps.
//!
//! EC2 says `DependencyViolation` and leaves it to the caller to find out what depends. [`delete`] asks, waits
//! while something is still going away, and otherwise gives an error that names what is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use aws_sdk_ec2::types::{
    AttachmentStatus, InstanceStateName, InternetGateway, IpPermission, NatGateway, NatGatewayState,
    NetworkInterface, NetworkInterfaceStatus, RouteTable, SecurityGroup, Subnet, Tag, Volume, Vpc,
};
use aws_sdk_elasticloadbalancingv2::types::TagDescription;
use futures::future::{BoxFuture, join, join_all, try_join, try_join_all};
use ipnet::Ipv4Net;
use kcl_model::resource::Tags;

use crate::client::Aws;
use crate::ec2::{self, FILTER_VALUES, filter, filter_any, network_interfaces, tags_of};
use crate::elb;
use crate::error::{During, Error, ErrorKind};
use crate::others::Others;
use crate::tags;
use crate::wait::{PROPAGATION, Pauses, SLOW_RESOURCE};

/// What belongs to the cluster itself may be next in line to be removed by the same run: a few groups of
/// machines and load balancers are removed at a time.
const NEXT_IN_LINE: Duration = Duration::from_mins(5);

/// How long something will be in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outlook {
    /// It is on its way out.
    Going,
    /// It is the cluster's, or somebody's who does not tell: it may go soon.
    MayGo,
    /// Nobody is about to remove it.
    Stays,
}

/// Something that is in the way.
#[derive(Clone, Debug)]
pub(crate) struct Blocker {
    what: String,
    outlook: Outlook,
}

impl Blocker {
    /// Something that does not go by itself.
    fn of(cluster: &str, what: String, tags: &[Tag]) -> Self {
        let is_ours = is_of_cluster(cluster, &tags_of(tags));
        Self { what, outlook: if is_ours { Outlook::MayGo } else { Outlook::Stays } }
    }
}

fn is_of_cluster(cluster: &str, tags: &Tags) -> bool {
    tags::owner(cluster, tags).is_some()
}

/// Calls `call`, which deletes `target`, until it succeeds, as long as there is hope that it will: what other steps may
/// remove is waited for no longer than `others` are at it. That `target` is gone already is a success.
pub(crate) async fn delete<D, B>(
    others: &Others,
    target: &str,
    call: impl Fn() -> D,
    blockers: impl Fn() -> B,
) -> Result<(), Error>
where
    D: Future<Output = Result<(), Error>>,
    B: Future<Output = Result<Vec<Blocker>, Error>>,
{
    // Each reason to wait has its own patience.
    let mut unseen = Pauses::up_to(PROPAGATION);
    let mut may_go = Pauses::up_to(NEXT_IN_LINE);
    let mut going = Pauses::up_to(SLOW_RESOURCE);
    let mut is_last = false;
    loop {
        let refused = match call().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.kind == ErrorKind::InUse => error,
            Err(error) => return Err(error),
        };
        // Who may delete but not look still gets AWS' own words in the end.
        let found = blockers().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot find out what is in the way");
            Vec::new()
        });
        let worst = found.iter().max_by_key(|blocker| blocker.outlook);
        tracing::debug!(target, blockers = ?found, "waiting for what is in the way");
        let goes_on = match worst.map(|blocker| blocker.outlook) {
            None => unseen.pause().await,
            Some(Outlook::Going) => going.pause().await,
            Some(Outlook::MayGo) if is_last => false,
            Some(Outlook::MayGo) => others.during(may_go.pause()).await.unwrap_or_else(|| {
                // It may have gone since it was asked for.
                is_last = true;
                true
            }),
            Some(Outlook::Stays) => false,
        };
        if !goes_on {
            return Err(in_use(target, &found, refused));
        }
    }
}

/// The error that names the most stubborn blocker, and says how many others there are.
fn in_use(target: &str, found: &[Blocker], refused: Error) -> Error {
    let Some(worst) = found.iter().max_by_key(|blocker| blocker.outlook) else { return refused };
    let others = match found.len() - 1 {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let message = format!("{target} is still used by {}{others}", worst.what);
    Error { message, ..refused }
}

/// Network interfaces that match a filter (`group-id`, `subnet-id`, `vpc-id`, `network-interface-id`).
pub(crate) async fn interfaces(
    aws: &Aws,
    cluster: &str,
    name: &str,
    value: &str,
) -> Result<Vec<Blocker>, Error> {
    let found = network_interfaces(aws, filter(name, value)).await?;
    judge(aws, cluster, &found).await
}

/// What keeps an internet gateway attached: public addresses in its VPC.
pub(crate) async fn public_addresses(aws: &Aws, cluster: &str, vpc: &str) -> Result<Vec<Blocker>, Error> {
    let mut found = network_interfaces(aws, filter("vpc-id", vpc)).await?;
    // Load balancers' addresses are not told.
    let is_public = |one: &NetworkInterface| {
        let address = one.association().and_then(|association| association.public_ip());
        address.is_some() || matches!(holder(one), Holder::LoadBalancer(_) | Holder::ClassicLoadBalancer(_))
    };
    found.retain(is_public);
    judge(aws, cluster, &found).await
}

/// What uses an Elastic IP address.
pub(crate) async fn of_address(aws: &Aws, cluster: &str, allocation: &str) -> Result<Vec<Blocker>, Error> {
    let call = aws.ec2.describe_addresses().allocation_ids(allocation);
    let answer = call.send().await.during("ec2:DescribeAddresses")?;
    match answer.addresses().first().and_then(|address| address.network_interface_id()) {
        Some(interface) => interfaces(aws, cluster, "network-interface-id", interface).await,
        None => Ok(Vec::new()),
    }
}

/// What uses a security group: interfaces, and the rules of other groups of its VPC.
pub(crate) async fn of_security_group(
    aws: &Aws,
    cluster: &str,
    id: &str,
    vpc: &str,
) -> Result<Vec<Blocker>, Error> {
    let groups = async {
        let call = aws.ec2.describe_security_groups().filters(filter("vpc-id", vpc));
        let groups = call.into_paginator().items().send().try_collect().await;
        let groups: Vec<SecurityGroup> = groups.during("ec2:DescribeSecurityGroups")?;
        let referrers =
            groups.into_iter().filter(|group| group.group_id() != Some(id) && refers_to(group, id));
        let blockers = referrers.map(|group| {
            let what = format!("a rule of {}", named("security group", group.group_id(), group.group_name()));
            Blocker::of(cluster, what, group.tags())
        });
        Ok(blockers.collect::<Vec<_>>())
    };
    let (mut interfaces, groups) = try_join(interfaces(aws, cluster, "group-id", id), groups).await?;
    interfaces.extend(groups);
    Ok(interfaces)
}

fn refers_to(group: &SecurityGroup, id: &str) -> bool {
    let permissions = group.ip_permissions().iter().chain(group.ip_permissions_egress());
    permissions.flat_map(IpPermission::user_id_group_pairs).any(|pair| pair.group_id() == Some(id))
}

/// What lies in a VPC and is not deleted with it.
pub(crate) async fn of_vpc(aws: &Aws, cluster: &str, vpc: &str) -> Result<Vec<Blocker>, Error> {
    let found: [BoxFuture<'_, Result<Vec<Blocker>, Error>>; 5] = [
        Box::pin(interfaces(aws, cluster, "vpc-id", vpc)),
        Box::pin(endpoints(aws, cluster, vpc)),
        Box::pin(gateways(aws, cluster, vpc)),
        Box::pin(groups(aws, cluster, vpc)),
        Box::pin(subnets(aws, cluster, vpc)),
    ];
    Ok(try_join_all(found).await?.concat())
}

async fn subnets(aws: &Aws, cluster: &str, vpc: &str) -> Result<Vec<Blocker>, Error> {
    let call = aws.ec2.describe_subnets().filters(filter("vpc-id", vpc));
    let answer = call.send().await.during("ec2:DescribeSubnets")?;
    let blocker = |one: &Subnet| Blocker::of(cluster, named("subnet", one.subnet_id(), None), one.tags());
    Ok(answer.subnets().iter().map(blocker).collect())
}

/// The subnets that stand on a block of a VPC. Those that this run deletes have gone before it takes the block.
pub(crate) async fn of_block(aws: &Aws, vpc: &str, cidr: &str) -> Result<Vec<Blocker>, Error> {
    let call = aws.ec2.describe_subnets().filters(filter("vpc-id", vpc));
    let answer = call.send().await.during("ec2:DescribeSubnets")?;
    let network = |text: &str| text.parse::<Ipv4Net>().ok();
    let is_within = |one: &&Subnet| match (network(cidr), one.cidr_block().and_then(network)) {
        (Some(block), Some(subnet)) => block.contains(&subnet),
        _ => false,
    };
    let blocker = |one: &Subnet| {
        let name = ec2::name_of(one.tags());
        Blocker { what: named("subnet", one.subnet_id(), name), outlook: Outlook::Stays }
    };
    Ok(answer.subnets().iter().filter(is_within).map(blocker).collect())
}

async fn groups(aws: &Aws, cluster: &str, vpc: &str) -> Result<Vec<Blocker>, Error> {
    let call = aws.ec2.describe_security_groups().filters(filter("vpc-id", vpc));
    let answer = call.send().await.during("ec2:DescribeSecurityGroups")?;
    // The default one goes with its VPC.
    let others = answer.security_groups().iter().filter(|group| group.group_name() != Some("default"));
    let blocker = |one: &SecurityGroup| {
        Blocker::of(cluster, named("security group", one.group_id(), one.group_name()), one.tags())
    };
    Ok(others.map(blocker).collect())
}

async fn gateways(aws: &Aws, cluster: &str, vpc: &str) -> Result<Vec<Blocker>, Error> {
    let call = aws.ec2.describe_internet_gateways().filters(filter("attachment.vpc-id", vpc));
    let answer = call.send().await.during("ec2:DescribeInternetGateways")?;
    let blocker = |one: &InternetGateway| {
        Blocker::of(cluster, named("internet gateway", one.internet_gateway_id(), None), one.tags())
    };
    Ok(answer.internet_gateways().iter().map(blocker).collect())
}

async fn endpoints(aws: &Aws, cluster: &str, vpc: &str) -> Result<Vec<Blocker>, Error> {
    let call = aws.ec2.describe_vpc_endpoints().filters(filter("vpc-id", vpc));
    let answer = call.send().await.during("ec2:DescribeVpcEndpoints")?;
    let blockers = answer.vpc_endpoints().iter().map(|endpoint| {
        let what = named("VPC endpoint", endpoint.vpc_endpoint_id(), endpoint.service_name());
        let is_going = endpoint.state().is_some_and(|state| state.as_str().eq_ignore_ascii_case("deleting"));
        if is_going {
            return Blocker { what, outlook: Outlook::Going };
        }
        Blocker::of(cluster, what, endpoint.tags())
    });
    Ok(blockers.collect())
}

/// The VPCs that use a set of DHCP options.
pub(crate) async fn of_dhcp_options(aws: &Aws, cluster: &str, id: &str) -> Result<Vec<Blocker>, Error> {
    let call = aws.ec2.describe_vpcs().filters(filter("dhcp-options-id", id));
    let answer = call.send().await.during("ec2:DescribeVpcs")?;
    let blocker = |vpc: &Vpc| Blocker::of(cluster, named("VPC", vpc.vpc_id(), None), vpc.tags());
    Ok(answer.vpcs().iter().map(blocker).collect())
}

/// The subnets that use a route table. The cluster's own may be next in line: they take their association along.
pub(crate) async fn of_route_table(aws: &Aws, cluster: &str, id: &str) -> Result<Vec<Blocker>, Error> {
    let call = aws.ec2.describe_route_tables().route_table_ids(id);
    let answer = call.send().await.during("ec2:DescribeRouteTables")?;
    let associations = answer.route_tables().iter().flat_map(RouteTable::associations);
    let users: BTreeMap<String, bool> = associations
        .filter_map(|association| {
            let state = association.association_state().and_then(|state| state.state());
            let is_going = state.is_some_and(|state| state.as_str() == "disassociating");
            Some((association.subnet_id()?.to_owned(), is_going))
        })
        .collect();
    let ids: Vec<String> = users.keys().cloned().collect();
    // By filter, not by id: one that is gone is then no error.
    let chunks = ids.chunks(FILTER_VALUES).map(|ids| async move {
        let call = aws.ec2.describe_subnets().filters(filter_any("subnet-id", ids));
        call.into_paginator().items().send().try_collect().await.during("ec2:DescribeSubnets")
    });
    let subnets: Vec<Subnet> = try_join_all(chunks).await?.into_iter().flatten().collect();
    let blockers = users.into_iter().map(|(id, is_going)| {
        let what = named("subnet", Some(&id), None);
        let subnet = subnets.iter().find(|subnet| subnet.subnet_id() == Some(&id)).filter(|_| !is_going);
        match subnet {
            Some(subnet) => Blocker::of(cluster, what, subnet.tags()),
            None => Blocker { what, outlook: Outlook::Going },
        }
    });
    Ok(blockers.collect())
}

/// The machines that a volume is attached to.
pub(crate) async fn of_volume(aws: &Aws, cluster: &str, id: &str) -> Result<Vec<Blocker>, Error> {
    let answer = aws.ec2.describe_volumes().volume_ids(id).send().await.during("ec2:DescribeVolumes")?;
    let attachments = answer.volumes().iter().flat_map(Volume::attachments);
    let attachments: Vec<(&str, bool)> = attachments
        .filter_map(|attachment| {
            let is_going = attachment.state().is_some_and(|state| state.as_str() == "detaching");
            Some((attachment.instance_id()?, is_going))
        })
        .collect();
    let instances = attachments.iter().map(|(id, _)| *id).collect();
    let outlooks = instance_outlooks(aws, cluster, &instances).await?;
    let blockers = attachments.into_iter().map(|(instance, is_going)| {
        let outlook = if is_going { Outlook::Going } else { outlook_of(&outlooks, instance) };
        Blocker { what: named("instance", Some(instance), None), outlook }
    });
    Ok(blockers.collect())
}

fn named(kind: &str, id: Option<&str>, more: Option<&str>) -> String {
    let id = id.unwrap_or_default();
    match more.filter(|more| !more.is_empty()) {
        Some(more) => format!("{kind} {id} ({more})"),
        None => format!("{kind} {id}"),
    }
}

/// What a network interface exists for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder<'a> {
    Instance(&'a str),
    NatGateway(&'a str),
    /// By its name.
    LoadBalancer(&'a str),
    /// By its name.
    ClassicLoadBalancer(&'a str),
    /// Some service of AWS.
    Service,
    Nobody,
}

fn holder(interface: &NetworkInterface) -> Holder<'_> {
    if let Some(id) = interface.attachment().and_then(|attachment| attachment.instance_id()) {
        return Holder::Instance(id);
    }
    let description = interface.description().unwrap_or_default();
    if let Some(id) = description.strip_prefix("Interface for NAT Gateway ") {
        return Holder::NatGateway(id);
    }
    // `ELB net/<name>/<id>` and `ELB app/<name>/<id>`; a classic one has a bare name and another API.
    match description.strip_prefix("ELB ").map(|path| (path, path.split('/').nth(1))) {
        Some((_, Some(name))) => Holder::LoadBalancer(name),
        Some((name, None)) => Holder::ClassicLoadBalancer(name),
        None if interface.requester_managed() == Some(true) => Holder::Service,
        None => Holder::Nobody,
    }
}

/// Whether each interface is going away: asks about those that hold it.
async fn judge(aws: &Aws, cluster: &str, found: &[NetworkInterface]) -> Result<Vec<Blocker>, Error> {
    let (mut instances, mut gateways) = (BTreeSet::new(), BTreeSet::new());
    let (mut balancers, mut classic) = (BTreeSet::new(), BTreeSet::new());
    for interface in found {
        match holder(interface) {
            Holder::Instance(id) => instances.insert(id),
            Holder::NatGateway(id) => gateways.insert(id),
            Holder::LoadBalancer(name) => balancers.insert(name),
            Holder::ClassicLoadBalancer(name) => classic.insert(name),
            Holder::Service | Holder::Nobody => false,
        };
    }
    let of_balancers = async {
        let balancers = balancer_outlooks(cluster, &balancers, |name| balancer_tags(aws, name));
        let classic = balancer_outlooks(cluster, &classic, |name| classic_balancer_tags(aws, name));
        Ok(join(balancers, classic).await)
    };
    let ((instances, gateways), (balancers, classic)) = try_join(
        try_join(instance_outlooks(aws, cluster, &instances), gateway_outlooks(aws, cluster, &gateways)),
        of_balancers,
    )
    .await?;
    let blockers = found.iter().map(|interface| {
        let held = match holder(interface) {
            _ if is_leaving(interface) => Outlook::Going,
            Holder::Instance(id) => outlook_of(&instances, id),
            Holder::NatGateway(id) => outlook_of(&gateways, id),
            Holder::LoadBalancer(name) => outlook_of(&balancers, name),
            Holder::ClassicLoadBalancer(name) => outlook_of(&classic, name),
            // A service takes its interfaces along some time after it was told to.
            Holder::Service => Outlook::MayGo,
            Holder::Nobody => Outlook::Stays,
        };
        Blocker { what: describe(interface), outlook: held }
    });
    Ok(blockers.collect())
}

fn is_leaving(interface: &NetworkInterface) -> bool {
    let attachment = interface.attachment().and_then(|attachment| attachment.status());
    interface.status() == Some(&NetworkInterfaceStatus::Detaching)
        || attachment == Some(&AttachmentStatus::Detaching)
}

fn describe(interface: &NetworkInterface) -> String {
    let id = interface.network_interface_id();
    match (interface.description().filter(|text| !text.is_empty()), holder(interface)) {
        (Some(description), _) => named("network interface", id, Some(description)),
        (None, Holder::Instance(instance)) => {
            named("network interface", id, Some(&format!("of instance {instance}")))
        }
        (None, _) => named("network interface", id, None),
    }
}

/// What is not listed any more is gone, and takes with it what it held.
fn outlook_of(outlooks: &BTreeMap<String, Outlook>, id: &str) -> Outlook {
    outlooks.get(id).copied().unwrap_or(Outlook::Going)
}

async fn instance_outlooks(
    aws: &Aws,
    cluster: &str,
    ids: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Outlook>, Error> {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    // By filter, not by id: one that is gone is then no error.
    let chunks = ids.chunks(FILTER_VALUES).map(|ids| async move {
        let call = aws.ec2.describe_instances().filters(filter_any("instance-id", ids));
        let reservations = call.into_paginator().items().send().try_collect().await;
        reservations.during("ec2:DescribeInstances")
    });
    let reservations = try_join_all(chunks).await?.into_iter().flatten();
    let instances = reservations.flat_map(|reservation| reservation.instances.unwrap_or_default());
    let outlooks = instances.filter_map(|instance| {
        let state = instance.state().and_then(|state| state.name()).map(InstanceStateName::as_str);
        let outlook = match state {
            Some("shutting-down" | "terminated") => Outlook::Going,
            _ if is_of_cluster(cluster, &tags_of(instance.tags())) => Outlook::MayGo,
            _ => Outlook::Stays,
        };
        Some((instance.instance_id?, outlook))
    });
    Ok(outlooks.collect())
}

async fn gateway_outlooks(
    aws: &Aws,
    cluster: &str,
    ids: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Outlook>, Error> {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let chunks = ids.chunks(FILTER_VALUES).map(|ids| async move {
        let call = aws.ec2.describe_nat_gateways().filter(filter_any("nat-gateway-id", ids));
        call.into_paginator().items().send().try_collect().await.during("ec2:DescribeNatGateways")
    });
    let gateways = try_join_all(chunks).await?.into_iter().flatten();
    let outlooks = gateways.filter_map(|gateway: NatGateway| {
        let outlook = match gateway.state().map(NatGatewayState::as_str) {
            Some("deleting" | "deleted" | "failed") => Outlook::Going,
            _ if is_of_cluster(cluster, &tags_of(gateway.tags())) => Outlook::MayGo,
            _ => Outlook::Stays,
        };
        Some((gateway.nat_gateway_id?, outlook))
    });
    Ok(outlooks.collect())
}

/// Load balancers are asked for one by one: AWS answers nothing at all where one of several is gone.
async fn balancer_outlooks<'n, F>(
    cluster: &str,
    names: &BTreeSet<&'n str>,
    tags: impl Fn(&'n str) -> F,
) -> BTreeMap<String, Outlook>
where
    F: Future<Output = Result<Option<Tags>, Error>>,
{
    let asked = names.iter().map(|name| (*name, tags(name))).map(|(name, tags)| async move {
        let outlook = match tags.await {
            Ok(Some(tags)) if is_of_cluster(cluster, &tags) => Outlook::MayGo,
            Ok(Some(_)) => Outlook::Stays,
            Ok(None) => Outlook::Going,
            Err(error) if error.is_not_found() => Outlook::Going,
            Err(_) => Outlook::MayGo,
        };
        (name.to_owned(), outlook)
    });
    join_all(asked).await.into_iter().collect()
}

async fn balancer_tags(aws: &Aws, name: &str) -> Result<Option<Tags>, Error> {
    let call = aws.elb.describe_load_balancers().names(name);
    let answer = call.send().await.during("elasticloadbalancing:DescribeLoadBalancers")?;
    let Some(arn) = answer.load_balancers().first().and_then(|balancer| balancer.load_balancer_arn()) else {
        return Ok(None);
    };
    let call = aws.elb.describe_tags().resource_arns(arn);
    let answer = call.send().await.during("elasticloadbalancing:DescribeTags")?;
    let tags = answer.tag_descriptions().iter().flat_map(TagDescription::tags);
    Ok(Some(tags::collect(tags.map(|tag| (tag.key.clone(), tag.value.clone())))))
}

async fn classic_balancer_tags(aws: &Aws, name: &str) -> Result<Option<Tags>, Error> {
    let mut found = elb::describe_classic_tags(aws, &[name.to_owned()]).await?;
    Ok(found.remove(name))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use aws_sdk_ec2::types::NetworkInterfaceAttachment;

    use super::*;

    fn refused() -> Error {
        let mut error = Error::new(ErrorKind::InUse, "ec2:DeleteSubnet", "it has dependencies");
        error.code = Some("DependencyViolation".to_owned());
        error
    }

    fn blocker(outlook: Outlook) -> Blocker {
        Blocker { what: "network interface eni-1 (ELB net/api/1)".to_owned(), outlook }
    }

    #[tokio::test]
    async fn waits_for_what_is_going() {
        let calls = Cell::new(0);
        let call = || async {
            calls.set(calls.get() + 1);
            if calls.get() < 3 { Err(refused()) } else { Ok(()) }
        };
        let result =
            delete(&Others::default(), "subnet-1", call, || async { Ok(vec![blocker(Outlook::Going)]) })
                .await;
        assert!(result.is_ok());
    }

    #[tokio::test]
    async fn names_what_stays_at_once() {
        let begun = std::time::Instant::now();
        let blockers = || async { Ok(vec![blocker(Outlook::Going), blocker(Outlook::Stays)]) };
        let Err(error) = delete(&Others::default(), "subnet-1", || async { Err(refused()) }, blockers).await
        else {
            panic!("it cannot be deleted")
        };
        assert!(begun.elapsed() < Duration::from_millis(100));
        assert_eq!(
            error.to_string(),
            "ec2:DeleteSubnet: DependencyViolation: subnet-1 is still used by network interface eni-1 \
             (ELB net/api/1) and 1 more"
        );
    }

    #[tokio::test]
    async fn does_not_wait_for_a_step_that_failed() {
        let others = Others::default();
        others.tell(1, true);
        let calls = Cell::new(0);
        let call = || async {
            calls.set(calls.get() + 1);
            Err(refused())
        };
        let blockers = || async { Ok(vec![blocker(Outlook::MayGo)]) };
        assert!(delete(&others, "subnet-1", call, blockers).await.is_err());
        assert_eq!(calls.get(), 2, "once, and once more when nobody is at work");
    }

    #[test]
    fn holders() {
        let interface = |description: &str| NetworkInterface::builder().description(description);
        assert_eq!(holder(&interface("ELB net/api/0a1b").build()), Holder::LoadBalancer("api"));
        assert_eq!(
            holder(&interface("Interface for NAT Gateway nat-1").build()),
            Holder::NatGateway("nat-1")
        );
        let classic = interface("ELB a0123").requester_managed(true).build();
        assert_eq!(holder(&classic), Holder::ClassicLoadBalancer("a0123"));
        assert_eq!(
            holder(&interface("RDSNetworkInterface").requester_managed(true).build()),
            Holder::Service
        );
        assert_eq!(holder(&interface("left over").build()), Holder::Nobody);
        let attachment = NetworkInterfaceAttachment::builder().instance_id("i-1").build();
        assert_eq!(holder(&interface("").attachment(attachment).build()), Holder::Instance("i-1"));
    }
}
