//! Network interfaces that something in the cluster left behind.

use aws_sdk_ec2::types::{NetworkInterface as Interface, NetworkInterfaceStatus, NetworkInterfaceType};
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Ref};
use kcl_model::resource;

use super::security_group::recognise;
use super::{Kind, Service, never_wanted};
use crate::blockers;
use crate::client::Aws;
use crate::ec2::{self, FILTER_VALUES};
use crate::error::{During, Error};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::tags;

/// Interfaces that nothing uses any more, of the cluster's by their tags or their security groups. Those of
/// load balancers and NAT gateways go with these, those of machines with the machines.
pub(crate) struct NetworkInterface;

impl Kind for NetworkInterface {
    type Resource = resource::NetworkInterface;
    const SERVICE: Service = Service::Ec2;
    const ONLY_REMOVED: bool = true;

    /// What plugins in the cluster leave behind has no tags of the cluster: it is known by its security groups, which
    /// IAM cannot ask for. It can ask for the VPC, which has an id beforehand only if it is given. AWS itself refuses to
    /// delete an interface that something uses.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let any = ground.arn("ec2", "network-interface/*");
        let mut delete = Permission::new("DeleteLeftInterfaces", &["ec2:DeleteNetworkInterface"], [any]);
        let vpcs = ground.given::<resource::Vpc>();
        if !vpcs.is_empty() {
            let arns = vpcs.iter().map(|id| ground.arn("ec2", &format!("vpc/{id}")));
            delete = delete.when("ArnLike", "ec2:Vpc", arns);
        }
        [Permission::read(&["ec2:DescribeNetworkInterfaces"]), vec![delete]].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let groups = ec2::security_groups(scope).await?.iter();
        let groups = groups.filter_map(|group| recognise(scope, group)).map(|ours| ours.id);
        let groups: Vec<String> = groups.collect();
        let filters = groups.chunks(FILTER_VALUES).map(|ids| ec2::filter_any("group-id", ids));
        let filters = filters.chain(scope.ec2_exact_filters());
        let found = try_join_all(filters.map(|filter| ec2::network_interfaces(scope.aws, filter))).await?;
        let mut found: Vec<Interface> = found.into_iter().flatten().filter(is_left_over).collect();
        found.sort_by(|a, b| a.network_interface_id().cmp(&b.network_interface_id()));
        found.dedup_by(|a, b| a.network_interface_id() == b.network_interface_id());
        found.iter().filter(|one| is_ours(scope, &groups, one)).filter_map(live).collect()
    }

    async fn create(_aws: &Aws, name: &str, _want: &resource::NetworkInterface) -> Result<Attrs, Error> {
        Err(never_wanted(name))
    }

    async fn update(
        _aws: &Aws,
        name: &str,
        _live: &Attrs,
        _old: &resource::NetworkInterface,
        _want: &resource::NetworkInterface,
    ) -> Result<Attrs, Error> {
        Err(never_wanted(name))
    }

    async fn delete(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        _old: &resource::NetworkInterface,
    ) -> Result<(), Error> {
        let id = ec2::id_of(live)?;
        let call = || async {
            let call = aws.ec2.delete_network_interface().network_interface_id(id);
            call.send().await.during("ec2:DeleteNetworkInterface")?;
            Ok(())
        };
        blockers::delete(&aws.others, id, call, || blockers::interfaces(aws, "", "network-interface-id", id))
            .await
    }
}

fn is_left_over(interface: &Interface) -> bool {
    let is_plain = match interface.interface_type() {
        None | Some(NetworkInterfaceType::Interface | NetworkInterfaceType::Trunk) => true,
        Some(other) => ["branch", "efa", "efa-only"].contains(&other.as_str()),
    };
    is_plain
        && interface.requester_managed() != Some(true)
        && interface.status() == Some(&NetworkInterfaceStatus::Available)
}

/// By its own tags, or by a security group of the cluster, unless its tags say that it is another cluster's.
fn is_ours(scope: &Scope<'_>, groups: &[String], interface: &Interface) -> bool {
    let own = ec2::tags_of(interface.tag_set());
    if tags::owner(scope.cluster, &own).is_some() {
        return true;
    }
    let of_another = own.keys().any(|key| key.starts_with("kubernetes.io/cluster/"));
    let mut ids = interface.groups().iter().filter_map(|group| group.group_id());
    !of_another && ids.any(|id| groups.iter().any(|group| group == id))
}

fn live(interface: &Interface) -> Option<Result<LiveNode, Error>> {
    let id = interface.network_interface_id()?;
    let groups = interface.groups().iter().filter_map(|group| group.group_id());
    let fields = resource::NetworkInterface {
        subnet: Ref::id("subnet", "id", interface.subnet_id().unwrap_or_default()),
        security_groups: groups.map(|id| Ref::id("security-group", "id", id)).collect(),
        description: interface.description().unwrap_or_default().to_owned(),
    };
    // A group's machines tag all their interfaces alike: only the id tells them apart.
    Some(LiveNode::new(id, &fields, ec2::attrs(id), Owner::Controller).map_err(Error::from))
}
