//! What the EC2 kinds share: tags in EC2's types, filters, and how an EC2 resource is recognised.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    AttributeBooleanValue, Filter, NetworkInterface, ResourceType, RouteTable, SecurityGroup, Subnet, Tag,
    TagSpecification,
};
use futures::try_join;
use kcl_engine::{Attrs, LiveNode, Owner, Resource};
use kcl_model::resource::{self, Tags};

use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::observe::{Depth, Scope, each_once};
use crate::permission::{Ground, Permission};
use crate::tags::{self, CLUSTER_TAG, LOAD_BALANCER_CONTROLLER_TAG};

/// How many values a filter may have:
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html>.
pub(crate) const FILTER_VALUES: usize = 200;

/// The tags, without AWS' own.
pub(crate) fn tags_of(tags: &[Tag]) -> Tags {
    tags::collect(tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())))
}

/// The `Name` tag.
pub(crate) fn name_of(tags: &[Tag]) -> Option<&str> {
    tags.iter().find(|tag| tag.key() == Some("Name")).and_then(Tag::value)
}

/// A resource that is the cluster's.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub(crate) owner: Owner,
    pub(crate) id: String,
    pub(crate) tags: Tags,
}

impl Ours {
    /// Whether the resource `id` with these tags is the cluster's.
    pub(crate) fn of(cluster: &str, id: Option<&str>, tags: &[Tag]) -> Option<Self> {
        let tags = tags_of(tags);
        Some(Self { owner: tags::owner(cluster, &tags)?, id: id?.to_owned(), tags })
    }

    /// The `Name` tag; the id where it has none.
    pub(crate) fn name(&self) -> String {
        self.tags.get("Name").filter(|name| !name.is_empty()).unwrap_or(&self.id).clone()
    }

    /// What it is, with its id as its only attribute.
    pub(crate) fn live<R: Resource>(&self, name: impl Into<String>, fields: &R) -> Result<LiveNode, Error> {
        Ok(LiveNode::new(name, fields, attrs(&self.id), self.owner)?)
    }
}

/// Finds again what lost its name: EC2 knows most resources by their `Name` tag only, which anybody can change.
/// Where a wanted resource is not there under its name, the only one of the cluster's own with a name that is not
/// wanted, and `same` as what is wanted, is it; its tags then differ, and are set right.
pub(crate) fn recognise<R: Resource>(
    scope: &Scope<'_>,
    mut nodes: Vec<LiveNode>,
    same: impl Fn(&R, &R) -> bool,
) -> Vec<LiveNode> {
    let wanted = scope.wanted_resources::<R>();
    let is_wanted = |name: &str| wanted.iter().any(|(wanted, _)| *wanted == name);
    for (name, want) in &wanted {
        if nodes.iter().any(|node| node.id.name == *name) {
            continue;
        }
        let candidates = nodes.iter_mut().filter(|node| {
            let fields = serde_json::from_value::<R>(node.fields.clone());
            node.owner == Owner::Cluster
                && !is_wanted(&node.id.name)
                && fields.is_ok_and(|fields| same(&fields, want))
        });
        let mut candidates: Vec<&mut LiveNode> = candidates.collect();
        if let [only] = candidates.as_mut_slice() {
            (*name).clone_into(&mut only.id.name);
        }
    }
    nodes
}

/// What a subnet is called: by its `Name` tag, or, where that is not wanted, by its block and zone.
pub(crate) fn subnet_name(scope: &Scope<'_>, subnet: &Subnet, ours: &Ours) -> String {
    let name = ours.name();
    let wanted = scope.wanted_resources::<resource::Subnet>();
    if wanted.iter().any(|(wanted, _)| *wanted == name) {
        return name;
    }
    let (cidr, zone) = (subnet.cidr_block(), subnet.availability_zone());
    let same = |want: &resource::Subnet| cidr == Some(want.cidr.as_str()) && zone == Some(want.zone.as_str());
    wanted.iter().find(|(_, want)| same(want)).map_or(name, |(wanted, _)| (*wanted).to_owned())
}

/// What each of the cluster's route tables is called, by id: by its `Name` tag, or, where that is not wanted, as the
/// wanted table of the same purpose that is not there under its name. Routes and associations go by these names, too.
pub(crate) fn route_table_names(scope: &Scope<'_>, tables: &[RouteTable]) -> BTreeMap<String, String> {
    // kOps' tag, which says which subnets a table is for: `public`, `private-eu-north-1a`.
    const PURPOSE: &str = "kubernetes.io/kops/role";
    let ours: Vec<Ours> = tables
        .iter()
        .filter_map(|table| Ours::of(scope.cluster, table.route_table_id(), table.tags()))
        .collect();
    let mut names: BTreeMap<String, String> =
        ours.iter().map(|table| (table.id.clone(), table.name())).collect();
    let wanted = scope.wanted_resources::<resource::RouteTable>();
    for (name, want) in &wanted {
        if names.values().any(|there| there == name) {
            continue;
        }
        let is_free = |table: &&Ours| {
            let current = names.get(&table.id);
            table.owner == Owner::Cluster
                && !wanted.iter().any(|(name, _)| current.is_some_and(|it| it == name))
        };
        let purpose = want.tags.get(PURPOSE);
        let same = |table: &&Ours| purpose.is_some() && table.tags.get(PURPOSE) == purpose;
        let mut candidates = ours.iter().filter(is_free).filter(same);
        if let (Some(only), None) = (candidates.next(), candidates.next()) {
            names.insert(only.id.clone(), (*name).to_owned());
        }
    }
    names
}

/// The attributes of what has only an id.
pub(crate) fn attrs(id: &str) -> Attrs {
    [("id".to_owned(), id.to_owned())].into_iter().collect()
}

/// The id among a live resource's attributes.
pub(crate) fn id_of(live: &Attrs) -> Result<&str, Error> {
    let missing = || Error::new(ErrorKind::Unexpected, "kcl", "the id of a resource is not known");
    live.get("id").map(String::as_str).ok_or_else(missing)
}

/// What an answer must have.
pub(crate) fn required<'a>(value: Option<&'a str>, action: &str, what: &str) -> Result<&'a str, Error> {
    value.ok_or_else(|| Error::unexpected(action, what))
}

/// A filter with one value.
pub(crate) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// A filter with several values, at most [`FILTER_VALUES`].
pub(crate) fn filter_any<'a>(name: &str, values: impl IntoIterator<Item = &'a String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().cloned().collect())).build()
}

/// The filters that find what was made with `tags`: by its name, in its cluster.
pub(crate) fn filters_for(tags: &Tags) -> Vec<Filter> {
    let keys = ["Name", CLUSTER_TAG];
    let present = keys.into_iter().filter_map(|key| Some((key, tags.get(key)?)));
    present.map(|(key, value)| filter(&format!("tag:{key}"), value)).collect()
}

/// The cluster that tags of ours name.
pub(crate) fn cluster_of(tags: &Tags) -> &str {
    tags.get(CLUSTER_TAG).map_or("", String::as_str)
}

/// Tags for the call that makes a resource.
pub(crate) fn specification(kind: ResourceType, tags: &Tags) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(to_ec2(tags))).build()
}

/// Tags in EC2's type.
pub(crate) fn to_ec2(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Changes the tags of `id` from `old` to `new`; those of others stay.
pub(crate) async fn retag(aws: &Aws, id: &str, old: &Tags, new: &Tags) -> Result<(), Error> {
    let (set, gone) = tags::changes(old, new);
    if !set.is_empty() {
        let call = aws.ec2.create_tags().resources(id).set_tags(Some(to_ec2(&set)));
        call.send().await.during("ec2:CreateTags")?;
    }
    if !gone.is_empty() {
        // A key without a value goes whatever its value is.
        let gone = gone.into_iter().map(|key| Tag::builder().key(key).build());
        let call = aws.ec2.delete_tags().resources(id).set_tags(Some(gone.collect()));
        call.send().await.during("ec2:DeleteTags")?;
    }
    Ok(())
}

/// Disks that are encrypted with keys of the user's own. EC2 makes a grant on the key for each.
pub(crate) fn use_keys(ground: &Ground<'_>, keys: impl IntoIterator<Item = String>) -> Vec<Permission> {
    const USE: [&str; 5] = [
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    ];
    let keys: Vec<String> = keys.into_iter().collect();
    let grant = ground.use_keys("DiskKeyGrants", "ec2", &["kms:CreateGrant"], keys.clone());
    let grant = grant.map(|grant| grant.when("Bool", "kms:GrantIsForAWSResource", ["true"]));
    ground.use_keys("DiskKeys", "ec2", &USE, keys).into_iter().chain(grant).collect()
}

/// A switch of `ModifyVpcAttribute` and `ModifySubnetAttribute`.
pub(crate) fn switch(value: bool) -> AttributeBooleanValue {
    AttributeBooleanValue::builder().value(value).build()
}

/// The cluster's subnets, read once.
pub(crate) async fn subnets<'a>(scope: &'a Scope<'_>) -> Result<&'a [Subnet], Error> {
    let read = || async {
        let call = scope.aws.ec2.describe_subnets().filters(scope.ec2_filter());
        call.into_paginator().items().send().try_collect().await.during("ec2:DescribeSubnets")
    };
    scope.shared.subnets.get_or_try_init(read).await.map(Vec::as_slice)
}

/// The cluster's route tables with their routes and associations, read once.
pub(crate) async fn route_tables<'a>(scope: &'a Scope<'_>) -> Result<&'a [RouteTable], Error> {
    let read = || async {
        let call = scope.aws.ec2.describe_route_tables().filters(scope.ec2_filter());
        call.into_paginator().items().send().try_collect().await.during("ec2:DescribeRouteTables")
    };
    scope.shared.route_tables.get_or_try_init(read).await.map(Vec::as_slice)
}

/// The cluster's security groups, read once.
pub(crate) async fn security_groups<'a>(scope: &'a Scope<'_>) -> Result<&'a [SecurityGroup], Error> {
    let read = || async {
        let of_ours = describe_security_groups(scope.aws, scope.ec2_filter());
        if scope.depth != Depth::Everything {
            return of_ours.await;
        }
        // The load balancer controller's have its own mark and none of ours, and stand in the way of the VPC's end.
        let mark =
            Filter::builder().name(format!("tag:{LOAD_BALANCER_CONTROLLER_TAG}")).values(scope.cluster);
        let of_controller = describe_security_groups(scope.aws, mark.build());
        let (groups, of_controller) = try_join!(of_ours, of_controller)?;
        Ok(each_once(groups, of_controller, SecurityGroup::group_id))
    };
    scope.shared.security_groups.get_or_try_init(read).await.map(Vec::as_slice)
}

async fn describe_security_groups(aws: &Aws, filter: Filter) -> Result<Vec<SecurityGroup>, Error> {
    let call = aws.ec2.describe_security_groups().filters(filter);
    call.into_paginator().items().send().try_collect().await.during("ec2:DescribeSecurityGroups")
}

/// Network interfaces.
pub(crate) async fn network_interfaces(aws: &Aws, filter: Filter) -> Result<Vec<NetworkInterface>, Error> {
    let call = aws.ec2.describe_network_interfaces().filters(filter);
    call.into_paginator().items().send().try_collect().await.during("ec2:DescribeNetworkInterfaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tag_names() {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let owned = tag("kubernetes.io/cluster/k.example.com", "owned");
        let ours = Ours::of("k.example.com", Some("vpc-1"), &[owned.clone(), tag("Name", "k.example.com")]);
        assert_eq!(ours.map(|ours| ours.name()).as_deref(), Some("k.example.com"));
        let ours = Ours::of("k.example.com", Some("vpc-1"), &[owned, tag("Name", "")]);
        assert_eq!(ours.map(|ours| ours.name()).as_deref(), Some("vpc-1"));
        let shared = tag("kubernetes.io/cluster/k.example.com", "shared");
        assert!(Ours::of("k.example.com", Some("vpc-1"), &[shared]).is_none());
    }
}
